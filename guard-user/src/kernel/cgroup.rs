//! The control groups of the machine, and guard's own.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Root of the unified control group hierarchy.
///
/// # Errors
/// If none is mounted.
pub fn root() -> anyhow::Result<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("/proc/self/mounts can't be read")?;
    mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&"cgroup2"))
        .map(|fields| PathBuf::from(fields[1]))
        .context("no cgroup2 file system is mounted; guard judges connections there (mount -t cgroup2 none /sys/fs/cgroup)")
}

/// The folders of this process's control group and of all above it, its own first and without the root's. None where they
/// can't be told.
#[must_use]
pub fn own() -> Vec<PathBuf> {
    let (Ok(root), Ok(text)) = (root(), std::fs::read_to_string("/proc/self/cgroup")) else { return Vec::new() };
    let Some(group) = text.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    let groups = Path::new(group).ancestors().filter(|group| !group.as_os_str().is_empty());
    groups.map(|group| root.join(group)).collect()
}
