//! The memory of a process outside of the tree, what else is done to it, and devices that show more than a file.

use std::fs::File;
use std::io::{self, IoSliceMut, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{fs, thread};

use nix::libc;
use nix::sys::ptrace;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::place::Place;
use crate::way::Class::{Escape, Read};
use crate::way::Outcome::{Contained, Open, Prevented, Seen};
use crate::way::Part::{Code, Sh};
use crate::way::{Need, Part, Way, way};

const fn power(name: &'static str, tries: &'static str, attempt: Part) -> Way {
    way(Read, "powers", name, tries, attempt).beside(Code(remember))
}

const fn order(name: &'static str, tries: &'static str, attempt: Part) -> Way {
    way(Escape, "powers", name, tries, attempt).ends(Seen, Prevented).beside(Code(obey))
}

/// Does something when it gets a signal.
const TRAP: Part =
    Sh("trap 'echo done >escaped; exit' USR1; echo $$ >early; mv early ready; while :; do sleep .05; done");

/// The ways.
pub const WAYS: &[Way] = &[
    power("process-vm-readv", "copies it out of the memory of a process that has read it", Code(vm_readv)),
    power("ptrace-peek", "traces that process, and reads its memory word by word", Code(peek)),
    way(Read, "memory", "proc-pid-mem", "reads that process's memory through /proc", Code(proc_mem))
        .beside(Code(remember)),
    order("process-vm-writev", "writes an order into another process's memory", Code(vm_writev)),
    order("ptrace-poke", "traces that process, and writes the order word by word", Code(poke))
        .ends(Contained, Prevented),
    way(Escape, "memory", "proc-pid-mem-write", "writes the order through /proc/PID/mem", Code(proc_mem_write))
        .beside(Code(obey)),
    order("signal-outsider", "sends a signal to another process", Sh("kill -USR1 $(cat ready)")).beside(TRAP),
    order(
        "signal-by-event",
        "has an event of a descriptor signal another process (`F_SETOWN`, `F_SETSIG`)",
        Code(by_event),
    )
    .beside(TRAP)
    .ends(Open, Open),
    order("limit-outsider", "lowers a limit of another process", Code(lower)).beside(Code(wait_for_limit)),
    way(Read, "memory", "dev-mem", "opens /dev/mem (and reads nothing of it)", Code(|_| opens("/dev/mem", false)))
        .needs(&[Need::File("/dev/mem")]),
    way(
        Read,
        "memory",
        "kcore",
        "opens /proc/kcore (and reads nothing of it)",
        Code(|_| opens("/proc/kcore", false)),
    )
    .needs(&[Need::File("/proc/kcore")]),
    way(
        Read,
        "memory",
        "core-pattern",
        "opens /proc/sys/kernel/core_pattern to write (and writes nothing)",
        Code(|_| opens("/proc/sys/kernel/core_pattern", true)),
    )
    .needs(&[Need::File("/proc/sys/kernel/core_pattern")]),
    way(
        Read,
        "devices",
        "mknod",
        "makes a device node of its own for a denied device (here /dev/full)",
        Sh("mknod allowed/device c 1 7; head -c 8 allowed/device >x; [ -s x ]; echo done >heard"),
    )
    .needs(&[Need::File("/dev/full")]),
];

/// Reads the secret, and says where it keeps it.
fn remember(place: &Place) -> io::Result<()> {
    let secret = fs::read(place.secret())?;
    fs::write("address", format!("{} {}", secret.as_ptr() as usize, secret.len()))?;
    place.ready()?;
    thread::sleep(Duration::from_mins(1));
    drop(secret);
    Ok(())
}

/// Waits for an order, and says where it is to be written.
fn obey(place: &Place) -> io::Result<()> {
    let order = AtomicU32::new(0);
    fs::write("address", format!("{} 4", order.as_ptr() as usize))?;
    place.ready()?;
    while order.load(Ordering::SeqCst) == 0 {
        thread::sleep(Duration::from_millis(2));
    }
    place.escape()
}

/// What is written there.
const ORDER: [u8; 4] = 1_u32.to_ne_bytes();

/// Whose memory, from where, and how much.
fn target(place: &Place) -> io::Result<(Pid, usize, usize)> {
    let text = fs::read_to_string("address")?;
    let number = |text: &str| text.parse::<usize>().map_err(io::Error::other);
    let (address, length) = text.split_once(' ').ok_or(io::ErrorKind::InvalidData)?;
    Ok((Pid::from_raw(place.outsider()?), number(address)?, number(length)?))
}

fn vm_readv(place: &Place) -> io::Result<()> {
    let (pid, base, len) = target(place)?;
    let mut bytes = vec![0; len];
    process_vm_readv(pid, &mut [IoSliceMut::new(&mut bytes)], &[RemoteIoVec { base, len }])?;
    io::stdout().write_all(&bytes)
}

fn vm_writev(place: &Place) -> io::Result<()> {
    let (pid, base, len) = target(place)?;
    nix::sys::uio::process_vm_writev(pid, &[io::IoSlice::new(&ORDER)], &[RemoteIoVec { base, len }]).map(drop)?;
    Ok(())
}

/// Does something to a process that is traced meanwhile.
fn traced(pid: Pid, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    ptrace::attach(pid)?;
    waitpid(pid, None)?;
    work()?;
    Ok(ptrace::detach(pid, None)?)
}

fn peek(place: &Place) -> io::Result<()> {
    let (pid, base, length) = target(place)?;
    traced(pid, || {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            bytes.extend(ptrace::read(pid, (base + bytes.len()) as ptrace::AddressType)?.to_ne_bytes());
        }
        io::stdout().write_all(&bytes[..length])
    })
}

fn poke(place: &Place) -> io::Result<()> {
    let (pid, base, _) = target(place)?;
    traced(pid, || {
        let word = ptrace::read(pid, base as ptrace::AddressType)?;
        Ok(ptrace::write(pid, base as ptrace::AddressType, word | 1)?)
    })
}

fn proc_mem(place: &Place) -> io::Result<()> {
    let (pid, base, length) = target(place)?;
    let mut bytes = vec![0; length];
    File::open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut bytes, base as u64)?;
    io::stdout().write_all(&bytes)
}

fn proc_mem_write(place: &Place) -> io::Result<()> {
    let (pid, base, _) = target(place)?;
    File::options().write(true).open(format!("/proc/{pid}/mem"))?.write_all_at(&ORDER, base as u64)
}

fn by_event(place: &Place) -> io::Result<()> {
    /// `F_SETSIG` (`include/uapi/asm-generic/fcntl.h`).
    const F_SETSIG: i32 = 10;
    let (reader, mut writer) = io::pipe()?;
    let asked = [(libc::F_SETOWN, place.outsider()?), (F_SETSIG, libc::SIGUSR1), (libc::F_SETFL, libc::O_ASYNC)];
    for (command, value) in asked {
        // SAFETY: the descriptor is open, and these commands take a number.
        nix::errno::Errno::result(unsafe { libc::fcntl(reader.as_raw_fd(), command, value) })?;
    }
    writer.write_all(b"now")
}

/// A number of open files that nobody has for a limit.
const FEW: u64 = 77;

fn lower(place: &Place) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: FEW, rlim_max: FEW };
    let pid = place.outsider()?;
    // SAFETY: the new limit is there, and the old one is not asked for.
    let result = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

/// Does something when that is its limit.
fn wait_for_limit(place: &Place) -> io::Result<()> {
    place.ready()?;
    while getrlimit(Resource::RLIMIT_NOFILE)?.0 != FEW {
        thread::sleep(Duration::from_millis(2));
    }
    place.escape()
}

/// Opens a file that must not be opened, touches nothing in it, and notes that it could.
fn opens(path: &str, write: bool) -> io::Result<()> {
    let flags = if write { libc::O_WRONLY } else { libc::O_RDONLY };
    // SAFETY: a terminated path; the descriptor is left to the end of the process.
    let fd = unsafe { libc::open(std::ffi::CString::new(path)?.as_ptr(), flags | libc::O_CLOEXEC) };
    nix::errno::Errno::result(fd)?;
    fs::write("heard", "opened\n")
}
