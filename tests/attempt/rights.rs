//! What is done to other processes, to mounts and to one's own rights.

use std::ffi::CString;
use std::io;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, setresuid};

/// What is done.
#[derive(Clone, Debug, Subcommand)]
pub enum Act {
    /// Send a process SIGTERM.
    Kill {
        /// Its number.
        pid: i32,
    },
    /// Get at a process's memory or descriptors.
    Attach {
        /// How.
        #[arg(long, value_enum, default_value = "ptrace")]
        by: Attaching,
        /// Its number.
        pid: i32,
    },
    /// Mount memory there, with mounts of one's own.
    Mount {
        /// The folder.
        folder: PathBuf,
    },
    /// Show a folder at a second place, with mounts of one's own.
    Bind {
        /// The folder.
        folder: PathBuf,
        /// The second place.
        at: PathBuf,
    },
    /// Take a mount away, with mounts of one's own.
    Unmount {
        /// Where it is.
        folder: PathBuf,
    },
    /// Make a user namespace.
    UserNamespace,
    /// Become root again, after having been another user.
    BecomeRoot,
    /// Ask the kernel for an array that programs could use.
    Bpf,
    /// Hand the kernel something that is no module.
    Module,
    /// Bind a TCP socket to this port of loopback.
    Listen {
        /// The port.
        port: u16,
    },
}

/// How a process is got at.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Attaching {
    /// ptrace(2), `PTRACE_SEIZE`.
    Ptrace,
    /// `process_vm_readv`(2).
    Memory,
    /// /proc/PID/mem.
    ProcMem,
    /// `pidfd_getfd`(2).
    Descriptor,
}

impl Act {
    /// Does it.
    pub fn run(&self) -> io::Result<()> {
        match self {
            Self::Kill { pid } => Ok(kill(Pid::from_raw(*pid), Signal::SIGTERM)?),
            Self::Attach { by, pid } => attach(*by, *pid),
            Self::Mount { folder } => {
                own_mounts()?;
                Ok(mount(None::<&str>, folder, Some("tmpfs"), MsFlags::empty(), None::<&str>)?)
            }
            Self::Bind { folder, at } => {
                own_mounts()?;
                Ok(mount(Some(folder), at, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
            }
            Self::Unmount { folder } => {
                own_mounts()?;
                Ok(umount2(folder, MntFlags::MNT_DETACH)?)
            }
            Self::UserNamespace => Ok(unshare(CloneFlags::CLONE_NEWUSER)?),
            Self::BecomeRoot => {
                let (root, other) = (Uid::from_raw(0), Uid::from_raw(65534));
                setresuid(other, other, root)?;
                Ok(setresuid(root, root, root)?)
            }
            Self::Bpf => bpf(),
            Self::Module => {
                let bytes = [0_u8; 4096];
                let parameters = CString::default();
                // SAFETY: the bytes and a string; the kernel reads no more.
                zero(unsafe {
                    libc::syscall(libc::SYS_init_module, bytes.as_ptr(), bytes.len(), parameters.as_ptr())
                })
            }
            Self::Listen { port } => std::net::TcpListener::bind(("127.0.0.1", *port)).map(drop),
        }
    }
}

/// Mounts that nobody else sees. A namespace of mounts is made by nobody's leave but root's.
fn own_mounts() -> io::Result<()> {
    Ok(unshare(CloneFlags::CLONE_NEWNS)?)
}

fn zero(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn attach(by: Attaching, pid: i32) -> io::Result<()> {
    match by {
        Attaching::Ptrace => {
            ptrace::seize(Pid::from_raw(pid), ptrace::Options::empty())?;
            // It ends with this process.
            Ok(())
        }
        Attaching::Memory => {
            let mut byte = [0_u8];
            let here = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
            // An address that is certainly not there: who may not look is told so before.
            let there = libc::iovec { iov_base: std::ptr::without_provenance_mut(8), iov_len: 1 };
            // SAFETY: one vector each, the own one of a byte that is there.
            let read = unsafe { libc::process_vm_readv(pid, &raw const here, 1, &raw const there, 1, 0) };
            let error = io::Error::last_os_error();
            if read >= 0 || error.raw_os_error() == Some(libc::EFAULT) { Ok(()) } else { Err(error) }
        }
        Attaching::ProcMem => std::fs::File::open(format!("/proc/{pid}/mem")).map(drop),
        Attaching::Descriptor => {
            // SAFETY: numbers only.
            let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
            zero(process)?;
            // SAFETY: numbers only.
            zero(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process, 1, 0) })
        }
    }
}

/// `BPF_MAP_CREATE` of an array with one entry of eight bytes (`union bpf_attr`).
fn bpf() -> io::Result<()> {
    let attributes: [u32; 5] = [2, 4, 8, 1, 0];
    // SAFETY: the attributes are there, as long as is said.
    zero(unsafe { libc::syscall(libc::SYS_bpf, 0, attributes.as_ptr(), size_of_val(&attributes)) })
}
