//! Kinds of system calls that are judged once they have succeeded, where no security hook is asked about them.

/// What calls of a kind do. The numbers are bits of what user space asks for ([`Call::bit`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Call {
    /// A file, device node, named pipe or unix socket is made.
    Make = 0,
    /// A folder is made.
    Mkdir = 1,
    /// A name is removed that is no folder's.
    Unlink = 2,
    /// A folder is removed.
    Rmdir = 3,
    /// A name takes the place of another, or two are exchanged.
    Rename = 4,
    /// A file gets one more name.
    Link = 5,
    /// A symbolic link is made.
    Symlink = 6,
    /// A file is cut by its name.
    Truncate = 7,
    /// Permissions are changed.
    Chmod = 8,
    /// Owner or group are changed.
    Chown = 9,
    /// A signal is sent.
    Kill = 10,
    /// A process is traced, or its memory used.
    Attach = 11,
    /// Something is mounted.
    Mount = 12,
    /// A mount is put or taken somewhere.
    MoveMount = 13,
    /// A mount is taken away.
    Unmount = 14,
    /// The root of the mount namespace is replaced.
    PivotRoot = 15,
    /// A user namespace is made.
    UserNamespace = 16,
    /// A program is executed that runs as another user.
    SetIdProgram = 17,
    /// A module, or a kernel to be executed, is loaded.
    Module = 18,
    /// The system call `bpf` is called.
    Bpf = 19,
    /// A limit of another process is set.
    Limit = 20,
}

impl Call {
    /// Its bit among the kinds that are asked for.
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}
