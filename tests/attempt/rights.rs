//! What is done to other processes, to mounts and to one's own rights.

use std::ffi::CString;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
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
    /// Have an event of a descriptor send SIGKILL to a process.
    Notify {
        /// Its number.
        pid: i32,
    },
    /// Set the time of a processor that a process may use, to no limit.
    Limit {
        /// Its number.
        pid: i32,
    },
    /// Move a process to a control group.
    Regroup {
        /// Its number.
        pid: i32,
        /// The group's folder.
        group: PathBuf,
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
    /// Open each map that the kernel has for programs; print the names of those that could be.
    Maps,
    /// Remove the entries 0 and 1 of a map.
    Forget {
        /// Its number.
        map: u32,
    },
    /// Detach a link of no program.
    Detach,
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
            Self::Notify { pid } => notify(*pid),
            Self::Limit { pid } => limit(*pid),
            Self::Regroup { pid, group } => std::fs::write(group.join("cgroup.procs"), pid.to_string()),
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
            Self::Bpf => make_map(),
            Self::Maps => maps(),
            Self::Forget { map } => [0, 1].into_iter().try_for_each(|entry| forget(*map, entry)),
            Self::Detach => match bpf(LINK_DETACH, &mut [u32::MAX]) {
                Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(()),
                result => result.map(drop),
            },
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

fn notify(pid: i32) -> io::Result<()> {
    /// `F_SETSIG` (`include/uapi/asm-generic/fcntl.h`).
    const F_SETSIG: i32 = 10;
    let (reader, mut writer) = io::pipe()?;
    for (command, value) in [(libc::F_SETOWN, pid), (F_SETSIG, libc::SIGKILL), (libc::F_SETFL, libc::O_ASYNC)] {
        // SAFETY: the descriptor is open, and these commands take a number.
        zero(unsafe { libc::fcntl(reader.as_raw_fd(), command, value) }.into())?;
    }
    writer.write_all(b"now")
}

fn limit(pid: i32) -> io::Result<()> {
    let none = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the new limit is there, and the old one is not asked for.
    zero(unsafe { libc::prlimit(pid, libc::RLIMIT_CPU, &raw const none, std::ptr::null_mut()) }.into())
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
            let there = libc::iovec { iov_base: std::ptr::without_provenance_mut(first_byte(pid)?), iov_len: 1 };
            // SAFETY: one vector each, the own one of a byte that is there.
            let read = unsafe { libc::process_vm_readv(pid, &raw const here, 1, &raw const there, 1, 0) };
            if read >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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

/// Where the memory of a process begins.
fn first_byte(pid: i32) -> io::Result<usize> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let begin = maps.split('-').next().and_then(|begin| usize::from_str_radix(begin, 16).ok());
    begin.ok_or_else(|| io::Error::other("it has no memory"))
}

/// Commands of bpf(2) (`include/uapi/linux/bpf.h:enum bpf_cmd`).
const MAP_CREATE: u32 = 0;
const MAP_DELETE_ELEM: u32 = 3;
const MAP_GET_NEXT_ID: u32 = 12;
const MAP_GET_FD_BY_ID: u32 = 14;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const LINK_DETACH: u32 = 34;

/// A call of bpf(2) with these attributes (`union bpf_attr`).
fn bpf(command: u32, attributes: &mut [u32]) -> io::Result<libc::c_long> {
    // SAFETY: the attributes are there, as long as is said, and may be written to.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val::<[u32]>(attributes)) };
    zero(result).map(|()| result)
}

/// An array with one entry of eight bytes.
fn make_map() -> io::Result<()> {
    bpf(MAP_CREATE, &mut [2, 4, 8, 1, 0]).map(drop)
}

/// Fails where one is refused, after all were tried.
fn maps() -> io::Result<()> {
    let (mut next, mut refused) = ([0_u32; 3], None);
    while bpf(MAP_GET_NEXT_ID, &mut next).is_ok() {
        let number = next[1];
        next[0] = number;
        match bpf(MAP_GET_FD_BY_ID, &mut [number, 0, 0]) {
            Ok(map) => println!("{}", name_of(map)?),
            // It is gone already.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => {
                eprintln!("map {number}: {error}");
                refused = Some(error);
            }
        }
    }
    refused.map_or(Ok(()), Err)
}

fn forget(number: u32, entry: u32) -> io::Result<()> {
    let map = bpf(MAP_GET_FD_BY_ID, &mut [number, 0, 0])?;
    let at = (&raw const entry).expose_provenance() as u64;
    bpf(MAP_DELETE_ELEM, &mut [map as u32, 0, at as u32, (at >> 32) as u32]).map(drop)
}

/// The name of a map (`struct bpf_map_info`).
fn name_of(map: libc::c_long) -> io::Result<String> {
    /// Where it is, after six numbers, and how long it can be.
    const NAME: std::ops::Range<usize> = 24..40;
    let mut info = [0_u8; NAME.end];
    let at = info.as_mut_ptr().expose_provenance() as u64;
    bpf(OBJ_GET_INFO_BY_FD, &mut [map as u32, NAME.end as u32, at as u32, (at >> 32) as u32])?;
    let name = &info[NAME];
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    Ok(String::from_utf8_lossy(&name[..end]).into_owned())
}
