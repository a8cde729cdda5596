//! Becoming another process, another user, or nobody's child, so that guard loses sight.

use std::io;
use std::process::Command;

use nix::errno::Errno;
use nix::libc;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use crate::place::Place;
use crate::way::Class::Read;
use crate::way::Outcome::{Prevented, Seen};
use crate::way::Part::{Code, Sh};
use crate::way::{Need, Part, Way, way};

const fn lived(name: &'static str, tries: &'static str, attempt: Part) -> Way {
    way(Read, "secrets", name, tries, attempt)
}

/// The ways.
pub const WAYS: &[Way] = &[
    lived("vfork", "a child by vfork and exec", Sh("$attempt in vfork read denied/secret")),
    lived("clone3", "a child by clone3", Sh("$attempt in clone3 read denied/secret")),
    lived("sibling", "a child that is its parent's, by `CLONE_PARENT`", Sh("$attempt in sibling read denied/secret")),
    lived(
        "shared-descriptors",
        "a child with the same descriptors opens and dies, the parent reads",
        Sh("$attempt in shared-files read denied/secret"),
    )
    .ends(Seen, Prevented),
    lived("thread", "a thread", Sh("$attempt in thread read denied/secret")),
    lived("setsid", "a session of its own", Sh("setsid --wait cat denied/secret")),
    lived("dying-parent", "a grandchild whose parent has ended", Sh("$attempt in orphan read denied/secret")),
    lived("daemon", "a daemon: forked twice, with a session of its own", Sh("$attempt in daemon read denied/secret")),
    lived(
        "daemon-of-daemons",
        "daemons of daemons",
        Sh("$attempt in daemon in daemon in setsid in thread in fork read denied/secret"),
    ),
    lived("pid-namespace", "the first process of a pid namespace", Sh("$attempt in pidns read denied/secret")),
    lived(
        "all-namespaces",
        "namespaces of its own, of every kind",
        Sh("unshare --fork --pid --net --uts --ipc --cgroup --time cat denied/secret"),
    ),
    lived("no-environment", "an empty environment", Sh("env -i cat denied/secret")),
    lived(
        "nice-nohup-timeout",
        "programs that run programs",
        Sh("nohup nice timeout 5 xargs -a /dev/null cat denied/secret"),
    ),
    lived(
        "fork-storm",
        "500 processes, each of which tries once",
        Sh("$attempt each --threads 5 100 read denied/secret"),
    ),
    lived(
        "crowd",
        "100 processes at once that only one of them reads for",
        Sh("mkdir x; $attempt crowd 100 x & sleep .2; cat denied/secret; wait"),
    ),
    lived("pid-reuse", "a child with the process id of one that has ended", Code(pid_reuse)),
    lived(
        "setuid-program",
        "nobody, by a program that is root's and setuid",
        Sh("chmod 700 denied; setpriv --reuid 65534 --clear-groups --inh-caps=-all --bounding-set=-all \
         ./allowed/cat denied/secret"),
    )
    .before(Sh("cp $(command -v cat) allowed/cat; chmod 4755 allowed/cat"))
    .needs(&[Need::Program("setpriv")]),
    lived("sudo", "sudo", Sh("sudo -n cat denied/secret")).needs(&[Need::Program("sudo")]),
    lived("su", "su", Sh("su -s /bin/sh root -c 'cat denied/secret'")).needs(&[Need::Program("su")]),
    lived(
        "unprivileged",
        "nobody, who may read the file",
        Sh("setpriv --reuid 65534 --clear-groups cat denied/secret"),
    )
    .needs(&[Need::Program("setpriv")]),
    lived(
        "tmux-of-its-own",
        "a tmux server that it starts itself",
        Sh("tmux -f /dev/null -S x new-session -d 'cat denied/secret >heard'; sleep .3"),
    )
    .needs(&[Need::Program("tmux")]),
    lived("traced-child", "a child that it traces", Code(traced_child)),
    lived("no-new-privileges", "`no_new_privs`", Sh("setpriv --no-new-privs cat denied/secret"))
        .needs(&[Need::Program("setpriv")]),
];

/// A child ends; the next is given the same process id.
fn pid_reuse(_: &Place) -> io::Result<()> {
    // SAFETY: this process has a single thread.
    let ended = match unsafe { fork()? } {
        ForkResult::Child => std::process::exit(0),
        ForkResult::Parent { child } => child,
    };
    waitpid(ended, None)?;
    let wanted = ended.as_raw();
    // struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size.
    let args = [0, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0, (&raw const wanted) as u64, 1];
    // SAFETY: as large as said; no memory is shared.
    match Errno::result(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) })? {
        0 => Err(std::os::unix::process::CommandExt::exec(Command::new("cat").arg("denied/secret"))),
        child => {
            assert_eq!(child, i64::from(wanted), "the kernel keeps its word");
            waitpid(Pid::from_raw(child as i32), None).map(drop)?;
            Ok(())
        }
    }
}

/// A traced process stops at its exec and at each of its signals but the one that can't be caught.
fn traced_child(_: &Place) -> io::Result<()> {
    use nix::sys::ptrace;
    use nix::sys::wait::WaitStatus;
    // SAFETY: this process has a single thread.
    let child = match unsafe { fork()? } {
        ForkResult::Child => {
            ptrace::traceme()?;
            return Err(std::os::unix::process::CommandExt::exec(Command::new("cat").arg("denied/secret")));
        }
        ForkResult::Parent { child } => child,
    };
    loop {
        match waitpid(child, None)? {
            // Whatever signal it was stopped by is kept from it.
            WaitStatus::Stopped(..) => ptrace::cont(child, None)?,
            _ => return Ok(()),
        }
    }
}
