//! The words of a new program's command line, in its memory: matched piece by piece, with the names that it may go by.

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user, bpf_probe_read_user_str};
use guard_common::walk::{ARGV_PIECE, ARGV_PIECES, MAX_TEXT};

use crate::kernel::{self, masked, read_or_zero};
use crate::maps::{offset, work};
use crate::pipe;
use crate::verdict::{self, AFTER_NAME};

/// Where the first word of a command line is read to, to find its length and base name.
const FIRST_WORD_MAX: u32 = 3584;
/// Bytes that are looked at in one go for where the base name begins.
const NAME_CHUNK: u32 = 64;
/// Words of a command line in which a script is looked for.
const MAX_SCRIPT_WORDS: u32 = 4;

/// First byte of the current command line, and the one after its last.
#[inline(always)]
pub fn arguments(task: u64) -> (u64, u64) {
    let mm: u64 = read_or_zero(task, offset!(task_mm));
    (read_or_zero(mm, offset!(mm_arg_start)), read_or_zero(mm, offset!(mm_arg_end)))
}

/// Matches the command line at `arg_start`; `leaf` is the length of the executable's base name, which ends the path text.
/// Not 0 if it could not be matched whole and more of it could make a difference.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn match_argv_names(slot: u32, leaf: u32, arg_start: u64, total: u32) -> u32 {
    let Some(work) = work(slot) else { return 1 };
    // SAFETY: the slot has one user; only addresses are computed here.
    let text = unsafe { (&raw mut (*work).walk.text).cast::<u8>() };
    let end = MAX_TEXT as u32;
    // SAFETY: at most FIRST_WORD_MAX bytes at the start of a buffer that is larger.
    let first = unsafe { bpf_probe_read_user_str(text.cast(), FIRST_WORD_MAX, arg_start as *const _) };
    if first <= 0 || leaf == 0 || leaf > 255 {
        return 1;
    }
    let first = (first as u32).min(FIRST_WORD_MAX);
    let (rest_start, rest) = (arg_start + u64::from(first), total.saturating_sub(first));
    let mut unknown = u32::from(first == FIRST_WORD_MAX) | match_with_name(slot, end - leaf, rest_start, rest);

    let base = base_name(slot, first - 1);
    let len = first - 1 - base;
    if len != 0 && len <= 255 {
        // SAFETY: the offsets are masked below MAX_TEXT and the length below 256.
        let copied = unsafe {
            bpf_probe_read_kernel(
                text.add(masked(end - len, MAX_TEXT as u32 - 1) as usize).cast(),
                masked(len, 0xff),
                text.add(masked(base, MAX_TEXT as u32 - 1) as usize).cast(),
            )
        };
        if copied == 0 {
            unknown |= match_with_name(slot, end - len, rest_start, rest);
        }
    }
    unknown
}

/// Matches the command line whose first word is `text[start..MAX_TEXT]`; the other `rest` bytes, each word ended by a NUL,
/// are at `rest_start` in the process's memory. Piece by piece: the automata go on where the last piece ended. Not 0 if it
/// could not be matched whole and more of it could make a difference.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn match_with_name(slot: u32, start: u32, rest_start: u64, rest: u32) -> u32 {
    let Some(work) = work(slot) else { return 1 };
    if rest == 0 {
        verdict::add_argv(slot, start, MAX_TEXT as u32, false);
        return 0;
    }
    // SAFETY: the slot has one user; only addresses are computed here.
    let text = unsafe { (&raw mut (*work).walk.text).cast::<u8>() };
    // SAFETY: in the middle of the buffer.
    unsafe { *text.add(MAX_TEXT) = 0 };
    let mut begin = start;
    let mut done = 0;
    let mut piece = 0;
    while piece < ARGV_PIECES {
        piece += 1;
        let left = rest - done;
        let (len, more) = if left > ARGV_PIECE { (ARGV_PIECE, true) } else { (left, false) };
        // SAFETY: AFTER_NAME and 4,095 bytes are the size of the buffer; the helper checks the source.
        let read = unsafe {
            bpf_probe_read_user(
                text.add(AFTER_NAME as usize).cast(),
                masked(len, 0xfff),
                (rest_start + u64::from(done)) as *const _,
            )
        };
        if read != 0 {
            return 1;
        }
        // The NUL that ends the last word separates nothing.
        let end = AFTER_NAME + len - u32::from(!more);
        let alive = verdict::add_argv(slot, begin, end, more);
        if !more || !alive {
            return 0;
        }
        begin = 0;
        done += len;
    }
    1
}

/// Where the base name of `text[..len]` begins.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn base_name(slot: u32, len: u32) -> u32 {
    let mut begin = 0;
    let mut from = 0;
    while from < FIRST_WORD_MAX {
        if from >= len {
            break;
        }
        begin = base_name_on(slot, from, len, begin);
        from += NAME_CHUNK;
    }
    begin
}

/// The same of the next [`NAME_CHUNK`] bytes from `from` on, where before them it was `begin`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn base_name_on(slot: u32, from: u32, len: u32, begin: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: the slot has one user.
    let text = unsafe { &(*work).walk.text };
    let mut begin = begin;
    let mut i = from;
    let mut looked = 0;
    while looked < NAME_CHUNK {
        if i >= len {
            break;
        }
        let byte = text[masked(i, MAX_TEXT as u32 - 1) as usize];
        i += 1;
        looked += 1;
        if byte == b'/' {
            begin = i;
        }
    }
    begin
}

/// The descriptor that one of the first words names as a file, or [`pipe::NONE_NAMED`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn named_script(slot: u32) -> u32 {
    let Some(work) = work(slot) else { return pipe::NONE_NAMED };
    // SAFETY: the slot has one user, and the text is not needed any more; only an address is computed.
    let text = unsafe { (&raw mut (*work).walk.text).cast::<u8>() };
    let (mut at, end) = arguments(kernel::current());
    let mut word = 0;
    while word <= MAX_SCRIPT_WORDS {
        word += 1;
        if at >= end {
            break;
        }
        // SAFETY: the buffer is larger than what is read; the helper checks the source.
        let len = unsafe { bpf_probe_read_user_str(text.cast(), MAX_TEXT as u32, at as *const _) };
        if len <= 0 {
            break;
        }
        let named = pipe::named_by(text, len as u32 - 1);
        if named != pipe::NONE_NAMED {
            return named;
        }
        at += len as u64;
    }
    pipe::NONE_NAMED
}
