//! The process that stands behind the thread that answers, so that nobody waits for long.
//!
//! Whoever opens a marked file sleeps in the kernel until somebody answers. When guard dies, its descriptors of the group are
//! closed, and the kernel lets all pass who wait (`fs/notify/fanotify/fanotify_user.c:fanotify_release`). When it is stopped, by
//! SIGSTOP, a debugger or a fault of its own, nothing would. So a small process has the group too. It looks whether
//! the thread shows that it lives, and has a pipe that ends with the thread: guard's process may be long in dying. Where it has not lived
//! for [`PATIENCE`], or is gone, this process removes all marks, and lets everybody pass who waits: the questions in the queue, which it
//! reads, and those that the thread has read. An answer names a question by the number of the descriptor that its reader was
//! given, and the kernel does not look who writes it (`process_access_response`), so trying those numbers is all it takes.
//! Then guard is as it was without marks, until the thread wakes up and finds out.
//!
//! Two readers must not give two questions the same number: the answer to one would be taken for the other's. So this process
//! fills the lower part of its table, and the thread refuses nothing that has a number above.

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
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
/// How long the process may take to stand.
const START: Duration = Duration::from_secs(5);
/// Numbers that are left to the thread that answers, where the limit on descriptors lets so many be.
const SPLIT: u64 = 512;

/// The process, as guard has it. Dropping it ends it.
#[derive(Debug)]
pub struct Backstop(Child);

impl Backstop {
    /// Starts it, and waits until it stands. `file` is the page's, `life` a pipe that ends with the thread.
    ///
    /// # Errors
    /// If it can't be started, or ends at once.
    pub fn start(group: &Group, page: &Page, file: OwnedFd, life: OwnedFd) -> anyhow::Result<Self> {
        let group = group.as_fd().try_clone_to_owned()?;
        let child = Command::new("/proc/self/exe")
            .arg0("guard")
            .arg(NAME)
            .stdin(Stdio::from(group))
            .stdout(Stdio::from(file))
            .stderr(Stdio::from(life))
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

/// Is that process, to its end: with the group as standard input, the page as standard output, and the pipe as standard error.
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
    // SAFETY: guard has started this process with all three as its own; nobody else here uses them.
    let [group, file, life] = unsafe { [0, 1, 2].map(|fd| OwnedFd::from_raw_fd(fd)) };
    let (group, page) = (Group::from_fd(group), Page::of(&file)?);
    let (split, _filling) = fill()?;
    page.stand(split);
    loop {
        let [ended, gone] = wait([guard.as_fd(), life.as_fd()]);
        // Before the thread is there, nothing is marked.
        if gone || page.thread() != 0 && page.silence() > PATIENCE {
            take_over(&guard, &group, &page);
            return Ok(());
        }
        if ended {
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
    while filling.last().is_some_and(|last| last.as_raw_fd() < split - 1) {
        filling.push(filling[0].try_clone()?);
    }
    Ok((split as u32, filling))
}

/// Waits for a while until there is something to be read of either, or it has ended; which.
fn wait(two: [BorrowedFd<'_>; 2]) -> [bool; 2] {
    let mut all = two.map(|one| PollFd::new(one, PollFlags::POLLIN));
    // Interrupted, it looks again.
    let _interrupted = poll(&mut all, PollTimeout::from(LOOK));
    all.map(|one| one.any().unwrap_or(false))
}

/// Lets everybody pass until guard ends this process, or itself.
fn take_over(guard: &File, group: &Group, page: &Page) {
    page.take();
    loop {
        // Whoever has found the mark just before still asks.
        drop(group.forget_all());
        for number in 0..page.split() {
            group.allow(number as RawFd);
        }
        let mut buffer = [0; QUESTIONS];
        while let Ok(length @ 1..) = group.read(&mut buffer) {
            // SAFETY: just read from it, by this thread, and gone through once.
            for question in unsafe { questions(&buffer[..length]) } {
                group.allow(question.file.as_raw_fd());
            }
        }
        let [ended, _asked] = wait([guard.as_fd(), group.as_fd()]);
        if ended {
            return;
        }
    }
}
