//! Opening files, by every call that can.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use clap::ValueEnum;
use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, opcode, types};
use support::ring;

use crate::say;

/// The call that opens a file.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum By {
    /// open(2), which glibc never uses but static programs do.
    Open,
    /// openat(2).
    Openat,
    /// openat2(2).
    Openat2,
    /// creat(2), which truncates; what can be read is read through /proc/self/fd.
    Creat,
    /// `name_to_handle_at`(2) and `open_by_handle_at`(2): the name is never opened.
    Handle,
    /// `io_uring`'s openat.
    Uring,
    /// `io_uring`'s openat, done by a worker thread of the kernel's.
    UringAsync,
    /// `io_uring`'s openat, done by the kernel's own polling thread.
    UringPolled,
    /// `io_uring`'s openat2.
    Uring2,
    /// `io_uring`'s openat into the ring's own table: the process never has a descriptor.
    UringFixed,
    /// That open, a read and a write to standard output, handed over as one chain.
    UringChain,
    /// open(2) as a 32-bit program calls it.
    Compat,
    /// openat(2) with `O_PATH`, and an open of the result under /proc.
    OPath,
}

/// Opens a file for reading as descriptor 9, one that stays open over an exec.
pub fn hold(file: &Path) -> io::Result<()> {
    let file = File::open(file)?;
    // SAFETY: no pointers; nothing here has a descriptor 9 of its own.
    nix::errno::Errno::result(unsafe { libc::dup2(file.as_raw_fd(), 9) }).map(drop)?;
    Ok(())
}

/// Reads the whole file to standard output, so often, in so many threads at once.
pub fn read(by: By, file: &Path, threads: u32, times: u32) -> io::Result<()> {
    let work = || (0..times).try_for_each(|_| read_once(by, file));
    if threads == 1 {
        return work();
    }
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        all.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("panicked"))))
    })
}

/// Tries to read a file so often in so many threads at once, and counts what came of it.
pub fn insist(file: &Path, threads: u32, times: u32) -> io::Result<()> {
    const CALLS: [By; 3] = [By::Open, By::Openat, By::Openat2];
    let work = || {
        let (mut refused, mut read) = (0, 0);
        for by in CALLS.iter().cycle().take(times as usize) {
            match open(*by, file, libc::O_RDONLY) {
                Ok(opened) => read += io::copy(&mut File::from(opened), &mut io::sink())?,
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => refused += 1,
                Err(error) => return Err(error),
            }
        }
        Ok((refused, read))
    };
    let (mut refused, mut read) = (0, 0);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        all.into_iter().try_for_each(|thread| {
            let one = thread.join().unwrap_or_else(|_| Err(io::Error::other("panicked")))?;
            (refused, read) = (refused + one.0, read + one.1);
            Ok::<_, io::Error>(())
        })
    })?;
    say(&format!(r#"{{"refused":{refused},"bytes":{read}}}"#));
    Ok(())
}

fn read_once(by: By, file: &Path) -> io::Result<()> {
    match by {
        By::UringFixed => return fixed(file, false),
        By::UringChain => return fixed(file, true),
        _ => {}
    }
    let mut opened = File::from(open(by, file, libc::O_RDONLY)?);
    if matches!(by, By::Creat) {
        opened = File::open(format!("/proc/self/fd/{}", opened.as_raw_fd()))?;
    }
    let mut bytes = Vec::new();
    opened.read_to_end(&mut bytes)?;
    // Past the standard library's buffer: what was read is out before anything else happens.
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        rest = &rest[nix::unistd::write(io::stdout(), rest)?..];
    }
    Ok(())
}

/// Reads a file through the ring's own table of files, to standard output.
fn fixed(file: &Path, chain: bool) -> io::Result<()> {
    const SLOT: types::Fixed = types::Fixed(0);
    const LINK: Flags = Flags::IO_LINK;
    let path = CString::new(file.as_os_str().as_bytes())?;
    let mut ring = IoUring::new(4)?;
    ring.submitter().register_files(&[-1])?;
    let slot = types::DestinationSlot::try_from_slot_target(SLOT.0).map_err(|_| io::ErrorKind::InvalidInput)?;
    // A read that comes short would break the chain.
    let mut bytes = vec![0_u8; std::fs::metadata(file)?.len() as usize];
    let (at, length) = (types::Fd(libc::AT_FDCWD), bytes.len() as u32);
    let open = opcode::OpenAt::new(at, path.as_ptr()).file_index(Some(slot)).build();
    let read = opcode::Read::new(SLOT, bytes.as_mut_ptr(), length).build();
    let write = opcode::Write::new(types::Fd(libc::STDOUT_FILENO), bytes.as_ptr(), length).build();
    // All that these point to is there until each of them was waited for.
    let requests = [open.flags(LINK), read.flags(LINK), write];
    for step in if chain { &requests[..] } else { &requests[..2] }.chunks(if chain { 3 } else { 1 }) {
        ring::all(&mut ring, step)?;
    }
    if !chain {
        nix::unistd::write(io::stdout(), &bytes)?;
    }
    Ok(())
}

/// Opens a file so that it loses what it holds.
pub fn truncate(by: By, file: &Path) -> io::Result<()> {
    open(by, file, libc::O_WRONLY | libc::O_TRUNC).map(drop)
}

/// Appends to a file.
pub fn append(by: By, file: &Path, text: &[u8]) -> io::Result<()> {
    File::from(open(by, file, libc::O_WRONLY | libc::O_APPEND)?).write_all(text)
}

/// Makes a file, and fails when it is there.
pub fn create(by: By, file: &Path) -> io::Result<()> {
    open(by, file, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL).map(drop)
}

const MODE: libc::c_uint = 0o600;

/// openat2 takes a mode only where it means something.
fn mode_of(flags: i32) -> u64 {
    if flags & libc::O_CREAT == 0 { 0 } else { MODE.into() }
}

fn open(by: By, file: &Path, flags: i32) -> io::Result<OwnedFd> {
    let path = CString::new(file.as_os_str().as_bytes())?;
    let (at, name) = (libc::c_long::from(libc::AT_FDCWD), path.as_ptr() as libc::c_long);
    let (bits, mode) = (libc::c_long::from(flags), libc::c_long::from(MODE));
    let fd = match by {
        By::Open => call(OPEN, [name, bits, mode, 0])?,
        By::Creat => call(CREAT, [name, mode, 0, 0])?,
        By::Openat => call(libc::SYS_openat, [at, name, bits, mode])?,
        By::Openat2 => {
            // struct open_how: flags, mode, resolve.
            let how = [bits, mode_of(flags) as libc::c_long, 0];
            call(libc::SYS_openat2, [at, name, how.as_ptr() as libc::c_long, size_of_val(&how) as libc::c_long])?
        }
        By::Handle => by_handle(&path, flags)?,
        By::Uring => by_uring(&path, flags, Flags::empty())?,
        By::UringAsync => by_uring(&path, flags, Flags::ASYNC)?,
        By::UringPolled => {
            let mut ring = IoUring::builder().setup_sqpoll(1000).build(2)?;
            ring::all(&mut ring, &[uring_open(&path, flags)])?[0].into()
        }
        By::Uring2 => {
            let how = types::OpenHow::new().flags(flags as u64).mode(mode_of(flags));
            ring::one(&opcode::OpenAt2::new(types::Fd(libc::AT_FDCWD), path.as_ptr(), &raw const how).build())?.into()
        }
        By::UringFixed | By::UringChain => return Err(io::ErrorKind::Unsupported.into()),
        By::Compat => compat(COMPAT_OPEN, &path, flags)?,
        By::OPath => {
            let held = call(libc::SYS_openat, [at, name, libc::O_PATH.into(), 0])?;
            let again = CString::new(format!("/proc/self/fd/{held}"))?;
            call(libc::SYS_openat, [at, again.as_ptr() as libc::c_long, bits, mode])?
        }
    };
    // SAFETY: a descriptor that was just made, and is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

#[cfg(target_arch = "x86_64")]
const OPEN: libc::c_long = libc::SYS_open;
#[cfg(target_arch = "x86_64")]
const CREAT: libc::c_long = libc::SYS_creat;
// Newer machines never had them: the kernel answers ENOSYS.
#[cfg(not(target_arch = "x86_64"))]
const OPEN: libc::c_long = -1;
#[cfg(not(target_arch = "x86_64"))]
const CREAT: libc::c_long = -1;

/// A system call that makes a descriptor out of a path.
fn call(number: libc::c_long, args: [libc::c_long; 4]) -> io::Result<libc::c_long> {
    // SAFETY: callers pass terminated paths and whole structures that outlive the call.
    let fd = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3]) };
    if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(fd) }
}

fn by_handle(path: &CString, flags: i32) -> io::Result<libc::c_long> {
    /// `struct file_handle` with room for the largest.
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        data: [u8; libc::MAX_HANDLE_SZ as usize],
    }
    let mut handle = Handle { bytes: libc::MAX_HANDLE_SZ as u32, kind: 0, data: [0; libc::MAX_HANDLE_SZ as usize] };
    let mut mount = 0;
    let (at, handle) = (libc::AT_FDCWD, &raw mut handle);
    // SAFETY: both are as large as the kernel is told, and outlive the call.
    let named = unsafe { libc::syscall(libc::SYS_name_to_handle_at, at, path.as_ptr(), handle, &raw mut mount, 0) };
    if named < 0 {
        return Err(io::Error::last_os_error());
    }
    // Any descriptor on the same file system says which one the handle is of.
    let folder = Path::new(std::ffi::OsStr::from_bytes(path.to_bytes())).parent().filter(|path| path.is_absolute());
    let mount = File::open(folder.unwrap_or(Path::new(".")))?;
    let (mount, bits) = (libc::c_long::from(mount.as_raw_fd()), libc::c_long::from(flags));
    call(libc::SYS_open_by_handle_at, [mount, handle as libc::c_long, bits, 0])
}

fn uring_open(path: &CString, flags: i32) -> Entry {
    opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr()).flags(flags).mode(MODE).build()
}

fn by_uring(path: &CString, flags: i32, how: Flags) -> io::Result<libc::c_long> {
    ring::one(&uring_open(path, flags).flags(how)).map(libc::c_long::from)
}

/// open(2) among the 32-bit calls (`arch/x86/entry/syscalls/syscall_32.tbl`).
const COMPAT_OPEN: i64 = 5;

/// A 32-bit call with a path and a number.
#[cfg(target_arch = "x86_64")]
pub fn compat(call: i64, path: &CString, number: i32) -> io::Result<libc::c_long> {
    let bytes = path.as_bytes_with_nul();
    // A 32-bit call takes 32-bit addresses, so the path has to lie low.
    // SAFETY: a new mapping, wherever there is room below 2 GiB.
    let low = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes.len(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
            -1,
            0,
        )
    };
    if low == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is new and long enough.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), low.cast(), bytes.len()) };
    let result: i64;
    // SAFETY: the call reads the path and changes no memory. rbx is the compiler's own, hence the exchange.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {path}",
            "int 0x80",
            "xchg rbx, {path}",
            path = inout(reg) low as i64 => _,
            inlateout("rax") call => result,
            in("rcx") i64::from(number),
            in("rdx") i64::from(MODE),
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    if result < 0 { Err(io::Error::from_raw_os_error(-result as i32)) } else { Ok(result) }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn compat(_call: i64, _path: &CString, _number: i32) -> io::Result<libc::c_long> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Opens and closes `file` until the file `until` is there, which is looked for now and then.
pub fn spin(until: &Path, file: &Path) -> io::Result<()> {
    const BETWEEN: u64 = 100;
    let mut opened = 0u64;
    loop {
        drop(File::open(file)?);
        opened += 1;
        if opened.is_multiple_of(BETWEEN) && until.exists() {
            say(&format!(r#"{{"opened":{opened}}}"#));
            return Ok(());
        }
    }
}
