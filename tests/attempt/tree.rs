//! Becoming other processes and other programs.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{io, process, thread};

use clap::ValueEnum;
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe, read, setsid};

use crate::{Attempt, REFUSED, refused, say};

/// The call that makes this process another program.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Becoming {
    /// execve(2).
    Execve,
    /// execveat(2) with a path.
    Execveat,
    /// execveat(2) on a descriptor, without a path.
    Fexecve,
    /// execve(2) of /proc/self/fd/N.
    ProcFd,
    /// execveat(2) of a copy in memory that has no path.
    Memfd,
    /// execve(2) by a thread that isn't the first.
    Thread,
}

/// Becomes another program: comes back only when refused.
pub fn exec(by: Becoming, argv: &[String]) -> io::Result<()> {
    let words: Vec<CString> = argv.iter().map(|word| CString::new(word.as_bytes())).collect::<Result<_, _>>()?;
    let path = words[0].as_c_str();
    match by {
        Becoming::Execve => nix::unistd::execv(path, &words).map(drop)?,
        Becoming::Thread => thread::scope(|scope| {
            let other = scope.spawn(|| nix::unistd::execv(path, &words).map(drop));
            other.join().unwrap_or(Err(nix::errno::Errno::EIO))
        })?,
        Becoming::Execveat => execveat(libc::AT_FDCWD, path, &words, 0)?,
        Becoming::Fexecve => {
            let file = File::open(&argv[0])?;
            execveat(file.as_raw_fd(), c"", &words, libc::AT_EMPTY_PATH)?;
        }
        Becoming::Memfd => {
            let mut copy = File::from(nix::sys::memfd::memfd_create(c"copy", nix::sys::memfd::MFdFlags::empty())?);
            io::copy(&mut File::open(&argv[0])?, &mut copy)?;
            // Who executes a file may not write to it at the same time.
            let copy = File::open(format!("/proc/self/fd/{}", copy.as_raw_fd()))?;
            execveat(copy.as_raw_fd(), c"", &words, libc::AT_EMPTY_PATH)?;
        }
        Becoming::ProcFd => {
            let file = File::open(&argv[0])?;
            let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
            nix::unistd::execv(&path, &words).map(drop)?;
        }
    }
    Ok(())
}

fn execveat(at: i32, path: &CStr, words: &[CString], flags: i32) -> io::Result<()> {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    let mut argv: Vec<*const libc::c_char> = words.iter().map(|word| word.as_ptr()).collect();
    argv.push(std::ptr::null());
    // SAFETY: all strings and both lists are terminated, and outlive the call. Nobody changes the environment here.
    unsafe { libc::syscall(libc::SYS_execveat, at, path.as_ptr(), argv.as_ptr(), environ, flags) };
    Err(io::Error::last_os_error())
}

/// How another process comes to be.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum How {
    /// fork.
    Fork,
    /// vfork(2) and exec of this program anew: memory is shared until then.
    Vfork,
    /// clone3(2).
    Clone3,
    /// clone3(2) with `CLONE_PARENT`: a sibling of this process's.
    Sibling,
    /// clone3(2) with `CLONE_FILES`: a process with this one's descriptors. It makes the attempt; this one then reads what
    /// the other has opened.
    SharedFiles,
    /// A session of its own.
    Setsid,
    /// A grandchild whose parent is gone: init's child.
    Orphan,
    /// A grandchild of its own session whose parent is gone: a daemon.
    Daemon,
    /// A process and pid namespace of its own.
    Pidns,
    /// No process at all: another thread.
    Thread,
}

/// Makes the attempt in another process, waits for it, and ends the way it ends.
pub fn run_in(how: How, words: &[String]) -> io::Result<()> {
    let attempt = &Attempt::rest(words);
    let child = match how {
        How::Thread => {
            return thread::scope(|scope| {
                scope.spawn(|| attempt.run()).join().unwrap_or_else(|_| Err(io::Error::other("panicked")))
            });
        }
        How::Orphan | How::Daemon => return orphan(attempt, matches!(how, How::Daemon)),
        How::Fork => child(|| attempt.end())?,
        How::Setsid => child(|| setsid().map_or_else(|error| refused(&error.into()), |_| attempt.end()))?,
        How::Pidns => {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWPID)?;
            child(|| attempt.end())?
        }
        How::Vfork => {
            // The standard library spawns by posix_spawn, and that by CLONE_VM and CLONE_VFORK.
            let status = process::Command::new("/proc/self/exe").args(words).status()?;
            return end_as(WaitStatus::from_raw(Pid::from_raw(1), status.into_raw())?);
        }
        How::Clone3 => clone3(attempt, 0)?,
        How::Sibling => return sibling(attempt),
        How::SharedFiles => return shared_files(attempt),
    };
    end_as(waitpid(child, None)?)
}

/// How a process gets into a control group.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Joining {
    /// This one is moved there.
    Moved,
    /// It is made there: clone3(2) with `CLONE_INTO_CGROUP`. Its attempt is to execute something.
    Made,
}

/// Makes the attempt in the control group `folder`, and ends the way it ends.
pub fn run_in_group(by: Joining, folder: &Path, words: &[String]) -> io::Result<()> {
    /// `CLONE_INTO_CGROUP` (`include/uapi/linux/sched.h`).
    const INTO_GROUP: u64 = 0x2_0000_0000;
    let attempt = &Attempt::rest(words);
    match by {
        Joining::Moved => {
            std::fs::write(folder.join("cgroup.procs"), process::id().to_string())?;
            attempt.run()
        }
        Joining::Made => {
            let folder = File::open(folder)?;
            // struct clone_args, the third version: what clone3 says, set_tid, its length, the group.
            let group = folder.as_raw_fd() as u64;
            let args = [INTO_GROUP, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0, 0, 0, group];
            end_as(waitpid(fork_by(&args, attempt)?, None)?)
        }
    }
}

/// Makes the attempt in that many processes of each thread, and counts their ends.
pub fn each(threads: u32, times: u32, attempt: &Attempt) -> io::Result<()> {
    let counts = [const { AtomicU32::new(0) }; 4];
    let work = || -> io::Result<()> {
        for _ in 0..times {
            let end = match waitpid(child(|| attempt.end())?, None)? {
                WaitStatus::Exited(_, 0) => 0,
                WaitStatus::Exited(_, code) if code == i32::from(REFUSED) => 1,
                WaitStatus::Signaled(_, Signal::SIGKILL, _) => 2,
                _ => 3,
            };
            counts[end].fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        all.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("panicked"))))
    })?;
    let [done, refused, killed, other] = counts.map(AtomicU32::into_inner);
    say(&format!(r#"{{"done":{done},"refused":{refused},"killed":{killed},"else":{other}}}"#));
    Ok(())
}

/// Forks; the child ends with the given exit code.
pub fn child(work: impl FnOnce() -> u8) -> io::Result<Pid> {
    // SAFETY: whatever the child does needs no lock that another thread could have held: the allocator's are the C
    // library's to release, and nobody else writes to standard error at the same time.
    match unsafe { fork()? } {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => end(work()),
    }
}

/// Ends a forked child. Nothing is buffered, and what else there is to do at exit takes a lock of the dynamic loader's, which
/// another thread could have held at the fork: the child would wait for that forever.
fn end(code: u8) -> ! {
    // SAFETY: no preconditions.
    unsafe { libc::_exit(code.into()) }
}

/// Forks by clone3(2).
fn clone3(attempt: &Attempt, flags: i32) -> io::Result<Pid> {
    let signal = if flags & libc::CLONE_PARENT == 0 { libc::SIGCHLD } else { 0 };
    // struct clone_args, the first version: flags, pidfd, child_tid, parent_tid, exit_signal, stack...
    fork_by(&[flags as u64, 0, 0, 0, signal as u64, 0, 0, 0], attempt)
}

/// clone3(2) with these `struct clone_args`, for the attempt.
fn fork_by(args: &[u64], attempt: &Attempt) -> io::Result<Pid> {
    // SAFETY: as large as said; no memory is shared.
    match unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(args)) } {
        ..0 => Err(io::Error::last_os_error()),
        0 => end(attempt.end()),
        pid => Ok(Pid::from_raw(pid as i32)),
    }
}

/// A sibling is the parent's to wait for, so this process makes another to be that parent.
fn sibling(attempt: &Attempt) -> io::Result<()> {
    let middle = child(|| match clone3(attempt, libc::CLONE_PARENT) {
        Ok(_) => 0,
        Err(error) => refused(&error),
    })?;
    let mut result = Ok(());
    loop {
        match waitpid(None::<Pid>, None) {
            Ok(status) if status.pid() == Some(middle) => {}
            Ok(status) => result = end_as(status),
            Err(_) => return result,
        }
    }
}

/// The other process opens, this one reads.
fn shared_files(attempt: &Attempt) -> io::Result<()> {
    waitpid(clone3(attempt, libc::CLONE_FILES)?, None)?;
    for fd in 3..16 {
        let mut bytes = [0; 64];
        // SAFETY: as many bytes as there are.
        let length = unsafe { libc::pread(fd, bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        if length > 0 {
            nix::unistd::write(io::stdout(), &bytes[..length as usize])?;
        }
    }
    Ok(())
}

/// A grandchild is nobody's to wait for: it says by a pipe how it ended, or by closing it that it was killed.
fn orphan(attempt: &Attempt, session: bool) -> io::Result<()> {
    let (result, tell) = pipe()?;
    let middle = child(|| {
        let grandchild = child(|| {
            if session && let Err(error) = setsid() {
                return refused(&error.into());
            }
            while nix::unistd::getppid() != Pid::from_raw(1) && !reaped() {
                thread::yield_now();
            }
            let code = attempt.end();
            nix::unistd::write(&tell, &[code]).map_or(REFUSED, |_| code)
        });
        grandchild.map_or_else(|error| refused(&error), |_| 0)
    })?;
    drop(tell);
    end_as(waitpid(middle, None)?)?;
    let mut code = [0];
    match read(&result, &mut code)? {
        0 => killed(),
        _ => process::exit(code[0].into()),
    }
}

/// Whether the parent that forked us has gone: somebody else's child by now, init's or a subreaper's.
fn reaped() -> bool {
    let parent = std::fs::read_link(format!("/proc/{}/exe", nix::unistd::getppid()));
    let me = std::fs::read_link("/proc/self/exe");
    parent.ok() != me.ok()
}

/// Ends the way a child ended.
fn end_as(status: WaitStatus) -> io::Result<()> {
    match status {
        WaitStatus::Exited(_, 0) => Ok(()),
        WaitStatus::Exited(_, code) => process::exit(code),
        WaitStatus::Signaled(..) => killed(),
        other => Err(io::Error::other(format!("{other:?}"))),
    }
}

fn killed() -> ! {
    say("killed");
    process::exit(137)
}
