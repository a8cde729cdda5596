//! How many may be connected at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections at once.
const MAX: usize = 1024;
/// Of those, what is kept for root.
const FOR_ROOT: usize = 256;
/// Connections of one user, root excepted.
const MAX_OF_USER: usize = 128;

#[derive(Default)]
struct State {
    open: usize,
    of_users: HashMap<u32, usize>,
}

/// The connections that are open.
#[derive(Clone, Default)]
pub struct Limits {
    state: Arc<Mutex<State>>,
    refused: Arc<AtomicU64>,
}

impl Limits {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one more connect.
    ///
    /// # Errors
    /// Says what there is too much of.
    pub fn enter(&self, uid: u32) -> Result<Ticket, String> {
        let mut state = self.state();
        let of_user = state.of_users.get(&uid).copied().unwrap_or(0);
        let most = if uid == 0 { MAX } else { MAX - FOR_ROOT };
        let why = if state.open >= most {
            format!("{} clients are connected already, as many as can", state.open)
        } else if uid != 0 && of_user >= MAX_OF_USER {
            format!("{of_user} clients of uid {uid} are connected already, as many as can")
        } else {
            state.open += 1;
            *state.of_users.entry(uid).or_default() += 1;
            return Ok(Ticket { limits: self.clone(), uid });
        };
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(why)
    }

    /// Connections that are open.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.state().open as u64
    }

    /// Connections that were turned away.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// A place among the connections; given back when dropped.
pub struct Ticket {
    limits: Limits,
    uid: u32,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.limits.state();
        state.open -= 1;
        if let Some(count) = state.of_users.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                state.of_users.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_the_places_of_others() {
        let limits = Limits::default();
        let mut held: Vec<Ticket> = (0..MAX_OF_USER).map(|_| limits.enter(7).expect("room")).collect();
        assert!(limits.enter(7).err().expect("too many").contains("uid 7"));
        for uid in 8.. {
            let more: Vec<Ticket> = (0..MAX_OF_USER).map_while(|_| limits.enter(uid).ok()).collect();
            let full = more.len() < MAX_OF_USER;
            held.extend(more);
            if full {
                break;
            }
        }
        assert_eq!(limits.open() as usize, MAX - FOR_ROOT);
        held.extend((0..FOR_ROOT).map(|_| limits.enter(0).expect("room for root")));
        assert!(limits.enter(0).is_err());
        assert_eq!(limits.refused(), 3);
        held.clear();
        assert_eq!(limits.open(), 0);
        assert!(limits.enter(7).is_ok());
    }
}
