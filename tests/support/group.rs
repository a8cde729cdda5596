//! Control groups of a test's own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, process, thread, time};

/// A group at the top of the unified hierarchy; gone with this, together with the groups in it.
#[derive(Debug)]
pub struct Group {
    name: String,
    folder: PathBuf,
}

impl Group {
    /// Finds a name that nobody else uses, and makes nothing yet.
    ///
    /// # Panics
    /// Where no unified hierarchy is mounted.
    #[must_use]
    pub fn named() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("guard-test-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mounts = fs::read_to_string("/proc/self/mounts").expect("the mounts can be read");
        let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let root = fields.filter(|fields| fields[2] == "cgroup2").map(|fields| fields[1].to_owned()).next();
        let folder = Path::new(&root.expect("a unified hierarchy is mounted")).join(&name);
        Self { name, folder }
    }

    /// The same, and makes it.
    #[must_use]
    pub fn new() -> Self {
        let group = Self::named();
        group.make("");
        group
    }

    /// Its path in the hierarchy, as policies name it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/{}", self.name)
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes a group in it, or itself if that has no name; its folder.
    #[expect(clippy::must_use_candidate, reason = "often it only has to be there")]
    pub fn make(&self, below: &str) -> PathBuf {
        let folder = self.folder.join(below);
        fs::create_dir_all(&folder).expect("a control group can be made");
        folder
    }

    /// Removes it, with the groups in it, once nobody is there any more.
    pub fn remove(&self) {
        for _ in 0..200 {
            remove(&self.folder);
            if !self.folder.exists() {
                return;
            }
            thread::sleep(time::Duration::from_millis(10));
        }
        eprintln!("{} could not be removed", self.folder.display());
    }
}

impl Default for Group {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Removes a group's folder, those in it first. One in which a process is stays.
fn remove(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    fs::remove_dir(folder).unwrap_or_default();
}
