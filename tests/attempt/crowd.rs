//! Many children at once.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;
use std::{io, process, thread};

use clap::ValueEnum;
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use crate::say;

/// How the children come to be.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum By {
    /// fork.
    Fork,
    /// clone with `CLONE_VM` and `CLONE_VFORK`, as `posix_spawn` does it.
    Vfork,
}

/// How long the children stay.
const STAY: Duration = Duration::from_millis(700);

/// Makes the children, and counts their ends.
pub fn run(by: By, times: u32, folder: &Path) -> io::Result<()> {
    let [mut forked, mut refused, mut killed] = [0_u32; 3];
    let mut children = Vec::new();
    for number in 0..times {
        let marker = CString::new(folder.join(number.to_string()).as_os_str().as_bytes())?;
        let made = match by {
            By::Fork => child(&marker),
            By::Vfork => short_child(&marker),
        };
        match made {
            Ok(child) => children.push(child),
            Err(_) => refused += 1,
        }
    }
    for child in children {
        match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => forked += 1,
            WaitStatus::Signaled(_, Signal::SIGKILL, _) => killed += 1,
            other => return Err(io::Error::other(format!("{other:?}"))),
        }
    }
    say(&format!(r#"{{"forked":{forked},"refused":{refused},"killed":{killed}}}"#));
    Ok(())
}

/// Makes a file by one system call: mkdir, which nobody judges.
fn mark(marker: &CStr) {
    // SAFETY: a terminated path.
    unsafe { libc::mkdir(marker.as_ptr(), 0o700) };
}

fn child(marker: &CStr) -> nix::Result<Pid> {
    // SAFETY: this program has a single thread here.
    match unsafe { fork()? } {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            mark(marker);
            thread::sleep(STAY);
            process::exit(0)
        }
    }
}

/// A child that has this process's memory, and this process waits until it has ended.
fn short_child(marker: &CStr) -> nix::Result<Pid> {
    extern "C" fn work(marker: *mut libc::c_void) -> i32 {
        // SAFETY: the path that was handed over; mkdir changes no memory of the parent's.
        unsafe { libc::mkdir(marker.cast(), 0o700) };
        0
    }
    let mut stack = vec![0_u8; 64 << 10];
    // SAFETY: the stack's upper end, aligned by the call; it outlives the child, whose end this call waits for.
    let pid = unsafe {
        libc::clone(
            work,
            stack.as_mut_ptr().add(stack.len()).cast(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            marker.as_ptr().cast_mut().cast(),
        )
    };
    nix::errno::Errno::result(pid).map(Pid::from_raw)
}
