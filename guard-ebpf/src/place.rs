//! Places of a tree, its repository and its home, which patterns begin at: whether a path lies below one or above.

use guard_common::table::NODE_REPO;
use guard_common::tree::{Id, MAX_ANCHOR};
use guard_common::walk::{MAX_TEXT, TEXT_BYTES};

use crate::kernel::masked;
use crate::maps::{PLACES, work};

/// Said of a folder, with a `/` behind its path: what lies in it may lie below the place too.
pub const OF_FOLDER: u32 = 1 << 8;
/// Bytes of a place that are compared in one go; few places are longer.
const PLACE_CHUNK: u32 = 64;

/// Whether the path at `start` lies below a place of the tree; then the first byte after the place and its
/// `/`, else 0. `which` is 1 for the repository, 2 for the home, perhaps with [`OF_FOLDER`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn below_place(slot: u32, start: u32, which: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    let (longest, which) = (MAX_TEXT as u32 - 2 + if which & OF_FOLDER == 0 { 0 } else { 2 }, which & !OF_FOLDER);
    // SAFETY: the slot has one user.
    let (text, tree) = unsafe { (&(*work).walk.text, (*work).tree) };
    let Some((len, place)) = place_of(tree, which) else { return 0 };
    if len == 0 || len >= MAX_ANCHOR as u32 || start + len > longest {
        return 0;
    }
    if !is_like(slot, text, (start, len), (which, place, len)) {
        return 0;
    }
    let after = start + len;
    if text[masked(after, TEXT_BYTES as u32 - 1) as usize] == b'/' { after + 1 } else { 0 }
}

/// Whether a place of the tree lies in the folder at `start`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn above_place(slot: u32, start: u32, which: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: the slot has one user.
    let (text, tree) = unsafe { (&(*work).walk.text, (*work).tree) };
    let Some((len, place)) = place_of(tree, which) else { return 0 };
    let root = MAX_TEXT as u32 - 1;
    if start >= root {
        return u32::from(len != 0);
    }
    let own = root + 1 - start;
    if len <= own || len >= MAX_ANCHOR as u32 {
        return 0;
    }
    if !is_like(slot, text, (start, own), (which, place, len)) {
        return 0;
    }
    // SAFETY: a map value; the index is masked below the array's length.
    u32::from(unsafe { (*place)[masked(own, MAX_ANCHOR as u32 - 1) as usize] } == b'/')
}

/// Whether the `count` bytes of the text at `start` are those that the place of `which`, `len` bytes long, begins with.
#[inline(always)]
fn is_like(
    slot: u32,
    text: &[u8; TEXT_BYTES],
    (start, count): (u32, u32),
    (which, place, len): (u32, *const [u8; MAX_ANCHOR], u32),
) -> bool {
    if !is_part_like(text, start, place, 0, count) {
        return false;
    }
    let mut from = PLACE_CHUNK;
    while from < MAX_ANCHOR as u32 {
        if from >= count {
            break;
        }
        if goes_on_like(slot, start, len << 8 | which, from, count) == 0 {
            return false;
        }
        from += PLACE_CHUNK;
    }
    true
}

/// The same of the bytes from number `from` on, [`PLACE_CHUNK`] at most.
#[inline(always)]
fn is_part_like(text: &[u8; TEXT_BYTES], start: u32, place: *const [u8; MAX_ANCHOR], from: u32, count: u32) -> bool {
    let mut compared = 0;
    while compared < PLACE_CHUNK {
        let i = from + compared;
        if i >= count {
            break;
        }
        // SAFETY: a map value; the index is masked below the array's length.
        let expected = unsafe { (*place)[masked(i, MAX_ANCHOR as u32 - 1) as usize] };
        if text[masked(start + i, TEXT_BYTES as u32 - 1) as usize] != expected {
            return false;
        }
        compared += 1;
    }
    true
}

/// See [`is_part_like`]; `place` is which one, and its length, shifted left by 8. 0 as well where it was replaced meanwhile.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn goes_on_like(slot: u32, start: u32, place: u32, from: u32, count: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: the slot has one user.
    let (text, tree) = unsafe { (&(*work).walk.text, (*work).tree) };
    let (which, expected) = (place & 0xff, place >> 8);
    let Some((len, place)) = place_of(tree, which) else { return 0 };
    u32::from(len == expected && is_part_like(text, start, place, from, count))
}

/// The repository of a tree, or its home: the length of the path, and where it is.
#[inline(always)]
fn place_of(tree: Id, which: u32) -> Option<(u32, *const [u8; MAX_ANCHOR])> {
    let places = PLACES.get_ptr(tree)?;
    // SAFETY: a map value; user space replaces whole entries, the old one stays until this run is over.
    Some(unsafe {
        if which == u32::from(NODE_REPO) {
            ((*places).repo_len, &raw const (*places).repo)
        } else {
            ((*places).home_len, &raw const (*places).home)
        }
    })
}
