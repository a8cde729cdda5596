//! Opening files, by every call that can.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use clap::ValueEnum;
use io_uring::{IoUring, opcode, types};

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
    /// open(2) as a 32-bit program calls it.
    Compat,
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

fn read_once(by: By, file: &Path) -> io::Result<()> {
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

/// Appends to a file.
pub fn append(by: By, file: &Path, text: &[u8]) -> io::Result<()> {
    File::from(open(by, file, libc::O_WRONLY | libc::O_APPEND)?).write_all(text)
}

/// Makes a file, and fails when it is there.
pub fn create(by: By, file: &Path) -> io::Result<()> {
    open(by, file, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL).map(drop)
}

const MODE: libc::c_uint = 0o600;

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
            let how = [bits, if flags & libc::O_CREAT == 0 { 0 } else { mode }, 0];
            call(libc::SYS_openat2, [at, name, how.as_ptr() as libc::c_long, size_of_val(&how) as libc::c_long])?
        }
        By::Handle => by_handle(&path, flags)?,
        By::Uring => by_uring(&path, flags, false)?,
        By::UringAsync => by_uring(&path, flags, true)?,
        By::Compat => compat_open(&path, flags)?,
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

fn by_uring(path: &CString, flags: i32, worker: bool) -> io::Result<libc::c_long> {
    let open = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr()).flags(flags).mode(MODE).build();
    let open = if worker { open.flags(io_uring::squeue::Flags::ASYNC) } else { open };
    uring(&open).map(libc::c_long::from)
}

/// Does one thing through `io_uring`, and gives its result.
pub fn uring(entry: &io_uring::squeue::Entry) -> io::Result<i32> {
    let mut ring = IoUring::new(2)?;
    // SAFETY: what the entry points to outlives this call, which waits until it is done.
    unsafe { ring.submission().push(entry) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let result = ring.completion().next().map_or(-libc::EIO, |done| done.result());
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result) }
}

#[cfg(target_arch = "x86_64")]
fn compat_open(path: &CString, flags: i32) -> io::Result<libc::c_long> {
    const OPEN: i64 = 5;
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
            inlateout("rax") OPEN => result,
            in("rcx") i64::from(flags),
            in("rdx") i64::from(MODE),
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    if result < 0 { Err(io::Error::from_raw_os_error(-result as i32)) } else { Ok(result) }
}

#[cfg(not(target_arch = "x86_64"))]
fn compat_open(_path: &CString, _flags: i32) -> io::Result<libc::c_long> {
    Err(io::ErrorKind::Unsupported.into())
}
