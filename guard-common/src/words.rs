//! The words of guard, as numbers: operations, actions, scopes and backends.
//!
//! The numbers are part of the wire format between the programs and user space, and index the tables of
//! the compiled policy, so they never change meaning within one version of [`crate::table::VERSION`].

/// Declares a fieldless enum with its number, its word, and the way back from both.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant = $number,)* }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word used in policies, in JSON and on the command line.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The value with this number, if there is one.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }

            /// The value with this word, if there is one.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

words! {
    /// What a guarded process attempts.
    Op {
        /// A program is executed.
        Exec = 0 "exec",
        /// A file is opened so that it can be read.
        Read = 1 "read",
        /// A file is opened so that it can be written.
        Write = 2 "write",
        /// A file, folder, device node, named pipe or socket is made.
        Create = 3 "create",
        /// A file or folder is removed.
        Delete = 4 "delete",
        /// A file or folder gets another name.
        Rename = 5 "rename",
        /// A hard or symbolic link is made.
        Link = 6 "link",
        /// Permissions or ownership change.
        Chmod = 7 "chmod",
        /// A socket is connected to an address or to a unix path.
        Connect = 8 "connect",
        /// A datagram is sent to an address without a connection.
        Send = 9 "send",
        /// A socket is bound to an internet address.
        Bind = 10 "bind",
        /// A signal is sent to a process outside the tree.
        Signal = 11 "signal",
        /// Another process is traced or its memory accessed.
        Ptrace = 12 "ptrace",
        /// Something is mounted, or a namespace entered.
        Mount = 13 "mount",
        /// A privilege is gained.
        Privilege = 14 "privilege",
        /// A process is still there when the session that started it ends.
        Outlive = 15 "outlive",
        /// Not an operation of policies: the executable is matched against the agents' patterns.
        Enrol = 16 "enrol",
    }
}

words! {
    /// What a rule does with the operations that it decides, mildest first.
    Action {
        /// It happens; it is only recorded among the bulk of events.
        Allow = 0 "allow",
        /// It happens, and is reported as a verdict.
        Log = 1 "log",
        /// It is prevented where the backend can, and contained by killing the process where it cannot.
        Deny = 2 "deny",
        /// The whole call is ended.
        Kill = 3 "kill",
    }
}

words! {
    /// On whose behalf a process of a tree acts.
    Scope {
        /// The agent's own work.
        Harness = 0 "harness",
        /// A command that the model asked for.
        Tool = 1 "tool",
    }
}

words! {
    /// How a verdict was made to bite.
    Backend {
        /// Nothing was to be carried out.
        None = 0 "none",
        /// SIGKILL before the process returns to user space.
        Signal = 1 "signal",
        /// The cgroup's socket-address programs refused with EPERM.
        Cgroup = 2 "cgroup",
        /// The security hook refused with EPERM.
        Lsm = 3 "lsm",
        /// The open-permission event was answered with a refusal.
        Fanotify = 4 "fanotify",
    }
}

words! {
    /// What was called for, where an operation can be attempted in more than one way.
    How {
        /// A file, device node, named pipe or socket is made: by `open` with `O_CREAT`, `mknod` or `bind`.
        Make = 0 "make",
        /// A folder is made.
        Mkdir = 1 "mkdir",
        /// A name is removed that is no folder's.
        Unlink = 2 "unlink",
        /// A folder is removed.
        Rmdir = 3 "rmdir",
        /// Another name takes the place of this one.
        Rename = 4 "rename",
        /// Two names are exchanged.
        Exchange = 5 "exchange",
        /// A file gets one more name.
        Link = 6 "link",
        /// A symbolic link is made.
        Symlink = 7 "symlink",
        /// Permissions are changed.
        Chmod = 8 "chmod",
        /// Owner or group are changed.
        Chown = 9 "chown",
        /// A file is cut by its name.
        Truncate = 10 "truncate",
        /// A signal is sent.
        Kill = 11 "kill",
        /// A process is attached to, its memory accessed, or a descriptor taken from it.
        Attach = 12 "attach",
        /// A filesystem is mounted, or its options changed.
        Mount = 13 "mount",
        /// A folder or file is mounted at a second place.
        Bind = 14 "bind",
        /// A mount is taken to another place.
        MoveMount = 15 "move-mount",
        /// A mount is taken away.
        Unmount = 16 "unmount",
        /// The root of the mount namespace is replaced.
        PivotRoot = 17 "pivot-root",
        /// A user namespace is made, in which its maker may mount.
        UserNamespace = 18 "user-namespace",
        /// A program is executed that runs as another user or with more capabilities.
        SetIdProgram = 19 "set-id-program",
        /// A process becomes root.
        SetUid = 20 "setuid",
        /// Code is loaded into the kernel: a module, or a kernel to be executed.
        Module = 21 "module",
        /// The system call `bpf` is called.
        Bpf = 22 "bpf",
        /// A limit of another process is set, which can end it.
        Limit = 23 "limit",
        /// Another process is moved to another control group, in which it can be ended, halted or starved.
        Regroup = 24 "regroup",
    }
}

words! {
    /// Whether verdicts are carried out.
    Mode {
        /// They are.
        Enforce = 0 "enforce",
        /// They are computed, counted and reported only.
        Audit = 1 "audit",
    }
}

/// Rows of the tables that are indexed by [`Op`]; a power of two, so that an index can be masked.
pub const OP_ROWS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_lead_back() {
        for &op in Op::ALL {
            assert_eq!(Op::from_number(op as u8), Some(op));
            assert_eq!(Op::from_word(op.word()), Some(op));
            assert!((op as usize) < OP_ROWS);
        }
        for &how in How::ALL {
            assert_eq!(How::from_word(how.word()), Some(how));
        }
        assert_eq!(Action::from_number(9), None);
        assert!(Action::Kill > Action::Deny && Action::Deny > Action::Log && Action::Log > Action::Allow);
    }
}
