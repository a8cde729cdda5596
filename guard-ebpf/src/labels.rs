//! The labels in a new program's environment, by which the agent says for which of its calls it runs.

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user_str};
use guard_common::event::MAX_LABEL;
use guard_common::walk::MAX_TEXT;

use crate::emit;
use crate::maps::work;

/// Variables of an environment that are searched for labels.
const MAX_VARIABLES: u32 = 1024;
/// Variables that are looked at in one go.
const VARIABLES_CHUNK: u32 = 32;
/// `CODEX_TO`, the first eight bytes of the call's label, as a number.
const CALL_LABEL: (u64, &[u8]) = (u64::from_ne_bytes(*b"CODEX_TO"), b"OL_CALL_ID=");
/// `CODEX_SE`, likewise of the session's.
const SESSION_LABEL: (u64, &[u8]) = (u64::from_ne_bytes(*b"CODEX_SE"), b"SSION_ID=");

/// Where the search for labels stands. In memory, so that to the verifier every step begins alike.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Search {
    /// Next variable.
    at: u64,
    /// End of the environment.
    end: u64,
    /// Not 0: `at` is the start of a variable, not the middle of one longer than the buffer.
    whole: u64,
}

/// Searches the environment for the agent's labels and keeps them in the slot; not 0 if it has a call's.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn find_labels(slot: u32, env_start: u64, env_end: u64) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: the slot has one user, as throughout this function.
    unsafe {
        (*work).call_len = 0;
        (*work).session_len = 0;
        (*work).search = Search { at: env_start, end: env_end, whole: 1 };
    }
    let mut chunk = 0;
    while chunk < MAX_VARIABLES / VARIABLES_CHUNK {
        chunk += 1;
        if label_steps(slot) != 0 {
            break;
        }
    }
    // SAFETY: as above.
    u32::from(unsafe { (*work).call_len } != 0)
}

/// Looks at [`VARIABLES_CHUNK`] variables; not 0 at the end of the environment.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn label_steps(slot: u32) -> u32 {
    let mut i = 0;
    while i < VARIABLES_CHUNK {
        i += 1;
        if label_step(slot) != 0 {
            return 1;
        }
    }
    0
}

/// Looks at one variable; not 0 at the end of the environment.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn label_step(slot: u32) -> u32 {
    let Some(work) = work(slot) else { return 1 };
    // SAFETY: the slot has one user, as throughout this function; the caller holds no reference across the call.
    let search = unsafe { &mut (*work).search };
    if search.at >= search.end {
        return 1;
    }
    // SAFETY: only addresses are computed.
    let (text, call, session) = unsafe {
        (
            (&raw mut (*work).walk.text).cast::<u8>(),
            (&raw mut (*work).call).cast::<u8>(),
            (&raw mut (*work).session).cast::<u8>(),
        )
    };
    // SAFETY: the buffer is larger than what is read; the helper checks the source.
    let len = unsafe { bpf_probe_read_user_str(text.cast(), MAX_TEXT as u32, search.at as *const _) };
    if len <= 0 {
        return 1;
    }
    if search.whole != 0 {
        // SAFETY: eight bytes at the start of a buffer aligned to 8.
        let start = unsafe { text.cast::<u64>().read() };
        if start == CALL_LABEL.0 && begins_with(text, CALL_LABEL.1) {
            let kept = keep_label(call, text, 8 + CALL_LABEL.1.len());
            // SAFETY: as above.
            unsafe { (*work).call_len = kept };
        } else if start == SESSION_LABEL.0 && begins_with(text, SESSION_LABEL.1) {
            let kept = keep_label(session, text, 8 + SESSION_LABEL.1.len());
            // SAFETY: as above.
            unsafe { (*work).session_len = kept };
        }
    }
    // A variable longer than the buffer goes on in the next piece, which then begins no variable.
    let whole = len < MAX_TEXT as i64;
    search.whole = u64::from(whole);
    search.at += if whole { len as u64 } else { len as u64 - 1 };
    0
}

/// Whether the text goes on with `name` after its first eight bytes.
#[inline(always)]
fn begins_with(text: *const u8, name: &[u8]) -> bool {
    let mut i = 0;
    while i < name.len() {
        // SAFETY: a few bytes at the start of a large buffer.
        if unsafe { *text.add(8 + i) } != name[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// Copies the value that begins at `text + offset`; its length.
#[inline(always)]
fn keep_label(to: *mut u8, text: *const u8, offset: usize) -> u32 {
    // SAFETY: at most MAX_LABEL bytes into an array of that size, from the start of a large buffer.
    let len = unsafe { bpf_probe_read_kernel_str(to.cast(), MAX_LABEL as u32, text.add(offset).cast()) };
    if len > 1 { (len as u32 - 1).min(MAX_LABEL as u32 - 1) } else { 0 }
}

/// Appends session and call label to the record; their lengths.
#[inline(always)]
pub fn append_labels(slot: u32) -> (u32, u32) {
    let Some(work) = work(slot) else { return (0, 0) };
    // SAFETY: the slot has one user; only addresses are computed here.
    let (session, session_len, call, call_len) = unsafe {
        ((&raw const (*work).session) as u64, (*work).session_len, (&raw const (*work).call) as u64, (*work).call_len)
    };
    (emit::append_kernel(slot, session, session_len), emit::append_kernel(slot, call, call_len))
}
