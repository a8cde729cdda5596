//! Where filesystems are mounted: keys and values of the map from which the programs make a file's other names.
//!
//! A mount shows a folder of a filesystem, its root, at a mount point. A file that lies below the root in the filesystem has
//! a name below the point, whichever mount it was reached through.

use crate::tree::MAX_ANCHOR;

/// Names of a file that are looked at; one that has more is not known.
pub const MAX_NAMES: usize = 8;
/// Mount points of one root that are kept.
pub const MAX_POINTS: u32 = 4;

/// A root: which folder of which filesystem is mounted somewhere.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MountKey {
    /// [`hash`] of the root's path inside the filesystem, without a `/` at the end.
    pub hash: u64,
    /// The filesystem: its device number as the kernel keeps it ([`device`]).
    pub device: u32,
    /// Length of that path.
    pub len: u32,
    /// The number of the mount point, from 0: a root can be mounted at several.
    pub number: u32,
    /// Padding.
    pub _pad: u32,
}

/// Where a root is mounted.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MountPoint {
    /// Bytes of [`Self::path`] in use, without a `/` at the end.
    pub len: u32,
    /// Length of its last component.
    pub leaf: u32,
    /// Not 0: there is a mount point with the next number.
    pub more: u32,
    /// The path.
    pub path: [u8; MAX_ANCHOR],
}

/// What [`hash_on`] begins with.
pub const HASH_BEGIN: u64 = 0xcbf2_9ce4_8422_2325;

/// The hash (FNV-1a) of a text that goes on with `byte`.
#[inline(always)]
#[must_use]
pub const fn hash_on(hash: u64, byte: u8) -> u64 {
    (hash ^ byte as u64).wrapping_mul(0x0100_0000_01b3)
}

/// The hash of a text.
#[must_use]
pub fn hash(text: &[u8]) -> u64 {
    text.iter().fold(HASH_BEGIN, |hash, &byte| hash_on(hash, byte))
}

/// A device number as the kernel keeps it (`include/linux/kdev_t.h`: `MKDEV`).
#[must_use]
pub const fn device(major: u32, minor: u32) -> u32 {
    major << 20 | minor
}

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)`, integers only, padding written out, valid for every bit pattern.
    unsafe impl aya::Pod for super::MountKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::MountPoint {}
}
