//! The control groups whose processes are all guarded, as far as they were there before the programs.

use std::collections::HashSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use aya::maps::{HashMap, Map, MapData};

use super::cgroup;
use crate::policy::Tables;

/// Inode number of the hierarchy's topmost folder (`fs/kernfs/dir.c:kernfs_create_root` counts from 1).
const TOP: u64 = 1;

/// Their numbers, which the programs look up and add to.
pub struct Groups(HashMap<MapData, u64, u8>);

impl Groups {
    /// Those in `map`.
    ///
    /// # Errors
    /// If it is no such map.
    pub fn new(map: Map) -> anyhow::Result<Self> {
        Ok(Self(HashMap::try_from(map)?))
    }

    /// Has the programs guard the groups that the policy in force names, and no others; the processes that are in them.
    ///
    /// What is made meanwhile, the programs enter by that policy. guard's own group is never one.
    ///
    /// # Errors
    /// If the groups of the machine can't be seen, or are too many.
    pub fn guard_by(&mut self, policy: &mut Tables<'_>) -> anyhow::Result<HashSet<u32>> {
        let before: Vec<u64> = self.0.keys().flatten().collect();
        let mut named = Vec::new();
        if !policy.policy().groups.is_empty() {
            let root = whole_hierarchy()?;
            let own = cgroup::own().into_iter().next();
            search(&root, &root, own.as_deref(), policy, &mut named);
        }
        for number in before.iter().filter(|number| named.iter().all(|(named, _)| named != *number)) {
            // The group itself may be gone, and the entry with it.
            let _ = self.0.remove(number);
        }
        let mut members = HashSet::new();
        for (number, folder) in named {
            self.0.insert(number, 1, 0).with_context(|| {
                format!("there is no room for the control group {}: `[scope]` names too many", folder.display())
            })?;
            members.extend(processes(&folder));
        }
        Ok(members)
    }
}

/// Where all of the machine's control groups can be seen.
///
/// # Errors
/// If nowhere.
pub fn whole_hierarchy() -> anyhow::Result<PathBuf> {
    let root = cgroup::root()?;
    let top = fs::metadata(&root).with_context(|| format!("{} can't be read", root.display()))?;
    if top.ino() != TOP {
        bail!(
            "{} shows a part of the machine's control groups only, and `[scope]` names them by their paths in the whole: run guard \
             in the machine's own cgroup namespace, or mount the machine's hierarchy there",
            root.display()
        );
    }
    Ok(root)
}

/// Adds the groups below `folder` that the policy names, but for guard's `own`.
fn search(root: &Path, folder: &Path, own: Option<&Path>, policy: &mut Tables<'_>, found: &mut Vec<(u64, PathBuf)>) {
    // A group may go at any moment.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(kind) = entry.metadata() else { continue };
        let below = entry.path();
        if !kind.is_dir() || own == Some(&below) {
            continue;
        }
        let path = [b"/", below.strip_prefix(root).unwrap_or(&below).as_os_str().as_bytes()].concat();
        if policy.guards_group(&path) {
            found.push((kind.ino(), below.clone()));
        }
        search(root, &below, own, policy, found);
    }
}

/// The processes in a group.
fn processes(folder: &Path) -> Vec<u32> {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid != 0).collect()
}
