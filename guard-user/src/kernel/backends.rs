//! What guard can do about each operation on this kernel, in the words of the documentation.

use guard_common::words::{Backend, Op};

use super::asked::{Asked, Unasked, how_asked};
use super::btf::Types;
use super::hooks::HOOKS;

/// What becomes of an operation that is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It fails with EPERM and has not happened.
    Prevented,
    /// It has happened in the kernel, and the process is killed before the thread that did it runs on.
    Contained,
    /// It is not even recorded.
    NotSeen,
}

impl Reach {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Prevented => "prevented",
            Self::Contained => "contained",
            Self::NotSeen => "not seen",
        }
    }
}

/// What guard can do about one kind of operation.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// The operation of policies that it is.
    pub op: Op,
    /// What is attempted.
    pub what: &'static str,
    /// What becomes of it where it is denied.
    pub reach: Reach,
    /// By which means.
    pub backend: Backend,
    /// The same in words.
    pub how: &'static str,
}

/// Arguments that `io_uring_complete` has in kernels later than 6.12, the first form that shows the request's result.
const URING_ARGUMENTS: usize = 3;

/// Whether what is opened and connected through `io_uring` is seen on the kernel that has these types.
#[must_use]
pub fn sees_uring(types: &Types) -> bool {
    types.tracepoint_arguments("io_uring_complete") == Some(URING_ARGUMENTS)
}

/// What a security hook is asked about by itself.
struct ByHook {
    op: Op,
    what: &'static str,
    hook: &'static str,
    /// What becomes of it where that is not asked, in words: it is contained, if anything.
    late: Option<&'static str>,
}

/// [`Hold::how`] of what no program of guard's is asked about.
const NOT_SEEN: &str = "not seen";
/// The same where it depends on the hook.
const PREVENTED: &str = "prevented";
/// The same of what a call has done by a name.
const BY_NAME: &str = "contained: it has happened; the name counts as it was given";
/// The same of what it has done to something else.
const HAPPENED: &str = "contained: it has happened";

/// [`Hold::what`] of execs that are known for what they are only once the security modules have been asked: by then there is
/// no way to refuse where returns are modified.
const MORE_CAPABILITIES: &str = "executing a program whose file brings more capabilities";

/// What only its hook shows.
const fn by_hook(op: Op, what: &'static str, hook: &'static str) -> ByHook {
    ByHook { op, what, hook, late: None }
}

/// What shows without the hook as well, once it has happened.
const fn or_late(op: Op, what: &'static str, hook: &'static str, late: &'static str) -> ByHook {
    ByHook { op, what, hook, late: Some(late) }
}

/// What is prevented by its own security hook, and else judged once it has happened or not at all.
const BY_HOOK: &[ByHook] = &[
    or_late(Op::Read, "moving a file that may not be read to a name where it may be", "path_rename", BY_NAME),
    by_hook(Op::Read, "moving a folder with what may not be read to a name where it may be", "path_rename"),
    or_late(Op::Write, "truncating a file by its name", "path_truncate", BY_NAME),
    or_late(Op::Create, "making a file, device node, named pipe or unix socket", "path_mknod", BY_NAME),
    or_late(Op::Create, "making a folder", "path_mkdir", BY_NAME),
    or_late(Op::Delete, "removing a file", "path_unlink", BY_NAME),
    or_late(Op::Delete, "removing a folder", "path_rmdir", BY_NAME),
    by_hook(Op::Delete, "replacing a file by renaming another", "path_rename"),
    or_late(Op::Rename, "renaming a file or folder", "path_rename", BY_NAME),
    or_late(Op::Link, "making a hard link", "path_link", BY_NAME),
    or_late(Op::Link, "making a symbolic link", "path_symlink", BY_NAME),
    or_late(Op::Chmod, "changing permissions", "path_chmod", BY_NAME),
    or_late(Op::Chmod, "changing owner or group", "path_chown", BY_NAME),
    or_late(Op::Signal, "sending a signal out of the session", "task_kill", "contained: it has been sent"),
    or_late(Op::Signal, "setting a limit of a process outside the session", "task_setrlimit", HAPPENED),
    or_late(
        Op::Ptrace,
        "tracing a process, using its memory or taking its descriptors",
        "ptrace_access_check",
        "contained: it has happened. What is opened in `/proc/PID`, and a descriptor that is taken, are judged as files",
    ),
    or_late(Op::Mount, "mounting", "sb_mount", BY_NAME),
    or_late(Op::Mount, "taking a mount to another place", "move_mount", BY_NAME),
    or_late(Op::Mount, "unmounting", "sb_umount", BY_NAME),
    or_late(Op::Mount, "replacing the root of the mount namespace", "sb_pivotroot", HAPPENED),
    or_late(Op::Mount, "making a user namespace", "userns_create", HAPPENED),
    or_late(Op::Privilege, "executing a program with another user's rights", "bprm_creds_from_file", KILLED),
    by_hook(Op::Privilege, MORE_CAPABILITIES, "bprm_creds_from_file"),
    by_hook(Op::Privilege, "becoming root", "task_fix_setuid"),
    or_late(Op::Privilege, "loading a kernel module or another kernel", "kernel_read_file", HAPPENED),
    or_late(Op::Privilege, "calling bpf", "bpf", HAPPENED),
];

const fn hold(op: Op, what: &'static str, reach: Reach, backend: Backend, how: &'static str) -> Hold {
    Hold { op, what, reach, backend, how }
}

/// What a kernel lets guard do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// By which way security hooks are asked, or why not.
    pub asked: Result<Asked, Unasked>,
    /// Security hooks that guard can't be on all the same.
    pub without: Vec<&'static str>,
    /// What is done through `io_uring` is seen where no security hook is asked ([`sees_uring`]); `None` where nothing is to
    /// be said of it.
    pub uring: Option<bool>,
    /// Where no security hook is asked, opens of protected files are asked about by fanotify.
    pub fanotify: bool,
    /// What no hook is asked about is judged once a call has done it.
    pub calls: bool,
}

/// [`Hold::what`] of execs that only their words tell apart, which are not there yet when the kernel asks.
pub const EXEC_BY_WORDS: &str = "executing a program, where its words or its standard input decide";
impl Abilities {
    /// Those of this machine, as far as that can be said without loading guard's programs. Nothing is said of `io_uring`.
    #[must_use]
    pub fn of_this_machine(types: Option<&Types>) -> Self {
        let unknown = || Unasked::Refused("the kernel's types are not known".to_owned());
        let asked = types.map_or_else(|| Err(unknown()), how_asked);
        let mut without = Vec::new();
        if let (Ok(asked), Some(types)) = (&asked, types) {
            let missing = HOOKS.iter().filter(|hook| hook.is_for(*asked) && hook.missing(*asked, types).is_some());
            without.extend(missing.map(|hook| hook.name));
            without.dedup();
        }
        Self { asked, without, uring: None, fanotify: false, calls: true }
    }

    /// Whether security hooks are asked.
    #[must_use]
    pub fn hooks(&self) -> bool {
        self.asked.is_ok()
    }
}

const KILLED: &str = "contained: killed before its first instruction";
const NETWORK: &str = "TCP connections, UDP connections and datagrams, IPv4 and IPv6";
const THROUGH: &str = "prevented, through io_uring too";
const OTHER_INTERNET: &str = "raw and ping sockets, UDP-Lite and other internet protocols";
const NOT_MADE: &str = "prevented: the socket is not made where rules deny an address";
/// [`Hold::what`] of sockets that pass by the hooks for internet addresses.
pub const OTHER_FAMILIES: &str = "packet sockets, vsock and sockets of other families";

/// What is so on every kernel that guard runs on.
const ALWAYS: [Hold; 6] = [
    hold(Op::Connect, NETWORK, Reach::Prevented, Backend::Cgroup, THROUGH),
    hold(Op::Send, NETWORK, Reach::Prevented, Backend::Cgroup, THROUGH),
    hold(Op::Send, OTHER_INTERNET, Reach::Prevented, Backend::Cgroup, NOT_MADE),
    hold(Op::Bind, "binding a socket to an internet address", Reach::Prevented, Backend::Cgroup, THROUGH),
    hold(
        Op::Signal,
        "moving a process outside the session to another control group",
        Reach::Contained,
        Backend::Signal,
        HAPPENED,
    ),
    hold(
        Op::Outlive,
        "outliving the session",
        Reach::Contained,
        Backend::Signal,
        "ended from user space half a second after the session",
    ),
];

/// What is so without security hooks.
const BY_SIGNAL: [Hold; 7] = [
    hold(Op::Exec, "executing a program", Reach::Contained, Backend::Signal, KILLED),
    hold(
        Op::Read,
        "opening a file to read",
        Reach::Contained,
        Backend::Signal,
        "contained: no byte reaches the thread that opened it",
    ),
    hold(
        Op::Write,
        "opening a file to write",
        Reach::Contained,
        Backend::Signal,
        "contained: nothing is written by that thread, but what `O_TRUNC` has truncated and `O_CREAT` has created stays",
    ),
    hold(
        Op::Read,
        "receiving a descriptor of a file over a unix socket",
        Reach::NotSeen,
        Backend::None,
        "not judged",
    ),
    hold(
        Op::Connect,
        "connecting to a unix socket",
        Reach::Contained,
        Backend::Signal,
        "contained: no byte is sent by that thread; the other side sees the connection open and close",
    ),
    hold(Op::Send, "datagrams to unix sockets", Reach::NotSeen, Backend::None, "not seen"),
    hold(
        Op::Send,
        OTHER_FAMILIES,
        Reach::Contained,
        Backend::Signal,
        "contained: nothing is sent, where rules deny an address",
    ),
];

/// What is opened that guard has found before, and had time to mark: when the session began, or when it appeared.
const MARKED: [(Op, &str); 2] = [
    (Op::Read, "opening a file to read that guard has marked"),
    (Op::Write, "opening a file to write that guard has marked"),
];
/// [`Hold::how`] of that by fanotify.
const BY_MARK: &str = "prevented";

/// What is so where security hooks are asked.
const BY_LSM: [Hold; 8] = [
    hold(Op::Exec, "executing a program", Reach::Prevented, Backend::Lsm, "prevented where its path decides"),
    hold(Op::Exec, EXEC_BY_WORDS, Reach::Contained, Backend::Signal, KILLED),
    hold(Op::Read, "opening a file to read", Reach::Prevented, Backend::Lsm, "prevented"),
    hold(
        Op::Write,
        "opening a file to write",
        Reach::Prevented,
        Backend::Lsm,
        "prevented, before it is created or truncated",
    ),
    hold(
        Op::Read,
        "receiving a descriptor of a file over a unix socket",
        Reach::Prevented,
        Backend::Lsm,
        "prevented",
    ),
    hold(Op::Connect, "connecting to a unix socket", Reach::Prevented, Backend::Lsm, "prevented"),
    hold(Op::Send, "datagrams to unix sockets", Reach::Prevented, Backend::Lsm, "prevented"),
    hold(Op::Send, OTHER_FAMILIES, Reach::Prevented, Backend::Lsm, NOT_MADE),
];

/// What guard can do, operation by operation.
#[must_use]
pub fn holds(abilities: &Abilities) -> Vec<Hold> {
    let mut holds = ALWAYS.to_vec();
    holds.extend_from_slice(if abilities.hooks() { &BY_LSM } else { &BY_SIGNAL });
    if abilities.fanotify && !abilities.hooks() {
        holds.extend(MARKED.map(|(op, what)| hold(op, what, Reach::Prevented, Backend::Fanotify, BY_MARK)));
    }
    holds.extend(BY_HOOK.iter().map(|by| {
        let not_asked = match by.late {
            Some(how) if abilities.calls => (Reach::Contained, Backend::Signal, how),
            _ => (Reach::NotSeen, Backend::None, NOT_SEEN),
        };
        let (reach, backend, how) = match abilities.asked {
            Ok(_) if abilities.without.contains(&by.hook) => not_asked,
            Ok(Asked::ModifiedReturn) if by.what == MORE_CAPABILITIES => (Reach::Contained, Backend::Signal, KILLED),
            Ok(_) => (Reach::Prevented, Backend::Lsm, PREVENTED),
            Err(_) => not_asked,
        };
        hold(by.op, by.what, reach, backend, how)
    }));
    if let Some(seen) = abilities.uring {
        let prevented = (Reach::Prevented, Backend::Lsm, PREVENTED);
        let not_seen = (Reach::NotSeen, Backend::None, NOT_SEEN);
        let (reach, backend, how) = match (abilities.hooks(), seen) {
            (true, _) => prevented,
            (false, true) => (Reach::Contained, Backend::Signal, "contained"),
            (false, false) => not_seen,
        };
        let (of_names, by, in_words) = if abilities.hooks() { prevented } else { not_seen };
        holds.extend([
            hold(Op::Read, "opening a file to read through io_uring", reach, backend, how),
            hold(Op::Write, "opening a file to write through io_uring", reach, backend, how),
            hold(Op::Connect, "connecting to a unix socket through io_uring", reach, backend, how),
            hold(
                Op::Delete,
                "removing, renaming, linking or making folders through io_uring",
                of_names,
                by,
                in_words,
            ),
        ]);
    }
    holds
}

/// Operations that no way of attempting them is seen of.
#[must_use]
pub fn blind(abilities: &Abilities) -> Vec<Op> {
    let holds = holds(abilities);
    let seen = |op: Op| holds.iter().any(|hold| hold.op == op && hold.reach != Reach::NotSeen);
    Op::ALL.iter().copied().filter(|&op| op != Op::Enrol && !seen(op)).collect()
}
