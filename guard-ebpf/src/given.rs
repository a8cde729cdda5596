//! Names as a call was given them, for what can't be seen of an object once the call is over: what was removed has no
//! directory entry any more.
//!
//! A name is read when the call returns, from the caller's memory. It is taken apart from its right end, written where paths end,
//! and from there [`crate::path`] climbs from the folder that the name begins at. So that folder is the true one; the rest is
//! as it was written: a symbolic link on the way is not followed, and a thread that exchanges the text after the kernel has read
//! it is believed.

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user_str};
use guard_common::walk::{CHUNK, MAX_CHUNKS, MAX_TEXT};

use crate::kernel::{self, masked, read_or_zero};
use crate::maps::{RECORD_BYTES, offset, work};
use crate::{attempt, path};

/// `AT_FDCWD`: a name begins at the working folder.
pub const WORKING_FOLDER: u32 = -100i32 as u32;
/// Where in the record's memory the text is read to: behind what a record uses of it.
const TEXT_AT: usize = RECORD_BYTES / 2;
/// [`Given::len`] of a name that is not known.
const LOST: u32 = u32::MAX;

/// A name, and how far it has been taken apart. In memory, so that to the verifier every step begins alike.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Given {
    /// Bytes that are written at the end of the path buffer; 0 where no name was given.
    pub len: u32,
    /// Length of the last component.
    pub leaf: u32,
    /// Folders above where it begins that it leads up to.
    pub skip: u32,
    /// Bytes of the text that were not looked at yet.
    left: u32,
    /// End of the component that is being looked at.
    end: u32,
    /// Padding.
    _pad: u32,
    /// The root folder: `..` does not lead above it.
    pub floor: u64,
}

impl Given {
    /// No name was given.
    const NONE: Self = Self { len: 0, leaf: 0, skip: 0, left: 0, end: 0, _pad: 0, floor: 0 };
}

/// Forgets the name: what is judged next has directory entries.
#[inline(always)]
pub fn forget(slot: u32) {
    if let Some(work) = work(slot) {
        // SAFETY: the slot has one user, as throughout this file.
        unsafe { (*work).given = Given::NONE };
    }
}

/// Whether the name leads to where its filesystem's own folders may not: over a mount, up or down.
#[inline(always)]
pub fn climbs(slot: u32) -> bool {
    // SAFETY: as above.
    work(slot).is_some_and(|work| unsafe { (*work).given.skip } != 0)
}

/// What is attempted on [`attempt::OLD`] or [`attempt::NEW`] is what the text at `address` names, from the folder that is
/// `descriptor`. An empty text names what the descriptor is.
#[inline(always)]
pub fn on_name(slot: u32, which: u32, descriptor: u32, address: u64) {
    take_name(slot, which, descriptor, address);
}

/// See [`on_name`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take_name(slot: u32, which: u32, descriptor: u32, address: u64) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    let task = kernel::current();
    let folders: u64 = read_or_zero(task, offset!(task_fs));
    let floor: u64 = read_or_zero(folders, offset!(fs_root_dentry));
    // SAFETY: as above; the text ends inside the record, of which it has the second half.
    let (text, len) = unsafe {
        let text = (&raw mut (*work).record).cast::<u8>().add(TEXT_AT);
        (text, bpf_probe_read_user_str(text.cast(), MAX_TEXT as u32, address as *const _))
    };
    let (mut dentry, mut mnt) = (0, 0);
    let mut given = Given { len: LOST, floor, ..Given::NONE };
    if len > 0 {
        // SAFETY: as above.
        let absolute = unsafe { text.read() } == b'/';
        (dentry, mnt) = if absolute {
            (floor, read_or_zero(folders, offset!(fs_root_mnt)))
        } else if descriptor == WORKING_FOLDER {
            (read_or_zero(folders, offset!(fs_pwd_dentry)), read_or_zero(folders, offset!(fs_pwd_mnt)))
        } else {
            let file = kernel::file_of(task, descriptor).unwrap_or(0);
            (read_or_zero(file, offset!(file_dentry)), read_or_zero(file, offset!(file_mnt)))
        };
        // The string's end counts.
        let left = len as u32 - 1;
        given = Given { len: 0, left, end: left, ..given };
    }
    attempt::on(slot, which, dentry, mnt);
    // SAFETY: as above.
    unsafe { (*work).given = given };
    let mut chunk = 0;
    while chunk < MAX_CHUNKS {
        chunk += 1;
        if take_chunk(slot) != 0 {
            break;
        }
    }
    0
}

/// Looks at [`CHUNK`] more bytes of the text, from its right end; not 0 at its beginning.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take_chunk(slot: u32) -> u32 {
    let Some(work) = work(slot) else { return 1 };
    // SAFETY: as above; `take_component` reads and writes other members than those used here meanwhile, but for the end, which it
    // does not touch.
    let (given, text) = unsafe { (&raw mut (*work).given, (&raw const (*work).record).cast::<u8>().add(TEXT_AT)) };
    let mut i = 0;
    while i < CHUNK {
        i += 1;
        // SAFETY: as above. In memory, so that to the verifier every byte begins alike.
        let left = unsafe { (&raw const (*given).left).read_volatile() };
        if left == 0 {
            take_component(slot, 0);
            return 1;
        }
        let at = left - 1;
        // SAFETY: the index is masked below the length of the text.
        if unsafe { text.add(masked(at, MAX_TEXT as u32 - 1) as usize).read() } == b'/' {
            take_component(slot, left);
            // SAFETY: as above.
            unsafe { (&raw mut (*given).end).write_volatile(at) };
        }
        // SAFETY: as above.
        unsafe { (&raw mut (*given).left).write_volatile(at) };
    }
    0
}

/// Takes the component in that begins at byte `from` of the text.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take_component(slot: u32, from: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: as above; the caller holds no reference.
    let given = unsafe { &mut (*work).given };
    // SAFETY: the index is masked below the length of the text, of which there is twice as much memory.
    let component = unsafe {
        (&raw const (*work).record).cast::<u8>().add(TEXT_AT).add(masked(from, MAX_TEXT as u32 - 1) as usize)
    };
    let len = given.end - from;
    // SAFETY: one byte more than the text may have is in the record as well.
    let (first, second) = unsafe { (component.read(), component.add(1).read()) };
    if len == 0 || given.len == LOST || len == 1 && first == b'.' {
        return 0;
    }
    if len == 2 && first == b'.' && second == b'.' {
        given.skip += 1;
        return 0;
    }
    if given.skip != 0 {
        given.skip -= 1;
        return 0;
    }
    if len > path::MAX_NAME || given.len + len + 1 > MAX_TEXT as u32 {
        given.len = LOST;
        return 0;
    }
    let position = MAX_TEXT as u32 - given.len - len;
    // SAFETY: position is masked below MAX_TEXT and the length below 256, so the range ends inside the buffer of twice that
    // size; the helper checks the source.
    unsafe {
        let to = (&raw mut (*work).walk.text).cast::<u8>();
        let at = to.add(masked(position, MAX_TEXT as u32 - 1) as usize);
        if bpf_probe_read_kernel(at.cast(), masked(len, 0xff), component.cast()) != 0 {
            given.len = LOST;
            return 0;
        }
        to.add(masked(position - 1, MAX_TEXT as u32 - 1) as usize).write(b'/');
    }
    if given.leaf == 0 {
        given.leaf = len;
    }
    given.len += len + 1;
    0
}
