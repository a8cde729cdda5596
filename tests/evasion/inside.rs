//! What runs in the processes that take part in a way.

use std::os::unix::process::CommandExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use nix::errno::Errno;
use nix::libc;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use crate::place::Place;
use crate::way::Part;

/// How long descendants that outlive the attempt may take.
const LAST: Duration = Duration::from_millis(700);

/// Does this part, in this process; the exit code.
pub fn play(part: Part, place: &Place) -> u8 {
    let done = env::set_current_dir(place.path()).and_then(|()| match part {
        Part::Nothing => Ok(()),
        Part::Sh(script) => Err(Command::new("sh").args(["-euc", script]).env("place", place.path()).exec()),
        Part::Code(work) => work(place),
    });
    match done {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("refused: {error}");
            1
        }
    }
}

/// Makes the attempt in a child, and waits for all that comes of it: when this process ends, everything has been
/// tried and is on record. A descendant that gets killed does not take this process along.
pub fn play_guarded(part: Part, place: &Place) -> u8 {
    // SAFETY: no pointers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    // SAFETY: this process has a single thread.
    let child = match unsafe { fork() } {
        Ok(ForkResult::Child) => std::process::exit(play(part, place).into()),
        Ok(ForkResult::Parent { child }) => child,
        Err(error) => {
            eprintln!("refused: {error}");
            return 1;
        }
    };
    let mut code = 0;
    let mut deadline = None;
    loop {
        match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
            Err(Errno::ECHILD) => return code,
            Ok(WaitStatus::StillAlive) | Err(_) => thread::sleep(Duration::from_millis(2)),
            Ok(status) if status.pid() == Some(child) => {
                code = code_of(status);
                deadline = Some(Instant::now() + LAST);
            }
            Ok(_) => {}
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            return code;
        }
    }
}

fn code_of(status: WaitStatus) -> u8 {
    match status {
        WaitStatus::Exited(_, code) => code as u8,
        WaitStatus::Signaled(_, signal, _) => 128 + signal as u8,
        _ => 1,
    }
}

/// Runs a program of somebody's own, for code that needs one.
pub fn run(program: &str, words: &[&str]) -> io::Result<()> {
    let status: ExitStatus = Command::new(program).args(words).status()?;
    match status.signal() {
        Some(signal) => Err(io::Error::other(format!("{program} was ended by signal {signal}"))),
        None if status.success() => Ok(()),
        None => Err(io::Error::other(format!("{program}: {status}"))),
    }
}
