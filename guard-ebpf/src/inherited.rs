//! Descriptors that come along with an exec.
//!
//! What a process has open when it becomes a member was opened where nobody judged it, and what one program was allowed to
//! open the next may not have. Such a descriptor is an open like any other, and is judged as one. No program may close
//! it (`fs/file.c`), so the process is killed, before the first instruction of what would have it.
//!
//! When `sched_process_exec` fires, the table is the process's own (`fs/exec.c:begin_new_exec` calls `unshare_files`), what
//! closes on exec is closed (`do_close_on_exec`, there too), and there is one thread: nothing changes while it is read.

use guard_common::event::NO_DESCRIPTOR;

use crate::file::{self, Grant};
use crate::kernel::{self, read_or_zero};
use crate::maps::work;

/// Descriptors that are looked at. What a process has open beyond is taken for a file that is not known.
const MAX_DESCRIPTORS: u32 = 1024;
/// Words of bits that are searched for the next descriptor.
const MAX_WORDS: u32 = 128;

/// Where the look stands. In memory, so that to the verifier every step begins alike.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Look {
    /// The array of files.
    array: u64,
    /// A bit for each descriptor in use.
    bits: u64,
    /// Of the last word, those that were not looked at yet.
    left: u64,
    /// The next word.
    word: u32,
    /// Words in all.
    words: u32,
}

/// Judges what the current process has open, as the member that it has just become.
#[inline(always)]
pub fn judge(slot: u32) {
    if begin_look(slot) == 0 {
        judge_other_descriptors(slot);
        return;
    }
    let mut i = 0;
    while i < MAX_DESCRIPTORS {
        i += 1;
        if judge_next(slot) != 0 {
            return;
        }
    }
    judge_other_descriptors(slot);
}

/// Finds the table; 0 if it can't be read.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn begin_look(slot: u32) -> u32 {
    let (Some(work), Some((array, bits, size))) = (work(slot), kernel::open_descriptors(kernel::current())) else {
        return 0;
    };
    // SAFETY: the slot has one user, as throughout this file.
    unsafe { (*work).look = Look { array, bits, left: 0, word: 0, words: size / u64::BITS } };
    1
}

/// Answer of [`next_descriptor`] behind the last descriptor.
const NO_MORE: u32 = u32::MAX;
/// Answer of [`next_descriptor`] where it has not met one yet.
const NOT_YET: u32 = u32::MAX - 1;

/// The next descriptor that is in use.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn next_descriptor(slot: u32) -> u32 {
    let Some(work) = work(slot) else { return NO_MORE };
    // SAFETY: as above.
    let look = unsafe { &mut (*work).look };
    let mut i = 0;
    while i < MAX_WORDS {
        i += 1;
        let left = look.left;
        if left != 0 {
            look.left = left & (left - 1);
            return (look.word - 1) * u64::BITS + left.trailing_zeros();
        }
        if look.word >= look.words {
            return NO_MORE;
        }
        look.left = read_or_zero(look.bits, u64::from(look.word) * 8);
        look.word += 1;
    }
    NOT_YET
}

/// Judges the next descriptor, if it leads to something that opens are judged for; not 0 behind the last.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_next(slot: u32) -> u32 {
    let descriptor = next_descriptor(slot);
    if descriptor == NO_MORE {
        return 1;
    }
    let Some(work) = work(slot) else { return 1 };
    // SAFETY: as above; nothing that is called here touches the image.
    let (array, member) = unsafe { ((*work).look.array, &(*work).image.member) };
    let file: u64 = if descriptor == NOT_YET { 0 } else { read_or_zero(array, u64::from(descriptor) * 8) };
    // Terminals, `/dev/null`, pipes and sockets are what somebody gave the session to speak through.
    if kernel::is_stored(file) {
        file::judge(slot, member, file, Grant::Inherited(descriptor as i32));
    }
    0
}

/// Judges what was not looked at.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_other_descriptors(slot: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: as above.
    let member = unsafe { &(*work).image.member };
    file::judge_unknown(slot, member, Grant::Inherited(NO_DESCRIPTOR));
    0
}
