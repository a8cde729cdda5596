//! The process that stands behind the thread that answers, so that nobody waits for long.
//!
//! Whoever opens a marked file sleeps in the kernel until somebody answers. When guard dies, its descriptors of the group are
//! closed, and the kernel lets all pass who wait (`fs/notify/fanotify/fanotify_user.c:fanotify_release`). When it is stopped, by
//! SIGSTOP, a debugger or a fault of its own, nothing would. So a small process has the group too. It looks whether
//! the thread shows that it lives. Where it has not for [`PATIENCE`], this process removes all marks, and lets everybody pass who waits:
//! the questions in the queue, which it reads, and those that the thread has read. An answer names a question by
//! the number of the descriptor that its reader was given, and the kernel does not look who writes it
//! (`process_access_response`), so the numbers of that thread's descriptors are all it takes. Then guard is as it was without
//! marks, until the thread wakes up and finds out.
//!
//! Two readers must not give two questions the same number: the answer to one would be taken for the other's. So this process
//! fills the lower part of its table, and the thread refuses nothing that has a number above.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::group::{Group, QUESTIONS, questions};
use super::page::Page;
use crate::kernel::Target;

/// The subcommand that runs it.
pub const NAME: &str = "backstop";
/// How long the thread may be silent.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked at.
const LOOK: u16 = 250;
/// The same once it was silent for too long.
const LOOK_TAKEN: u16 = 20;
/// How long the process may take to stand.
const START: Duration = Duration::from_secs(5);
/// Numbers that are left to the thread that answers, where the limit on descriptors lets so many be.
const SPLIT: u64 = 512;

/// The process, as guard has it. Dropping it ends it.
#[derive(Debug)]
pub struct Backstop(Child);

impl Backstop {
    /// Starts it, and waits until it stands.
    ///
    /// # Errors
    /// If it can't be started, or ends at once.
    pub fn start(group: &Group, page: &Page) -> anyhow::Result<Self> {
        let group = group.as_fd().try_clone_to_owned()?;
        let child = Command::new("/proc/self/exe")
            .arg0("guard")
            .arg(NAME)
            .stdin(Stdio::from(group))
            .stdout(Stdio::from(page.file().try_clone_to_owned()?))
            .stderr(Stdio::null())
            .env_clear()
            .current_dir("/")
            .spawn()
            .context("no process can be started")?;
        let mut backstop = Self(child);
        let since = Instant::now();
        while !page.stands() {
            if backstop.ended() || since.elapsed() > START {
                bail!("the process that would see to it that nobody waits for long does not start");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(backstop)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Backstop {
    fn drop(&mut self) {
        // One that has ended can't be killed, and is waited for all the same.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Is that process, to its end: with the group as standard input, and the page as standard output.
#[must_use]
pub fn run() -> ExitCode {
    match stand() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn stand() -> anyhow::Result<()> {
    let parent = nix::unistd::getppid().as_raw() as u32;
    let guard: File = Target::hold(parent)?.context("guard has ended")?.into();
    // It may have ended just before, and its number be another's.
    if nix::unistd::getppid().as_raw() as u32 != parent {
        bail!("guard has ended");
    }
    // What a terminal sends to guard is not for this process: it ends with guard.
    nix::unistd::setsid().context("no session of its own")?;
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2] {
        // SAFETY: no handler is set.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // SAFETY: guard has started this process with both as its own; nobody else here uses them.
    let (group, page) = unsafe { (Group::from_fd(OwnedFd::from_raw_fd(0)), Page::of(OwnedFd::from_raw_fd(1))?) };
    let (split, _filling) = fill()?;
    page.stand(split);
    loop {
        if wait(&guard, None, LOOK) {
            return Ok(());
        }
        // Before the thread is there, nothing is marked.
        if page.thread() != 0 && page.silence() > PATIENCE {
            take_over(&guard, &group, &page, parent);
            return Ok(());
        }
    }
}

/// Fills this process's table up to the number from which on its descriptors are.
fn fill() -> anyhow::Result<(u32, Vec<File>)> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // Without more room, the thread has the lower half of what there is.
    let _refused = setrlimit(Resource::RLIMIT_NOFILE, most.min(4 * SPLIT), most);
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let split = SPLIT.min(limit / 2) as i32;
    let first = File::open("/dev/null").or_else(|_| File::open("/"))?;
    let mut filling = vec![first];
    while filling.last().is_some_and(|last| std::os::fd::AsRawFd::as_raw_fd(last) < split - 1) {
        filling.push(filling[0].try_clone()?);
    }
    Ok((split as u32, filling))
}

/// Waits until guard has ended, or somebody asks; whether guard has.
fn wait(guard: &File, group: Option<&Group>, milliseconds: u16) -> bool {
    let ended = PollFd::new(guard.as_fd(), PollFlags::POLLIN);
    let mut all = vec![ended];
    all.extend(group.map(|group| PollFd::new(group.as_fd(), PollFlags::POLLIN)));
    // Interrupted, it looks again.
    let _interrupted = poll(&mut all, PollTimeout::from(milliseconds));
    all[0].any().unwrap_or(false)
}

/// Lets everybody pass until guard ends this process, or itself.
fn take_over(guard: &File, group: &Group, page: &Page, parent: u32) {
    page.take();
    loop {
        // Whoever has found the mark just before still asks.
        drop(group.forget_all());
        for number in descriptors(parent, page.thread()) {
            group.allow(number);
        }
        let mut buffer = [0; QUESTIONS];
        while let Ok(length @ 1..) = group.read(&mut buffer) {
            // SAFETY: just read from it, by this thread, and gone through once.
            for question in unsafe { questions(&buffer[..length]) } {
                group.allow(std::os::fd::AsRawFd::as_raw_fd(&question.file));
            }
        }
        if wait(guard, Some(group), LOOK_TAKEN) {
            return;
        }
    }
}

/// The numbers of a thread's descriptors.
fn descriptors(process: u32, thread: u32) -> Vec<RawFd> {
    let entries = std::fs::read_dir(format!("/proc/{process}/task/{thread}/fd"));
    let number = |entry: io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    entries.into_iter().flatten().filter_map(number).collect()
}
