//! The thread that answers: whoever opens a marked file waits for it.
//!
//! So it does nothing that could wait for somebody else: it opens files of /proc alone, which nobody marks, takes no lock that it would have
//! to wait for, and has a table of descriptors of its own, which no client of guard's can fill. (The kernel refuses the open that it
//! has no descriptor for.) guard's other threads may open what is marked: they are no members, and let pass like everybody else.

use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::group::{Group, QUESTIONS, questions};
use super::judge::{MapFds, Maps, judge};
use super::names::Names;
use super::page::Page;
use crate::policy::{Compiled, Tables};
use crate::record::decode::Record;

/// How often the thread shows that it lives where nobody asks, in milliseconds.
const BEAT: u16 = 250;

/// What it shares with others.
#[derive(Debug)]
pub struct Shared {
    /// The names of what is marked.
    pub names: Names,
    /// What is told to the watch. In boxes, for the channel has its places from the start.
    pub refused: SyncSender<Box<Record>>,
    /// Refusals that the watch had no room for.
    pub untold: AtomicU64,
    /// Some session enforces, whatever the policy's mode is.
    pub some_enforce: AtomicBool,
    policy: Mutex<Arc<Compiled>>,
    /// There is another policy.
    changed: AtomicBool,
}

/// What it is given.
#[derive(Debug)]
pub struct Answerer {
    /// The group, by its number.
    pub group: RawFd,
    /// What wakes it up: it is to end.
    pub wake: RawFd,
    /// What wakes up the watch.
    pub tell: RawFd,
    /// The maps.
    pub maps: MapFds,
    /// A pipe that is to end with this thread.
    pub alive: RawFd,
    /// What it shares.
    pub shared: Arc<Shared>,
    /// Where it shows that it lives.
    pub page: Arc<Page>,
}

/// Why it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to.
    Told,
    /// The process behind has taken over.
    Taken,
    /// It can't work.
    Unable,
}

impl Shared {
    /// With the policy in force.
    #[must_use]
    pub fn new(policy: Arc<Compiled>, refused: SyncSender<Box<Record>>) -> Self {
        Self {
            names: Names::default(),
            refused,
            untold: AtomicU64::new(0),
            some_enforce: AtomicBool::new(false),
            policy: Mutex::new(policy),
            changed: AtomicBool::new(false),
        }
    }

    /// Another policy is in force.
    pub fn change(&self, policy: Arc<Compiled>) {
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = policy;
        self.changed.store(true, Ordering::Release);
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Compiled> {
        Arc::clone(&self.policy.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another policy, if there is one and nobody is just putting it there.
    fn changed(&self) -> Option<Arc<Compiled>> {
        if !self.changed.load(Ordering::Acquire) {
            return None;
        }
        let policy = self.policy.try_lock().ok()?;
        self.changed.store(false, Ordering::Release);
        Some(Arc::clone(&policy))
    }
}

impl Answerer {
    /// Answers until it is told to end.
    #[must_use]
    pub fn run(self) -> End {
        if self.keep_to_own_descriptors().is_err() {
            return End::Unable;
        }
        // SAFETY: the table is this thread's own, and these numbers are kept in it for these.
        let (group, wake, tell, maps) = unsafe {
            let owned = |fd| OwnedFd::from_raw_fd(fd);
            (Group::from_fd(owned(self.group)), owned(self.wake), owned(self.tell), Maps::of(self.maps))
        };
        let Ok(mut maps) = maps else { return End::Unable };
        self.page.answers(nix::unistd::gettid().as_raw() as u32);
        loop {
            let policy = self.shared.policy();
            let mut tables = policy.tables();
            loop {
                if self.page.taken() {
                    return End::Taken;
                }
                self.page.beat();
                let mut wait =
                    [PollFd::new(group.as_fd(), PollFlags::POLLIN), PollFd::new(wake.as_fd(), PollFlags::POLLIN)];
                // Interrupted, it looks again.
                let _interrupted = poll(&mut wait, PollTimeout::from(BEAT));
                if wait[1].any().unwrap_or(true) {
                    return End::Told;
                }
                if self.shared.changed().is_some() {
                    break;
                }
                self.answer(&group, &tell, &mut maps, &mut tables);
            }
        }
    }

    /// Answers what is asked now.
    fn answer(&self, group: &Group, tell: &OwnedFd, maps: &mut Maps, tables: &mut Tables<'_>) {
        let mut buffer = [0; QUESTIONS];
        let Ok(length) = group.read(&mut buffer) else { return };
        // SAFETY: just read from it, by this thread, and gone through once.
        for question in unsafe { questions(&buffer[..length]) } {
            self.page.beat();
            let file = std::fs::File::from(question.file);
            let number = file.as_raw_fd();
            let refusal = judge(maps, tables, &self.shared.names, question.thread, &file);
            // A number above could be taken for a question of the process behind.
            let Some(record) = refusal.filter(|_| (number as u32) < self.page.split() && !self.page.taken()) else {
                group.allow(number);
                continue;
            };
            if group.deny(number) {
                self.tell(tell, record);
            }
        }
    }

    fn tell(&self, tell: &OwnedFd, record: Record) {
        if self.shared.refused.try_send(Box::new(record)).is_err() {
            self.shared.untold.fetch_add(1, Ordering::Relaxed);
        }
        // Where its count is at its end, the watch has been woken up already.
        let _full = nix::unistd::write(tell, &1u64.to_ne_bytes());
    }

    /// Gives this thread a table of its own, with nothing in it but what it needs.
    fn keep_to_own_descriptors(&self) -> std::io::Result<()> {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES)?;
        let mut keep: Vec<RawFd> =
            [self.group, self.wake, self.tell, self.alive].into_iter().chain(self.maps).collect();
        keep.sort_unstable();
        let mut first = libc::STDERR_FILENO + 1;
        for &number in keep.iter().chain([&RawFd::MAX]) {
            if number > first {
                // SAFETY: the table is this thread's own, and of what is in it nothing but what is kept is used here.
                let result = unsafe { libc::syscall(libc::SYS_close_range, first, number - 1, 0) };
                if result != 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            first = number.saturating_add(1);
        }
        Ok(())
    }
}
