//! Scripts: the files of programs that others run.
//!
//! When `sched_process_exec` fires, the kernel has loaded the interpreter and has let go of the script
//! (`fs/exec.c:exec_binprm`): nobody holds its `struct file` any more. But a file is closed only when its last holder returns to
//! user space (`fs/file_table.c:fput`), so it still waits among the task's works, and is known there by `FMODE_EXEC`,
//! which no open by a process can have. A script whose interpreter is a script leaves two.

use guard_common::offsets::ABSENT;
use guard_common::walk::{FACT_OBJECT_UNKNOWN, INTO_OBJECT};
use guard_common::words::Op;

use crate::kernel::{self, masked, read_or_zero};
use crate::maps::{offset, work};
use crate::path;
use crate::verdict::{self, Verdict};
use crate::{exec, names, pipe};

/// `FMODE_EXEC`, which `do_open_execat` opens with (`include/linux/fs.h`).
pub const FMODE_EXEC: u32 = 0x20;
/// Works that are looked at in one go.
const CHUNK: u32 = 32;
/// How often: a process may have had thousands of files that close on exec.
const MAX_CHUNKS: u32 = 256;

/// Scripts of one exec that are looked at: the kernel follows five interpreters, and may have let go of what ran before.
const MAX_SCRIPTS: u32 = 8;

/// Where the search stands, and what it found. In memory, so that to the verifier every step begins alike.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Search {
    /// The next work.
    work: u64,
    /// The strictest verdict so far, packed.
    verdict: u32,
    /// Scripts found.
    found: u32,
    /// Their files.
    files: [u64; MAX_SCRIPTS as usize],
}

/// Judges the scripts that led to the program of `bprm`, by their paths and the words; the verdict, packed.
#[inline(always)]
pub fn judge(slot: u32, bprm: u64) -> u32 {
    let fine = pipe::pack(Verdict::FINE);
    let filename: u64 = read_or_zero(bprm, offset!(binprm_filename));
    let interp: u64 = read_or_zero(bprm, offset!(binprm_interp));
    if filename == interp {
        return fine;
    }
    let handed: u64 = if offset!(binprm_executable) == u64::from(ABSENT) {
        0
    } else {
        read_or_zero(bprm, offset!(binprm_executable))
    };
    let found = find(slot, handed);
    if found == TOO_MANY_WORKS {
        judge_script(slot, NOT_FOUND);
    }
    let mut number = 0;
    while number < MAX_SCRIPTS {
        if number >= found {
            break;
        }
        judge_script(slot, number);
        number += 1;
    }
    // SAFETY: the slot has one user.
    work(slot).map_or(fine, |work| unsafe { (*work).image.scripts.verdict })
}

/// Answer of [`find`] where there was more to look at than it looks at.
const TOO_MANY_WORKS: u32 = 2 * MAX_SCRIPTS;

/// Finds the scripts; how many, or [`TOO_MANY_WORKS`]. `handed` is one that the interpreter is handed open.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find(slot: u32, handed: u64) -> u32 {
    let Some(work) = work(slot) else { return TOO_MANY_WORKS };
    // SAFETY: the slot has one user, and no reference is kept across the calls.
    let search = unsafe { &raw mut (*work).image.scripts };
    // SAFETY: as above.
    unsafe {
        (*search).work = read_or_zero(kernel::current(), offset!(task_works));
        (*search).verdict = pipe::pack(Verdict::FINE);
        (*search).found = u32::from(handed != 0);
        (*search).files[0] = handed;
    }
    let mut chunk = 0;
    while chunk < MAX_CHUNKS {
        chunk += 1;
        if search_chunk(slot) != 0 {
            // SAFETY: as above.
            return unsafe { (*search).found };
        }
    }
    TOO_MANY_WORKS
}

/// Looks at more of the task's works; not 0 if these were the last.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn search_chunk(slot: u32) -> u32 {
    let Some(work) = work(slot) else { return 1 };
    // SAFETY: the slot has one user; only addresses are computed.
    let image = unsafe { &raw mut (*work).image };
    // SAFETY: as above.
    let at = unsafe { &raw mut (*image).scripts.work };
    let mut i = 0;
    while i < CHUNK {
        i += 1;
        // SAFETY: as above.
        let entry = unsafe { at.read_volatile() };
        if entry == 0 {
            return 1;
        }
        // `struct callback_head` begins with the next one.
        // SAFETY: as above.
        unsafe { at.write_volatile(read_or_zero(entry, 0)) };
        let file = entry - offset!(file_work);
        let flags: u32 = read_or_zero(file, offset!(file_flags));
        if flags & FMODE_EXEC != 0 {
            // What is no file would not have these agree.
            let inode: u64 = read_or_zero(file, offset!(file_inode));
            let dentry: u64 = read_or_zero(file, offset!(file_dentry));
            // SAFETY: as above; the index is masked.
            unsafe {
                // What the process ran before is let go of too.
                if inode != 0 && inode == read_or_zero(dentry, offset!(dentry_inode)) && dentry != (*image).old {
                    let found = (*image).scripts.found;
                    (*image).scripts.files[masked(found, MAX_SCRIPTS - 1) as usize] = file;
                    (*image).scripts.found = (found + 1).min(MAX_SCRIPTS);
                }
            }
        }
    }
    0
}

/// Number of a script that could not be found.
const NOT_FOUND: u32 = MAX_SCRIPTS;

/// Judges the script of this number.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_script(slot: u32, number: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: the slot has one user, who holds no other reference to the image.
    let image = unsafe { &mut (*work).image };
    if image.unjudged != 0 {
        return 0;
    }
    let file = if number == NOT_FOUND { 0 } else { image.scripts.files[masked(number, MAX_SCRIPTS - 1) as usize] };
    let dentry: u64 = read_or_zero(file, offset!(file_dentry));
    let mnt: u64 = read_or_zero(file, offset!(file_mnt));
    let script = if file == 0 { path::Resolved::NOTHING } else { path::resolve(slot, dentry, mnt) };
    if script.pathless() {
        // What overlayfs has opened for itself, on a mount of the kernel's own, is let go of here too.
        return 0;
    }
    verdict::clear(slot);
    image.facts = 0;
    if script.unknown() {
        image.facts = FACT_OBJECT_UNKNOWN;
    } else {
        image.leaf = script.leaf_len();
        verdict::add_path(slot, script.start(), INTO_OBJECT);
    }
    exec::match_words(slot);
    let mut verdict = verdict::of(slot, Op::Exec, image.member.scope, image.facts);
    if image.facts & FACT_OBJECT_UNKNOWN == 0 && names::may_be_more(mnt, script) {
        // In its first moments the mounts that a session began with are not known: there the path is one of the names.
        let settled = names::settled(image.member.tree);
        if settled {
            verdict::clear(slot);
            image.facts = 0;
        }
        let other = names::add(slot, dentry, mnt, script.partial());
        if !other.pathless() {
            if other.unknown() {
                image.facts |= FACT_OBJECT_UNKNOWN;
            } else {
                image.leaf = other.leaf_len();
            }
            exec::match_words(slot);
            let by_names = verdict::of(slot, Op::Exec, image.member.scope, image.facts);
            if !settled || by_names.action > verdict.action {
                verdict = by_names;
            }
        }
    }
    if pipe::pack(verdict) >> 16 > image.scripts.verdict >> 16 {
        image.scripts.verdict = pipe::pack(verdict);
    }
    0
}
