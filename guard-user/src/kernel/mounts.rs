//! Where filesystems are mounted: what the programs need to know to find a file's other names.
//!
//! The mounts of guard's own namespace and of the first process's count, and those that a session began with in a
//! namespace of its own. What is mounted later, by whomever, gives a file no name that a rule could allow it by: only the
//! mounts of filesystems that were not there before are taken note of then.

use std::collections::HashMap as Known;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::Context as _;
use aya::maps::{HashMap, Map, MapData};
use guard_common::mounts::{MAX_POINTS, MountKey, MountPoint, device, hash};
use guard_common::tree::MAX_ANCHOR;

/// Mounts of the namespaces that count for every session.
const OF_THE_MACHINE: [&str; 2] = ["/proc/self/mountinfo", "/proc/1/mountinfo"];
/// The same namespaces.
const NAMESPACES: [&str; 2] = ["/proc/self/ns/mnt", "/proc/1/ns/mnt"];

/// A folder of a filesystem, and where it is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The filesystem.
    device: u32,
    /// The folder's path inside of it, without a `/` at the end.
    root: Vec<u8>,
    /// The mount point, likewise.
    point: Vec<u8>,
}

/// Numbers of the mount namespaces whose mounts count for every session: guard's own and that of the first process.
///
/// # Errors
/// If /proc does not tell.
pub fn namespaces() -> anyhow::Result<[u32; 2]> {
    let own = number(NAMESPACES[0]).context("/proc does not tell guard's own mount namespace")?;
    // In a container the first process may be nobody's to look at.
    Ok([own, number(NAMESPACES[1]).unwrap_or(own)])
}

fn number(namespace: &str) -> io::Result<u32> {
    Ok(fs::metadata(namespace)?.ino() as u32)
}

/// The files that tell of the mounts of the machine. They can be waited for.
///
/// # Errors
/// If the first of them can't be opened; the other one may be nobody's to look at.
pub fn files() -> io::Result<Vec<File>> {
    let own = File::open(OF_THE_MACHINE[0])?;
    let [ours, first] = NAMESPACES.map(number);
    let other = first.is_ok_and(|first| ours.is_ok_and(|ours| ours != first));
    Ok(if other {
        [Some(own), File::open(OF_THE_MACHINE[1]).ok()].into_iter().flatten().collect()
    } else {
        vec![own]
    })
}

/// The mounts of the machine.
///
/// # Errors
/// If guard's own can't be read.
pub fn of_the_machine() -> io::Result<Vec<Mount>> {
    let mut mounts = parse(&fs::read(OF_THE_MACHINE[0])?);
    if let [Ok(own), Ok(first)] = NAMESPACES.map(number)
        && own != first
    {
        mounts.extend(parse(&fs::read(OF_THE_MACHINE[1]).unwrap_or_default()));
    }
    Ok(mounts)
}

/// The mounts of a process, if it is in a mount namespace of its own.
#[must_use]
pub fn of_process(pid: u32) -> Option<Vec<Mount>> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let own = fs::metadata(folder.join("ns/mnt")).ok()?.ino();
    let elsewhere = |path: &str| fs::metadata(Path::new(path)).is_ok_and(|there| there.ino() != own);
    if !elsewhere(NAMESPACES[0]) || !elsewhere(NAMESPACES[1]) && fs::metadata(NAMESPACES[1]).is_ok() {
        return None;
    }
    Some(parse(&fs::read(folder.join("mountinfo")).ok()?))
}

/// The mounts in the text of a `mountinfo`. Those of what has no path in a filesystem are left out.
fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ').skip(2);
    let (major, minor) = std::str::from_utf8(fields.next()?).ok()?.split_once(':')?;
    let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?));
    if root.first() != Some(&b'/') || root.ends_with(b"//deleted") || point.len() >= MAX_ANCHOR {
        return None;
    }
    let trimmed = |path: &[u8]| path.strip_suffix(b"/").unwrap_or(path).to_vec();
    let device = device(major.parse().ok()?, minor.parse().ok()?);
    Some(Mount { device, root: trimmed(&root), point: trimmed(&point) })
}

/// A field of `mountinfo`, where some characters are written as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let digits =
            after.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(|byte| (b'0'..b'8').contains(byte)));
        if let Some(digits) = digits {
            bytes.push(digits.iter().fold(0, |number: u8, digit| number << 3 | (digit - b'0')));
            rest = &after[3..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

/// The mounts that the programs know.
pub struct MountTable {
    mounts: HashMap<MapData, MountKey, MountPoint>,
    devices: HashMap<MapData, u32, u32>,
    /// Mount points by root.
    known: Known<(u32, Vec<u8>), Vec<Vec<u8>>>,
    /// Mount points by filesystem, in number.
    names: Known<u32, u32>,
    /// Not all fit.
    full: bool,
}

impl MountTable {
    /// One that knows nothing yet.
    ///
    /// # Errors
    /// If the maps are not what they should be.
    pub fn new(mounts: Map, devices: Map) -> anyhow::Result<Self> {
        Ok(Self {
            mounts: HashMap::try_from(mounts)?,
            devices: HashMap::try_from(devices)?,
            known: Known::new(),
            names: Known::new(),
            full: false,
        })
    }

    /// Takes note of these mounts.
    pub fn add(&mut self, mounts: &[Mount]) {
        for mount in mounts {
            self.add_one(mount);
        }
    }

    /// Takes note of those mounts that show a filesystem of which none is known.
    pub fn add_new_filesystems(&mut self, mounts: &[Mount]) {
        let new: Vec<Mount> =
            mounts.iter().filter(|mount| !self.names.contains_key(&mount.device)).cloned().collect();
        self.add(&new);
    }

    /// Takes note of these mounts and forgets all others. Not while somebody is guarded: a name must not go while a
    /// session could have made it go.
    pub fn replace(&mut self, mounts: &[Mount]) {
        let there = |root: &(u32, Vec<u8>), point: &[u8]| {
            mounts.iter().any(|mount| mount.device == root.0 && mount.root == root.1 && mount.point == point)
        };
        let gone = self.known.iter().any(|(root, points)| points.iter().any(|point| !there(root, point)));
        if gone {
            for ((device, root), points) in std::mem::take(&mut self.known) {
                for number in 0..points.len() as u32 {
                    // What is not there needs no removing.
                    drop(self.mounts.remove(&key(device, &root, number)));
                }
            }
            for device in std::mem::take(&mut self.names).into_keys() {
                drop(self.devices.remove(&device));
            }
        }
        self.add(mounts);
    }

    /// Whether there was no room for some mounts.
    #[must_use]
    pub fn full(&self) -> bool {
        self.full
    }

    fn add_one(&mut self, mount: &Mount) {
        let points = self.known.entry((mount.device, mount.root.clone())).or_default();
        if points.contains(&mount.point) || points.len() >= MAX_POINTS as usize {
            return;
        }
        points.push(mount.point.clone());
        let number = points.len() as u32 - 1;
        let mut stored = self.mounts.insert(key(mount.device, &mount.root, number), point(&mount.point, false), 0);
        if number > 0 {
            let before = point(&points[number as usize - 1], true);
            stored = stored.and_then(|()| self.mounts.insert(key(mount.device, &mount.root, number - 1), before, 0));
        }
        let names = self.names.entry(mount.device).or_default();
        *names += 1;
        self.full |= stored.and_then(|()| self.devices.insert(mount.device, *names, 0)).is_err();
    }
}

fn key(device: u32, root: &[u8], number: u32) -> MountKey {
    MountKey { hash: hash(root), device, len: root.len() as u32, number, _pad: 0 }
}

fn point(path: &[u8], more: bool) -> MountPoint {
    let mut point = MountPoint { len: path.len() as u32, leaf: 0, more: u32::from(more), path: [0; MAX_ANCHOR] };
    point.path[..path.len()].copy_from_slice(path);
    point.leaf = path.rsplit(|&byte| byte == b'/').next().map_or(0, <[u8]>::len) as u32;
    point
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let text = b"36 35 98:0 /mnt1 /a\\040b rw,noatime master:1 - ext3 /dev/root rw\n\
            21 1 0:5 / / rw - tmpfs none rw\n\
            22 21 0:4 mnt:[4026532281] /run/ns rw - nsfs nsfs rw\n\
            23 21 0:6 /x//deleted /y rw - tmpfs none rw\n\
            not a line\n";
        let mount = |device, root: &[u8], point: &[u8]| Mount { device, root: root.to_vec(), point: point.to_vec() };
        assert_eq!(parse(text), [mount(98 << 20, b"/mnt1", b"/a b"), mount(5, b"", b"")]);
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescaped(br"a\134\011b\04"), b"a\\\tb\\04");
    }
}
