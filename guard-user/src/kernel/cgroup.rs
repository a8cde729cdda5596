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

/// The folders of this process's group in the unified hierarchy and of all above it, its own first and without the root's.
/// None where they can't be told.
#[must_use]
pub fn own() -> Vec<PathBuf> {
    let (Ok(root), Ok(text)) = (root(), std::fs::read_to_string("/proc/self/cgroup")) else { return Vec::new() };
    text.lines().find_map(|line| line.strip_prefix("0::")).map(|group| upwards(&root, group)).unwrap_or_default()
}

/// The same in each hierarchy of a single controller or name that is mounted, as they were before the unified one.
#[must_use]
pub fn own_by_controller() -> Vec<Vec<PathBuf>> {
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    by_controller(&read("/proc/self/cgroup"), &read("/proc/self/mounts"))
}

/// The same, by what those two files say.
fn by_controller(groups: &str, mounts: &str) -> Vec<Vec<PathBuf>> {
    let root = |controller: &str| {
        let has = |fields: &[&str]| {
            fields.get(2) == Some(&"cgroup")
                && fields.get(3).is_some_and(|options| options.split(',').any(|option| option == controller))
        };
        let mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        mounts.filter(|fields| has(fields)).map(|fields| PathBuf::from(fields[1])).next()
    };
    let groups = groups.lines().filter_map(|line| {
        let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
        let root = root(controllers.split(',').next().filter(|controller| !controller.is_empty())?)?;
        Some(upwards(&root, group))
    });
    groups.filter(|groups| !groups.is_empty()).collect()
}

/// The folder of a group, by its path in the hierarchy that is mounted at `root`, and of all above it but that.
fn upwards(root: &Path, group: &str) -> Vec<PathBuf> {
    let groups = Path::new(group.trim_start_matches('/')).ancestors().filter(|group| !group.as_os_str().is_empty());
    groups.map(|group| root.join(group)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_single_controllers_are_found_where_they_are_mounted() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n\
                      cgroup /sys/fs/cgroup/systemd cgroup rw,relatime,name=systemd 0 0\n\
                      cgroup /sys/fs/cgroup/freezer cgroup rw,relatime,freezer 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
        let groups = "9:name=systemd:/system.slice/guard.service\n8:pids:/not/mounted\n\
                      5:cpu,cpuacct:/system.slice\n6:freezer:/\n0::/system.slice/guard.service\n";
        let found: Vec<Vec<String>> = by_controller(groups, mounts)
            .iter()
            .map(|groups| groups.iter().map(|group| group.display().to_string()).collect())
            .collect();
        assert_eq!(
            found,
            [
                vec!["/sys/fs/cgroup/systemd/system.slice/guard.service", "/sys/fs/cgroup/systemd/system.slice"],
                vec!["/sys/fs/cgroup/cpu,cpuacct/system.slice"],
            ]
        );
        assert_eq!(by_controller("", ""), Vec::<Vec<PathBuf>>::new());
    }
}
