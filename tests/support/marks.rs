//! Files that a guard has marked, as the kernel tells it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::stage::until;

/// The files whose opens process `pid` is asked about, by their inodes' numbers.
#[must_use]
pub fn marks(pid: u32) -> Vec<u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let texts: Vec<String> = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect();
    let lines = texts.iter().flat_map(|text| text.lines());
    let of = |line: &str| u64::from_str_radix(line.strip_prefix("fanotify ino:")?.split(' ').next()?, 16).ok();
    lines.filter_map(of).collect()
}

/// Waits until process `pid` is asked about this file.
///
/// # Panics
/// When it is not within ten seconds.
pub fn marked(pid: u32, file: &Path) {
    let inode = fs::metadata(file).expect("a file").ino();
    until(&format!("a mark on {}", file.display()), || marks(pid).contains(&inode));
}

/// The process that stands behind the guard `pid`, which one of its threads has started.
#[must_use]
pub fn behind(pid: u32) -> Option<u32> {
    let mut tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        text.split_ascii_whitespace().find_map(|child| child.parse::<u32>().ok())
    };
    tasks.find_map(of)
}
