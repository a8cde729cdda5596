//! Room for what is known of pipes: entries of pipes that nobody holds any more are dropped.
//!
//! The kernel tells nobody when a pipe is gone. Where many are remembered, the members' descriptors are looked at, and what was
//! not found twice, some time apart, is forgotten: a pipe that was being handed on at the one look is found at the other.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use guard_common::tree::PipeKey;
use procfs::process::{FDTarget, Process};

use super::Watch;
use crate::kernel::Kernel;

/// How often is looked.
const EVERY: Duration = Duration::from_secs(10);
/// Entries below which there is room enough.
const MANY: usize = 4096;

/// When was looked last, and what was not found then.
#[derive(Default)]
pub(super) struct Pipes {
    looked: Option<Instant>,
    missing: HashSet<PipeKey>,
}

impl Watch<'_> {
    /// Forgets pipes that are gone, where it is time to.
    pub(super) fn forget_pipes(&mut self) {
        if self.pipes.looked.is_some_and(|looked| looked.elapsed() < EVERY) {
            return;
        }
        self.pipes.looked = Some(Instant::now());
        let known = self.kernel.pipes();
        if known.len() < MANY {
            self.pipes.missing.clear();
            return;
        }
        let held = held(&self.kernel);
        let missing: HashSet<PipeKey> = known.into_iter().filter(|pipe| !held.contains(&pipe.inode)).collect();
        for pipe in missing.intersection(&self.pipes.missing) {
            self.kernel.forget_pipe(*pipe);
        }
        self.pipes.missing = missing;
    }
}

/// Inode numbers of the pipes that guarded processes hold.
fn held(kernel: &Kernel) -> HashSet<u64> {
    let processes = kernel.members().filter_map(|(pid, _)| Process::new(pid as i32).ok());
    let descriptors = processes.filter_map(|process| process.fd().ok()).flatten().flatten();
    descriptors
        .filter_map(|descriptor| if let FDTarget::Pipe(inode) = descriptor.target { Some(inode) } else { None })
        .collect()
}
