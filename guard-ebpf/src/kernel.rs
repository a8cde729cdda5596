//! Reading the kernel's structures.

use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_get_current_task, bpf_probe_read_kernel, generated};

pub use guard_common::walk::masked;

use crate::maps::offset;

/// Reads a `T` from kernel memory at `address + offset`; `None` where that faults.
#[inline(always)]
pub fn read<T: Copy>(address: u64, offset: u64) -> Option<T> {
    // SAFETY: the helper checks the address and fails instead of faulting.
    unsafe { bpf_probe_read_kernel((address + offset) as *const T) }.ok()
}

/// Reads a `T` at `address + offset`, or zeroes where that faults: the helper clears what it could not fill
/// (`kernel/trace/bpf_trace.c:bpf_probe_read_kernel_common`). For what is followed or checked further on, and
/// cheaper to the verifier than [`read`]: there is no second way to go on.
#[inline(always)]
pub fn read_or_zero<T: Copy>(address: u64, offset: u64) -> T {
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: the helper writes size_of::<T>() bytes at most, checks the address, and leaves zeroes where it
    // fails; its result is that difference only. `T` is an integer or an array of such.
    unsafe {
        let _faulted = generated::bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            (address + offset) as *const _,
        );
        value.assume_init()
    }
}

/// Argument `number` of a hook, as a number: the verifier takes the argument itself for an object it knows, and lets no
/// function of its own have that. One more than there are reads what lies behind.
#[inline(always)]
pub fn argument(ctx: &impl EbpfContext, number: u64) -> u64 {
    read_or_zero(ctx.as_ptr() as u64, 8 * number)
}

/// Whether there is something behind a directory entry.
#[inline(always)]
pub fn exists(dentry: u64) -> bool {
    read_or_zero::<u64>(dentry, offset!(dentry_inode)) != 0
}

/// Whether a directory entry is a folder's.
#[inline(always)]
pub fn is_folder(dentry: u64) -> bool {
    let inode: u64 = read_or_zero(dentry, offset!(dentry_inode));
    inode != 0 && read_or_zero::<u16>(inode, offset!(inode_mode)) & S_IFMT == S_IFDIR
}

/// The current task.
#[inline(always)]
pub fn current() -> u64 {
    // SAFETY: no arguments, no preconditions.
    unsafe { bpf_get_current_task() }
}

/// Process id of the current task, in the initial pid namespace.
#[inline(always)]
pub fn tgid() -> u32 {
    (aya_ebpf::helpers::bpf_get_current_pid_tgid() >> 32) as u32
}

/// When the current process was started: start of its group leader, which an exec by another thread keeps
/// (`fs/exec.c:de_thread` hands the leader's `start_boottime` over).
#[inline(always)]
pub fn process_start(task: u64) -> Option<u64> {
    let leader: u64 = read(task, offset!(task_group_leader))?;
    read(leader, offset!(task_start))
}

/// The table of descriptors of `task`, and its array of files.
#[inline(always)]
fn descriptors(task: u64) -> Option<(u64, u64)> {
    let files: u64 = read(task, offset!(task_files))?;
    let table: u64 = read(files, offset!(files_fdt))?;
    Some((table, read(table, offset!(fdt_fd))?))
}

/// The file behind descriptor `fd` of `task`, null if there is none.
#[inline(always)]
pub fn file_of(task: u64, fd: u32) -> Option<u64> {
    let (table, array) = descriptors(task)?;
    if fd >= read(table, offset!(fdt_max))? {
        return None;
    }
    read(array, u64::from(fd) * 8).filter(|file| *file != 0)
}

/// The files that `task` has open: their array, a bit for each that is in use, and how many there is room for.
#[inline(always)]
pub fn open_descriptors(task: u64) -> Option<(u64, u64, u32)> {
    let (table, array) = descriptors(task)?;
    Some((array, read(table, offset!(fdt_open))?, read(table, offset!(fdt_max))?))
}

/// Whether a file keeps what others have put there: whether it is a regular one, a folder or a disk.
#[inline(always)]
pub fn is_stored(file: u64) -> bool {
    if file == 0 {
        return false;
    }
    let inode: u64 = read_or_zero(file, offset!(file_inode));
    let kind = read_or_zero::<u16>(inode, offset!(inode_mode)) & S_IFMT;
    inode != 0 && (kind == S_IFREG || kind == S_IFDIR || kind == S_IFBLK)
}

/// Type bits of `inode.i_mode`.
const S_IFMT: u16 = 0o170_000;
/// A regular file.
const S_IFREG: u16 = 0o100_000;
/// A disk.
const S_IFBLK: u16 = 0o060_000;
/// A folder.
const S_IFDIR: u16 = 0o040_000;
/// A pipe.
const S_IFIFO: u16 = 0o010_000;
/// A socket.
const S_IFSOCK: u16 = 0o140_000;

/// `FMODE_WRITE`.
const FMODE_WRITE: u32 = 2;

/// The table of files that `task` has open, and a bit for each of its first 64 descriptors that is in use.
#[inline(always)]
pub fn low_descriptors(task: u64) -> Option<(u64, u64)> {
    let (table, array) = descriptors(task)?;
    let bits: u64 = read(table, offset!(fdt_open))?;
    Some((array, read(bits, 0)?))
}

/// Inode number of the pipe that `descriptor` of the table at `array` is the writing end of, if it is one.
#[inline(always)]
pub fn pipe_written_at(array: u64, descriptor: u32) -> Option<u64> {
    let file: u64 = read_or_zero(array, u64::from(descriptor) * 8);
    let mode: u32 = read_or_zero(file, offset!(file_mode));
    if mode & FMODE_WRITE == 0 {
        return None;
    }
    let inode: u64 = read_or_zero(file, offset!(file_inode));
    let kind: u16 = read_or_zero(inode, offset!(inode_mode));
    if kind & S_IFMT != S_IFIFO {
        return None;
    }
    Some(read_or_zero(inode, offset!(inode_number)))
}

/// Inode number of the pipe that descriptor `fd` of `task` is, if it is one.
#[inline(always)]
pub fn pipe_of(task: u64, fd: u32) -> Option<u64> {
    let inode = inode_of(task, fd, S_IFIFO)?;
    read(inode, offset!(inode_number))
}

/// The protocol's socket (`struct sock`) that descriptor `fd` of `task` is, if it is one.
#[inline(always)]
pub fn sock_of(task: u64, fd: u32) -> Option<u64> {
    inode_of(task, fd, S_IFSOCK)?;
    let file = file_of(task, fd)?;
    sock_of_file(file)
}

/// The protocol's socket of a socket's file.
#[inline(always)]
pub fn sock_of_file(file: u64) -> Option<u64> {
    let socket: u64 = read(file, offset!(file_private))?;
    read(socket, offset!(socket_sk))
}

/// Inode behind descriptor `fd`, if it is of type `kind`.
#[inline(always)]
fn inode_of(task: u64, fd: u32, kind: u16) -> Option<u64> {
    let file = file_of(task, fd)?;
    let inode: u64 = read(file, offset!(file_inode))?;
    let mode: u16 = read(inode, offset!(inode_mode))?;
    (mode & S_IFMT == kind).then_some(inode)
}
