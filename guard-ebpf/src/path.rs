//! True paths: the walk from a directory entry up to the root, across mounts.
//!
//! The kernel has done the lookup already when a hook sees a `struct file`, so symbolic links, `..`,
//! `/proc/self/root` and the working folder are resolved; what is left is to write down where the file is.
//! `d_path` does the same (`fs/d_path.c:prepend_path`) but may be called in few hooks only, and stops at the
//! process's root, which a chroot can move; this walk stops at the root of the mount namespace.
//!
//! The walk reads without locks. A rename at the same time can make it see a mixture of old and new names, as
//! it can for `d_path`'s first try; the name was true of the file at some moment of the call.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use guard_common::tree::COUNT_PATH_UNRESOLVED;
use guard_common::walk::MAX_TEXT;

use crate::given::Given;
use crate::kernel::{masked, read, read_or_zero};
use crate::maps::{count, offset, work};

/// Folders and mounts a path may lead through; deeper ones are not resolved.
const MAX_STEPS: u32 = 96;
/// `NAME_MAX`.
pub const MAX_NAME: u32 = 255;
/// `MNT_NS_INTERNAL` is `ERR_PTR(-EINVAL)`; any value this high is an error, not a namespace.
const MIN_ERROR: u64 = u64::MAX - 4095;

/// Bits of [`Resolved`] where the text starts.
const START: u32 = 0x1fff;
/// The path is not known, or not whole.
const UNKNOWN: u32 = 1 << 13;
/// The object has no path: a pipe, a socket, a memory file.
const PATHLESS: u32 = 1 << 14;
/// The file's mount shows only a part of its filesystem, so the file has a second path.
const PARTIAL: u32 = 1 << 15;
/// Length of the last component, shifted.
const LEAF_SHIFT: u32 = 16;

/// Where a path lies in the text buffer: it ends at [`MAX_TEXT`].
#[derive(Clone, Copy)]
pub struct Resolved(u32);

impl Resolved {
    /// A path that could not be resolved.
    pub const NOTHING: Self = Self(MAX_TEXT as u32 | UNKNOWN);

    /// There is nothing that could have a path.
    pub const NONE: Self = Self(MAX_TEXT as u32 | PATHLESS);

    /// A path that begins at `start` and whose last component is `leaf` bytes long.
    #[inline(always)]
    pub fn named(start: u32, leaf: u32) -> Self {
        Self(start & START | (leaf & 0xff) << LEAF_SHIFT)
    }

    /// As a number, for functions that the verifier checks by themselves.
    #[inline(always)]
    pub fn bits(self) -> u32 {
        self.0
    }

    /// The same again.
    #[inline(always)]
    pub fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// A text written by other means, from `start` to the end of the path buffer.
    #[inline(always)]
    pub fn known(start: u32) -> Self {
        Self(start & START)
    }

    /// First byte in the text buffer.
    #[inline(always)]
    pub fn start(self) -> u32 {
        self.0 & START
    }
    /// Not known, or not whole.
    #[inline(always)]
    pub fn unknown(self) -> bool {
        self.0 & UNKNOWN != 0
    }
    /// Not an object of the file system's tree.
    #[inline(always)]
    pub fn pathless(self) -> bool {
        self.0 & PATHLESS != 0
    }
    /// There is a second path, through the filesystem's own folders.
    #[inline(always)]
    pub fn partial(self) -> bool {
        self.0 & PARTIAL != 0
    }
    /// Length of the last component.
    #[inline(always)]
    pub fn leaf_len(self) -> u32 {
        self.0 >> LEAF_SHIFT & 0xff
    }
}

/// Writes the path of `dentry` on `mnt` into the slot's text, up to the root of the mount namespace.
#[inline(always)]
pub fn resolve(slot: u32, dentry: u64, mnt: u64) -> Resolved {
    Resolved(resolve_path(slot, dentry, mnt, 0))
}

/// Writes the path of `dentry` inside its own filesystem, whatever is mounted where.
#[inline(always)]
pub fn resolve_inner(slot: u32, dentry: u64, mnt: u64) -> Resolved {
    Resolved(resolve_path(slot, dentry, mnt, 1))
}

/// Where the walk stands. In memory, so that to the verifier every step begins alike.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Climb {
    /// The entry whose name is written next.
    dentry: u64,
    /// `struct mount` of the mount it was reached through.
    mount: u64,
    /// Root of what is mounted there.
    root: u64,
    /// First byte written so far.
    position: u32,
    /// Bits of the [`Resolved`] to be.
    bits: u32,
    /// Length of the last component, 0 as long as nothing is written.
    leaf: u32,
    /// Not 0: stay in the filesystem.
    inner: u32,
    /// Names that are passed by, not written, for as many `..` ask to.
    skip: u32,
    /// Padding.
    _pad: u32,
    /// The folder above which `..` does not lead.
    floor: u64,
}

/// Writes the path and returns the bits of a [`Resolved`]. Where a call was [given](crate::given) a name, that is there
/// already, and the path goes in front of it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn resolve_path(slot: u32, dentry: u64, mnt: u64, inner: u32) -> u32 {
    let Some(work) = work(slot) else { return Resolved::NOTHING.0 };
    let root: u64 = read_or_zero(mnt, offset!(vfsmount_root));
    let mut bits = UNKNOWN;
    if inner == 0 && read_or_zero::<u64>(root, offset!(dentry_parent)) != root {
        bits |= PARTIAL;
    }
    // SAFETY: the slot has one user, as throughout this function.
    let Given { len, leaf, skip, floor, .. } = unsafe { (*work).given };
    if len > MAX_TEXT as u32 {
        return Resolved::NOTHING.0;
    }
    let climb = Climb {
        dentry,
        mount: mnt - offset!(mount_mnt),
        root,
        position: MAX_TEXT as u32 - len,
        bits,
        leaf,
        inner,
        skip,
        _pad: 0,
        floor,
    };
    // SAFETY: as above.
    unsafe { (*work).climb = climb };
    let mut step = 0;
    while step < MAX_STEPS {
        step += 1;
        if climb_step(slot) != 0 {
            break;
        }
    }
    // SAFETY: as above.
    let Climb { mut position, bits, leaf, .. } = unsafe { (*work).climb };
    if position == MAX_TEXT as u32 {
        position -= 1;
        // SAFETY: as above.
        unsafe { (*work).walk.text[MAX_TEXT - 1] = b'/' };
    }
    if bits & UNKNOWN != 0 {
        count(COUNT_PATH_UNRESOLVED);
    }
    position & START | bits | (leaf & 0xff) << LEAF_SHIFT
}

/// One step up, over a name or over a mount; not 0 when the walk is over.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn climb_step(slot: u32) -> u32 {
    let Some(work) = work(slot) else { return 1 };
    // SAFETY: the slot has one user; the caller holds no reference across this call.
    let (climb, text) = unsafe { (&mut (*work).climb, &mut (*work).walk.text) };
    if climb.dentry == climb.floor {
        climb.skip = 0;
    }
    if climb.inner == 0 && climb.dentry == climb.root {
        return over_mount(climb);
    }
    // d_parent, d_name.hash_len and d_name.name lie side by side (checked when the offsets are found).
    let Some([parent, hash_len, name]) = read::<[u64; 3]>(climb.dentry, offset!(dentry_parent)) else { return 1 };
    if parent == climb.dentry {
        // The filesystem's root without having met the mount's: what was asked for, or an entry that hangs in no
        // tree, as those of pipes and sockets do, or one that can't be reached any more.
        if climb.inner != 0 {
            climb.bits &= !UNKNOWN;
        } else if read::<u64>(climb.mount, offset!(mount_ns)).is_some_and(|namespace| namespace >= MIN_ERROR) {
            climb.bits = climb.bits & !UNKNOWN | PATHLESS;
        }
        return 1;
    }
    if climb.skip != 0 {
        climb.skip -= 1;
        climb.dentry = parent;
        return 0;
    }
    let len = (hash_len >> 32) as u32;
    if len == 0 || len > MAX_NAME || len + 1 > climb.position {
        return 1;
    }
    let position = climb.position - len;
    // SAFETY: position is masked below MAX_TEXT and the length below 256, so the range ends inside the buffer
    // of twice that size; the helper checks the source.
    let copied = unsafe {
        bpf_probe_read_kernel(
            text.as_mut_ptr().add(masked(position, MAX_TEXT as u32 - 1) as usize).cast(),
            masked(len, 0xff),
            name as *const _,
        )
    };
    if copied != 0 {
        return 1;
    }
    text[masked(position - 1, MAX_TEXT as u32 - 1) as usize] = b'/';
    if climb.leaf == 0 {
        climb.leaf = len;
    }
    climb.position = position - 1;
    climb.dentry = parent;
    0
}

/// From a mount's root to the place it is mounted on; not 0 at the topmost mount.
#[inline(always)]
fn over_mount(climb: &mut Climb) -> u32 {
    let Some(above) = read::<u64>(climb.mount, offset!(mount_parent)) else { return 1 };
    if above == climb.mount {
        // The topmost mount: of a namespace, of the kernel's own, or of a tree that was detached.
        let Some(namespace) = read::<u64>(climb.mount, offset!(mount_ns)) else { return 1 };
        if namespace >= MIN_ERROR {
            climb.bits |= PATHLESS;
        }
        if namespace != 0 {
            climb.bits &= !UNKNOWN;
        }
        return 1;
    }
    let Some(point) = read::<u64>(climb.mount, offset!(mount_mountpoint)) else { return 1 };
    let Some(root) = read::<u64>(above + offset!(mount_mnt), offset!(vfsmount_root)) else { return 1 };
    climb.dentry = point;
    climb.mount = above;
    climb.root = root;
    0
}
