//! Keeping what the programs know of mounts up to date.

use std::fs::File;

use anyhow::Context as _;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Watch;
use crate::kernel::{Kernel, mounts};

/// The files that tell of the machine's mounts.
pub(super) struct Mounts {
    files: Vec<AsyncFd<File>>,
    /// It was said that there is no room for all.
    told: bool,
}

impl Mounts {
    /// Tells the programs what is mounted now, and watches for changes.
    pub(super) fn watch(kernel: &mut Kernel) -> anyhow::Result<Self> {
        // Watched first, so that no change is missed.
        let files = mounts::files().context("the machine's mounts can't be read")?;
        // SAFETY: a file owns its descriptor, gives always the same one, and keeps it until it is dropped.
        let wait = |file| unsafe { AsyncFd::register_with_interest(file, Interest::PRIORITY) };
        let files = files.into_iter().map(wait);
        let files = files.collect::<Result<_, _>>().context("the machine's mounts can't be watched")?;
        kernel.mounts().replace(&mounts::of_the_machine().context("the machine's mounts can't be read")?);
        Ok(Self { files, told: false })
    }

    /// Waits for a change. Safe to drop at any moment.
    pub(super) async fn changed(&self) {
        let [first, rest @ ..] = self.files.as_slice() else { return std::future::pending().await };
        let wait = async |file: &AsyncFd<File>| match file.ready(Interest::PRIORITY).await {
            Ok(mut ready) => ready.clear_ready(),
            // A file that can't be waited for any more tells of no change.
            Err(_) => std::future::pending().await,
        };
        match rest.first() {
            None => wait(first).await,
            Some(second) => tokio::select! {
                () = wait(first) => {}
                () = wait(second) => {}
            },
        }
    }
}

impl Watch<'_> {
    /// Looks at what is mounted now. While somebody is guarded, only filesystems that were not there before are taken
    /// note of: a mount that a session may have made gives what was there before no name.
    pub(super) fn look_at_mounts(&mut self) {
        // They are looked at again after the next change.
        let Ok(now) = mounts::of_the_machine() else { return };
        if self.kernel.members().next().is_some() {
            self.kernel.mounts().add_new_filesystems(&now);
        } else {
            self.kernel.mounts().replace(&now);
        }
        self.tell_full_mounts();
    }

    /// Takes note of the mounts that a session begins with, if they are others than the machine's.
    pub(super) fn add_mounts_of(&mut self, pid: u32) {
        if let Some(mounts) = mounts::of_process(pid) {
            self.kernel.mounts().add(&mounts);
            self.tell_full_mounts();
        }
    }

    fn tell_full_mounts(&mut self) {
        if self.kernel.mounts().full() && !self.mounts.told {
            self.mounts.told = true;
            tracing::warn!("this machine has more mounts than guard keeps: names by the last ones are not known");
        }
    }
}
