//! The condition it is in, for whoever asks: in numbers that any thread may read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The condition it is in.
#[derive(Debug, Default)]
pub struct Condition {
    marked: AtomicU64,
    given_up: AtomicU64,
    settled: AtomicBool,
    lapses: AtomicU64,
    behind: AtomicU64,
    failure: Mutex<Option<String>>,
}

/// The same at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Marks {
    /// Files whose opens guard is asked about.
    pub files: u64,
    /// Folders that were not looked into for such files, because there was too much.
    pub folders_not_searched: u64,
    /// All places were searched; what appears since is found as it does.
    pub searched: bool,
    /// How often guard was too slow to answer, and everybody was let pass.
    pub lapses: u64,
    /// Process id of guard's that lets everybody pass should guard be stopped. Absent while nothing is marked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backstop: Option<u32>,
    /// Why no file is marked, where that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl Condition {
    /// It is asked from now on; `behind` is the process behind.
    pub(super) fn arm(&self, behind: u32) {
        self.behind.store(u64::from(behind), Ordering::Relaxed);
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// It is asked no more.
    pub(super) fn disarm(&self) {
        self.behind.store(0, Ordering::Relaxed);
        self.note(0, 0, false);
    }

    /// It was too slow to answer.
    pub(super) fn lapsed(&self) {
        self.lapses.fetch_add(1, Ordering::Relaxed);
    }

    /// It can't be asked; whether that is new.
    pub(super) fn fail(&self, why: &str) -> bool {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.replace(why.to_owned()).is_none_or(|before| before != why)
    }

    /// So much is marked, so much was not searched.
    pub(super) fn note(&self, marked: usize, given_up: usize, settled: bool) {
        self.marked.store(marked as u64, Ordering::Relaxed);
        self.given_up.store(given_up as u64, Ordering::Relaxed);
        self.settled.store(settled, Ordering::Relaxed);
    }

    /// How it is now.
    #[must_use]
    pub fn now(&self) -> Marks {
        let number = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Marks {
            files: number(&self.marked),
            folders_not_searched: number(&self.given_up),
            searched: self.settled.load(Ordering::Relaxed),
            lapses: number(&self.lapses),
            backstop: Some(number(&self.behind) as u32).filter(|behind| *behind != 0),
            failure: self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
