//! Preventing without security hooks: protected files that exist are marked, and the kernel asks guard before one is opened.
//!
//! What is refused here has not happened: nothing was truncated, and the process lives on with EPERM. Whatever passes, the
//! programs judge when the call returns, as if this were not there. So this is never in doubt: who does not know lets pass.
//!
//! - [`group`]: the calls of fanotify(7).
//! - `keeper`, `scan`, `arrivals`: a thread that finds what is to be marked, while there are sessions.
//! - `answer`, `judge`, `called`, `names`: the thread that answers.
//! - [`backstop`], `page`: a process that lets everybody pass should guard be stopped.

mod answer;
mod armed;
mod arrivals;
pub mod backstop;
mod called;
mod condition;
pub mod group;
mod judge;
mod keeper;
mod names;
mod page;
mod scan;

pub use armed::MapFiles;
pub use condition::{Condition, Marks};

use std::os::fd::AsRawFd as _;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::Context as _;
use guard_common::tree::Id;
use nix::sys::eventfd::EventFd;
use tokio::io::unix::AsyncFd;

use self::answer::Shared;
use self::armed::counter;
use self::group::Group;
use self::keeper::{Command, Keeper};
use crate::policy::Compiled;
use crate::record::decode::Record;

/// Refusals that wait to be told; more are counted.
const REFUSED: usize = 16_384;

/// What prevents opens.
pub struct Prevention {
    commands: Sender<Command>,
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
    refused: Mutex<Receiver<Box<Record>>>,
    told: AsyncFd<EventFd>,
    shared: Arc<Shared>,
    condition: Arc<Condition>,
}

/// Whether the kernel asks guard before files are opened.
///
/// # Errors
/// Why it does not.
pub fn check() -> std::io::Result<()> {
    let group = Group::asked()?;
    // Where `CONFIG_FANOTIFY_ACCESS_PERMISSIONS` is not set, marks are what is refused.
    let file = std::fs::File::open("/proc/self/exe")?;
    let file = std::os::fd::AsFd::as_fd(&file);
    group.ask_about(file)?;
    group.forget(file)
}

impl Prevention {
    /// Begins: nothing is marked before a session has.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn start(maps: MapFiles, policy: Arc<Compiled>) -> anyhow::Result<Self> {
        let (commands, told) = channel();
        let (refused, refusals) = sync_channel(REFUSED);
        let shared = Arc::new(Shared::new(policy, refused));
        let condition = Arc::new(Condition::default());
        let wake = Arc::new(counter()?);
        let tell = counter()?;
        let keeper = Keeper {
            commands: told,
            wake: Arc::clone(&wake),
            tell: tell.as_raw_fd(),
            maps,
            shared: Arc::clone(&shared),
            condition: Arc::clone(&condition),
        };
        // SAFETY: the counter owns its descriptor, gives always the same one, and keeps it until it is dropped.
        let told = unsafe { AsyncFd::register(tell) }.context("refusals can't be waited for")?;
        let thread = std::thread::Builder::new().name("guard-keeper".to_owned()).spawn(move || keeper.run())?;
        Ok(Self { commands, wake, thread: Some(thread), refused: Mutex::new(refusals), told, shared, condition })
    }

    fn command(&self, command: Command) {
        // A thread that has ended marks nothing any more.
        drop(self.commands.send(command));
        let _full = self.wake.write(1);
    }

    /// A session has begun, with these places.
    pub fn begin(&self, tree: Id, repo: &[u8], home: &[u8]) {
        self.command(Command::Begin(tree, repo.to_vec(), home.to_vec()));
    }

    /// A session is over.
    pub fn end(&self, tree: Id) {
        self.command(Command::End(tree));
    }

    /// Another policy is in force.
    pub fn change(&self, policy: Arc<Compiled>) {
        self.shared.change(policy);
        self.command(Command::Changed);
    }

    /// Whether some session enforces, whatever the policy's mode is.
    pub fn some_enforce(&self, some: bool) {
        if self.shared.some_enforce.swap(some, Ordering::Relaxed) != some {
            // It looks whether it is wanted.
            let _full = self.wake.write(1);
        }
    }

    /// Waits until something was refused. Safe to drop at any moment.
    pub async fn refused(&self) {
        match self.told.readable().await {
            Ok(mut ready) => {
                let _empty = self.told.get_ref().read();
                ready.clear_ready();
            }
            // What can't be waited for any more is taken at the next tick.
            Err(_) => std::future::pending().await,
        }
    }

    /// What was refused, one after the other.
    pub fn take(&self) -> Option<Record> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).try_recv().ok().map(|record| *record)
    }

    /// Refusals since the last call that there was no room for.
    #[must_use]
    pub fn untold(&self) -> u64 {
        self.shared.untold.swap(0, Ordering::Relaxed)
    }

    /// How it stands.
    #[must_use]
    pub fn marks(&self) -> Marks {
        self.condition.now()
    }
}

impl Prevention {
    /// Ends: nobody is asked about any more. What was refused until now can still be [taken](Self::take).
    pub fn stop(&mut self) {
        self.command(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // It has descriptors of this in use until then. If it has failed, it is over all the same.
            drop(thread.join());
        }
    }
}

impl Drop for Prevention {
    fn drop(&mut self) {
        self.stop();
    }
}
