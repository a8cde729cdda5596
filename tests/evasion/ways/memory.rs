//! The memory of a process outside of the tree, and devices that show more than a file.

use std::fs::File;
use std::io::{self, IoSliceMut, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{fs, thread};

use nix::libc;
use nix::sys::ptrace;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::place::Place;
use crate::way::Class::{Escape, Read};
use crate::way::Outcome::{Contained, Prevented, Seen};
use crate::way::Part::{Code, Sh};
use crate::way::{Need, Part, Way, way};

const fn power(name: &'static str, tries: &'static str, attempt: Part) -> Way {
    way(Read, "powers", name, tries, attempt).beside(Code(remember))
}

const fn order(name: &'static str, tries: &'static str, attempt: Part) -> Way {
    way(Escape, "powers", name, tries, attempt).ends(Seen, Prevented).beside(Code(obey))
}

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
    order("signal-outsider", "sends a signal to another process", Sh("kill -USR1 $(cat ready)")).beside(Sh(
        "trap 'echo done >escaped; exit' USR1; echo $$ >early; mv early ready; while :; do sleep .05; done",
    )),
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

/// Opens a file that must not be opened, touches nothing in it, and notes that it could.
fn opens(path: &str, write: bool) -> io::Result<()> {
    let flags = if write { libc::O_WRONLY } else { libc::O_RDONLY };
    // SAFETY: a terminated path; the descriptor is left to the end of the process.
    let fd = unsafe { libc::open(std::ffi::CString::new(path)?.as_ptr(), flags | libc::O_CLOEXEC) };
    nix::errno::Errno::result(fd)?;
    fs::write("heard", "opened\n")
}
