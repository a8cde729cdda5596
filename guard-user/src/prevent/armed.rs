//! All that it takes to be asked: the group, the thread that answers, and the process that stands behind it.

use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::answer::{Answerer, End, Shared};
use super::backstop::Backstop;
use super::group::Group;
use super::judge::MapFds;
use super::page::Page;
use crate::kernel::JUDGED_BY;

/// How long the thread may take to begin, and to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is asked, until this is dropped.
#[derive(Debug)]
pub struct Armed {
    group: Group,
    wake: EventFd,
    answerer: Option<JoinHandle<End>>,
    backstop: Backstop,
}

/// An event counter that can be waited for.
///
/// # Errors
/// What the kernel says.
pub fn counter() -> std::io::Result<EventFd> {
    Ok(EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?)
}

impl Armed {
    /// Starts them. `tell` and `maps` have to stay open for as long as this lives.
    ///
    /// # Errors
    /// What is missing.
    pub fn start(shared: &Arc<Shared>, tell: RawFd, maps: MapFds) -> anyhow::Result<Self> {
        let group = Group::asked().context("fanotify_init")?;
        let (page, file) = Page::new()?;
        let page = Arc::new(page);
        let (life, alive) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        let backstop = Backstop::start(&group, &page, file, life)?;
        let wake = counter()?;
        let answerer = Answerer {
            group: group.as_raw_fd(),
            wake: wake.as_raw_fd(),
            tell,
            maps,
            alive: alive.as_raw_fd(),
            shared: Arc::clone(shared),
            page: Arc::clone(&page),
        };
        let thread = std::thread::Builder::new().name("guard-answer".to_owned()).spawn(move || answerer.run())?;
        let armed = Self { group, wake, answerer: Some(thread), backstop };
        let since = Instant::now();
        // Until it has a table of its own, it uses this one's descriptors.
        while page.thread() == 0 {
            if armed.answerer.as_ref().is_none_or(JoinHandle::is_finished) || since.elapsed() > PATIENCE {
                bail!("the thread that would answer does not start");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // From here on, the pipe's end is the thread's alone.
        drop(alive);
        Ok(armed)
    }

    /// What is marked is marked for this.
    #[must_use]
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Id of the process behind.
    #[must_use]
    pub fn behind(&self) -> u32 {
        self.backstop.pid()
    }

    /// Why nobody is asked any more, if that is so.
    pub fn failed(&mut self) -> Option<&'static str> {
        if self.answerer.as_ref().is_none_or(JoinHandle::is_finished) {
            return match self.answerer.take().map(JoinHandle::join) {
                Some(Ok(End::Taken)) => Some("guard was silent for too long, and everybody was let pass"),
                _ => Some("the thread that answers has ended"),
            };
        }
        self.backstop.ended().then_some("the process that sees to it that nobody waits for long has ended")
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        // Whoever waits passes as soon as the last descriptor of the group is closed, the thread's and the process's among them.
        let _full = self.wake.write(1);
        let Some(answerer) = self.answerer.take() else { return };
        let since = Instant::now();
        while !answerer.is_finished() && since.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        if answerer.is_finished() {
            drop(answerer.join());
        }
    }
}

/// Descriptors of the maps, of guard's main table.
#[derive(Debug)]
pub struct MapFiles(pub [OwnedFd; JUDGED_BY.len()]);

impl MapFiles {
    /// Their numbers.
    #[must_use]
    pub fn numbers(&self) -> MapFds {
        std::array::from_fn(|at| self.0[at].as_raw_fd())
    }
}
