//! What is done to names in folders, and to what lies behind them without opening it.

use std::ffi::CString;
use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use io_uring::{opcode, types};
use nix::sys::stat::{Mode, SFlag, mknod};
use support::ring;

use crate::file::compat;

/// unlink(2) among the 32-bit calls (`arch/x86/entry/syscalls/syscall_32.tbl`).
const COMPAT_UNLINK: i64 = 10;

/// What is done.
#[derive(Clone, Debug, Subcommand)]
pub enum Change {
    /// Make a folder.
    Mkdir {
        /// The folder.
        folder: PathBuf,
    },
    /// Make a file, named pipe or socket without opening it.
    Make {
        /// `file`, `pipe` or `socket`.
        kind: String,
        /// Its name.
        name: PathBuf,
    },
    /// Make a file without a name in a folder, and give it one.
    MakeLater {
        /// The folder.
        folder: PathBuf,
        /// The name.
        name: PathBuf,
    },
    /// Remove a file.
    Unlink {
        /// Through `io_uring`.
        #[arg(long)]
        uring: bool,
        /// By a 32-bit call.
        #[arg(long, conflicts_with = "uring")]
        compat: bool,
        /// The file.
        file: PathBuf,
    },
    /// Remove a folder.
    Rmdir {
        /// The folder.
        folder: PathBuf,
    },
    /// Give a file or folder another name.
    Rename {
        /// Through `io_uring`.
        #[arg(long)]
        uring: bool,
        /// Exchange the two.
        #[arg(long)]
        exchange: bool,
        /// Its name.
        old: PathBuf,
        /// The other.
        new: PathBuf,
    },
    /// Give a file one more name.
    Link {
        /// Its name.
        old: PathBuf,
        /// One more.
        new: PathBuf,
    },
    /// Make a symbolic link.
    Symlink {
        /// What it leads to.
        to: PathBuf,
        /// Its name.
        name: PathBuf,
    },
    /// Cut a file by its name.
    Cut {
        /// The file.
        file: PathBuf,
    },
    /// Let nobody but its owner at a file.
    Chmod {
        /// The file.
        file: PathBuf,
    },
    /// Give a file to user and group 1.
    Chown {
        /// The file.
        file: PathBuf,
    },
}

impl Change {
    /// Does it.
    pub fn run(&self) -> io::Result<()> {
        match self {
            Self::Mkdir { folder } => fs::create_dir(folder),
            Self::Make { kind, name } => make(kind, name),
            Self::MakeLater { folder, name } => make_later(folder, name),
            Self::Unlink { compat: true, file, .. } => compat(COMPAT_UNLINK, &path(file)?, 0).map(drop),
            Self::Unlink { uring: false, file, .. } => fs::remove_file(file),
            Self::Unlink { uring: true, file, .. } => {
                let file = path(file)?;
                ring::one(&opcode::UnlinkAt::new(HERE, file.as_ptr()).build()).map(drop)
            }
            Self::Rmdir { folder } => fs::remove_dir(folder),
            Self::Rename { exchange: true, old, new, .. } => exchange(old, new),
            Self::Rename { uring: false, old, new, .. } => fs::rename(old, new),
            Self::Rename { uring: true, old, new, .. } => {
                let (old, new) = (path(old)?, path(new)?);
                ring::one(&opcode::RenameAt::new(HERE, old.as_ptr(), HERE, new.as_ptr()).build()).map(drop)
            }
            Self::Link { old, new } => fs::hard_link(old, new),
            Self::Symlink { to, name } => std::os::unix::fs::symlink(to, name),
            Self::Cut { file } => Ok(nix::unistd::truncate(file, 0)?),
            Self::Chmod { file } => fs::set_permissions(file, Permissions::from_mode(0o600)),
            Self::Chown { file } => chown(file, Some(1), Some(1)),
        }
    }
}

/// Relative to the working folder.
const HERE: types::Fd = types::Fd(libc::AT_FDCWD);

fn path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn make(kind: &str, name: &Path) -> io::Result<()> {
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    match kind {
        "file" => Ok(mknod(name, SFlag::S_IFREG, mode, 0)?),
        "pipe" => Ok(mknod(name, SFlag::S_IFIFO, mode, 0)?),
        "socket" => UnixListener::bind(name).map(drop),
        _ => Err(io::Error::other("`file`, `pipe` or `socket` is expected")),
    }
}

fn make_later(folder: &Path, name: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).open(folder)?;
    let (old, new) = (path(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())))?, path(name)?);
    let at = libc::AT_FDCWD;
    // SAFETY: two strings that end in a NUL.
    let done = unsafe { libc::linkat(at, old.as_ptr(), at, new.as_ptr(), libc::AT_SYMLINK_FOLLOW) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn exchange(old: &Path, new: &Path) -> io::Result<()> {
    let (old, new) = (path(old)?, path(new)?);
    let at = libc::AT_FDCWD;
    // SAFETY: two strings that end in a NUL.
    let done = unsafe { libc::renameat2(at, old.as_ptr(), at, new.as_ptr(), libc::RENAME_EXCHANGE) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
