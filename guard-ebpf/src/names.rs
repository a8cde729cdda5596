//! A file's other names: where else it would be found, by the mounts that were there before the session.
//!
//! Whoever may mount gives a file another path, and rules know it by the one it has. So besides the path by which it was
//! reached, the names are judged that the mounts of the machine, and those that the session began with, give it. User
//! space has put these into a map by filesystem and root ([`guard_common::mounts`]). Which of them lead to the file is
//! read from its path inside its filesystem: each folder on the way is looked up.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use guard_common::mounts::{HASH_BEGIN, MAX_NAMES, MAX_POINTS, MountKey, hash_on};
use guard_common::offsets::Settings;
use guard_common::tree::{Id, MAX_ANCHOR};
use guard_common::walk::{CHUNK, INTO_OBJECT, MAX_CHUNKS, MAX_TEXT, TEXT_BYTES};

use crate::kernel::{masked, read_or_zero};
use crate::maps::{DEVICES, MOUNTS, PLACES, offset, setting, work};
use crate::path::{self, Resolved};
use crate::{inside, verdict};

/// The search for a file's names, and what it found.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Names {
    /// Hash of the path so far.
    hash: u64,
    /// The filesystem.
    device: u32,
    /// First byte of the path inside the filesystem.
    start: u32,
    /// Next byte.
    position: u32,
    /// Names found.
    count: u32,
    /// Of the last component of the path inside the filesystem.
    leaf: u32,
    /// Padding.
    _pad: u32,
    /// The mount points.
    found: [MountKey; MAX_NAMES],
    /// Where in the path what follows the mount's root begins.
    after: [u32; MAX_NAMES],
}

/// The filesystem that `mnt` shows.
#[inline(always)]
fn device_of(mnt: u64) -> u32 {
    read_or_zero(read_or_zero(mnt, offset!(vfsmount_sb)), offset!(sb_device))
}

/// Whether a file that was reached through `mnt`, as `outer`, may have other names than that.
#[inline(always)]
pub fn may_be_more(mnt: u64, outer: Resolved) -> bool {
    // SAFETY: a number is written whole.
    let Some(names) = unsafe { DEVICES.get(device_of(mnt)) }.copied() else { return outer.partial() };
    if names > 1 {
        return true;
    }
    // The only mount that is known of this filesystem, or another one?
    let namespace: u64 = read_or_zero(mnt - offset!(mount_mnt), offset!(mount_ns));
    let number: u32 = read_or_zero(namespace, offset!(namespace_number));
    let known = |member: usize| setting(member) == u64::from(number);
    number == 0
        || !known(core::mem::offset_of!(Settings, mount_namespaces))
            && !known(core::mem::offset_of!(Settings, mount_namespaces) + 4)
}

/// Whether the mounts that a tree began with are known already.
#[inline(always)]
pub fn settled(tree: Id) -> bool {
    // SAFETY: a map value; a number is written whole.
    PLACES.get_ptr(tree).is_some_and(|places| unsafe { (*places).settled } != 0)
}

/// Collects the rules that match the other names of `dentry` on `mnt`; adds to what was collected. The last of the names,
/// which the text then holds.
///
/// Where no mount is known that shows the file, its path inside the filesystem is taken for a name if the mount that
/// it was reached through is `partial`.
#[inline(always)]
pub fn add(slot: u32, dentry: u64, mnt: u64, partial: bool) -> Resolved {
    Resolved::from_bits(add_names(slot, dentry, mnt, u32::from(partial)))
}

/// The same of what is inside of a folder.
#[inline(always)]
pub fn add_inside(slot: u32, dentry: u64, mnt: u64, partial: bool) -> Resolved {
    Resolved::from_bits(add_names_inside(slot, dentry, mnt, u32::from(partial)))
}

/// See [`add`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn add_names(slot: u32, dentry: u64, mnt: u64, partial: u32) -> u32 {
    for_each(slot, dentry, mnt, partial, |start| verdict::add_path(slot, start, INTO_OBJECT))
}

/// See [`add_inside`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn add_names_inside(slot: u32, dentry: u64, mnt: u64, partial: u32) -> u32 {
    for_each(slot, dentry, mnt, partial, |start| inside::add(slot, start))
}

/// Calls `collect` with where each name begins in the text; the last one.
#[inline(always)]
fn for_each(slot: u32, dentry: u64, mnt: u64, partial: u32, collect: impl Fn(u32)) -> u32 {
    let inner = find_names(slot, dentry, mnt);
    let Some(work) = work(slot) else { return Resolved::NOTHING.bits() };
    if Resolved::from_bits(inner).unknown() {
        return Resolved::NOTHING.bits();
    }
    // SAFETY: the slot has one user.
    let count = unsafe { (*work).names.count };
    if count == 0 {
        if partial != 0 {
            collect(Resolved::from_bits(inner).start());
            return inner;
        }
        return Resolved::NONE.bits();
    }
    if count > MAX_NAMES as u32 {
        return Resolved::NOTHING.bits();
    }
    let mut last = Resolved::NOTHING.bits();
    let mut number = 0;
    while number < MAX_NAMES as u32 {
        if number >= count {
            break;
        }
        last = place(slot, number);
        let name = Resolved::from_bits(last);
        if name.unknown() {
            return last;
        }
        collect(name.start());
        number += 1;
    }
    last
}

/// Finds where a file is mounted, by its path inside the filesystem, which is in the text then; that path.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_names(slot: u32, dentry: u64, mnt: u64) -> u32 {
    let Some(work) = work(slot) else { return Resolved::NOTHING.bits() };
    let inner = path::resolve_inner(slot, dentry, mnt);
    if inner.unknown() {
        return Resolved::NOTHING.bits();
    }
    {
        // SAFETY: the slot has one user, and this borrow ends before the search.
        let names = unsafe { &mut (*work).names };
        names.hash = HASH_BEGIN;
        names.device = device_of(mnt);
        names.start = inner.start();
        names.position = inner.start();
        names.count = 0;
        names.leaf = inner.leaf_len();
    }
    let mut chunk = 0;
    while chunk < MAX_CHUNKS {
        chunk += 1;
        if find_chunk(slot) != 0 {
            break;
        }
    }
    inner.bits()
}

/// Looks at [`CHUNK`] more bytes of the path inside the filesystem; not 0 at its end.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_chunk(slot: u32) -> u32 {
    let Some(work) = work(slot) else { return 1 };
    // SAFETY: the slot has one user; `mounted_at` reads and writes other members than those used here meanwhile.
    let (names, text) = unsafe { (&raw mut (*work).names, &raw const (*work).walk.text) };
    let mut i = 0;
    while i < CHUNK {
        i += 1;
        // SAFETY: as above. In memory, so that to the verifier every byte begins alike.
        let (position, hash) =
            unsafe { ((&raw const (*names).position).read_volatile(), (&raw const (*names).hash).read_volatile()) };
        // SAFETY: the index is masked below the array's length.
        let byte = unsafe { (*text)[masked(position, TEXT_BYTES as u32 - 1) as usize] };
        let end = position >= MAX_TEXT as u32;
        if end || byte == b'/' {
            mounted_at(slot, position);
        }
        if end {
            return 1;
        }
        // SAFETY: as above.
        unsafe {
            (&raw mut (*names).hash).write_volatile(hash_on(hash, byte));
            (&raw mut (*names).position).write_volatile(position + 1);
        }
    }
    0
}

/// Notes where the folder is mounted that the path up to `position` names.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mounted_at(slot: u32, position: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: the slot has one user; the caller holds no reference.
    let names = unsafe { &mut (*work).names };
    let mut key =
        MountKey { hash: names.hash, device: names.device, len: position - names.start, number: 0, _pad: 0 };
    // The filesystem's root itself has a `/` for a path, which does not follow its mount point.
    let whole = names.start == MAX_TEXT as u32 - 1;
    let after = if whole { MAX_TEXT as u32 } else { position };
    while key.number < MAX_POINTS {
        let Some(point) = MOUNTS.get_ptr(key) else { break };
        let count = names.count;
        names.count = count + 1;
        if count < MAX_NAMES as u32 {
            let at = masked(count, MAX_NAMES as u32 - 1) as usize;
            names.found[at] = key;
            names.after[at] = after;
        }
        // SAFETY: a map value; a number is written whole.
        if unsafe { (*point).more } == 0 {
            break;
        }
        key.number += 1;
    }
    0
}

/// Writes the name of this number into the text, over the part of the path inside the filesystem that it replaces. In
/// the order of their numbers: what of the path follows a later mount's root is still there then.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn place(slot: u32, number: u32) -> u32 {
    let Some(work) = work(slot) else { return Resolved::NOTHING.bits() };
    // SAFETY: the slot has one user.
    let (names, text) = unsafe { (&(*work).names, (&raw mut (*work).walk.text).cast::<u8>()) };
    let at = masked(number, MAX_NAMES as u32 - 1) as usize;
    let (key, after) = (names.found[at], names.after[at]);
    // One that is gone at this moment is not known.
    let Some(point) = MOUNTS.get_ptr(key) else { return Resolved::NOTHING.bits() };
    // SAFETY: a map value, read only; user space replaces whole entries.
    let (len, point_leaf) = unsafe { ((*point).len, (*point).leaf) };
    if len >= MAX_ANCHOR as u32 || after < len + 1 {
        return Resolved::NOTHING.bits();
    }
    let start = after - len;
    // SAFETY: the start is masked below MAX_TEXT and the length below MAX_ANCHOR, so the range ends inside the buffer of
    // twice that size; the helper checks the source.
    let copied = unsafe {
        bpf_probe_read_kernel(
            text.add(masked(start, MAX_TEXT as u32 - 1) as usize).cast(),
            masked(len, MAX_ANCHOR as u32 - 1),
            (&raw const (*point).path).cast(),
        )
    };
    if copied != 0 {
        return Resolved::NOTHING.bits();
    }
    if start == MAX_TEXT as u32 {
        // The root of what is mounted at the root.
        // SAFETY: an index inside the buffer.
        unsafe { *text.add(MAX_TEXT - 1) = b'/' };
        return Resolved::named(MAX_TEXT as u32 - 1, 0).bits();
    }
    Resolved::named(start, if after == MAX_TEXT as u32 { point_leaf } else { names.leaf }).bits()
}
