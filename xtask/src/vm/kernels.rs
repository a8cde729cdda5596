//! Which kernels, and getting them: each is unpacked once into `target/vm/kernels`, down to what a machine boots with.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::archive::Archive;
use super::image;
use crate::{say, workspace};

/// A machine of the matrix.
pub struct Kernel {
    /// What it is called on the command line.
    pub name: &'static str,
    /// The first two numbers of its version.
    pub series: &'static str,
    /// Where Debian has it.
    suite: &'static str,
    /// The packages: each name begins like this, and the kernel's version follows.
    packages: &'static [&'static str],
    /// What is added to its command line.
    pub append: &'static str,
    /// By which way guard's programs are asked on its security hooks then, in the words of `guard doctor --json`.
    pub hooks: &'static str,
}

/// Not the `cloud` kernels: they have no 9p, by which a machine sees this one's files.
pub const KERNELS: [Kernel; 5] = [
    Kernel {
        name: "5.10",
        series: "5.10",
        suite: "bullseye",
        packages: &["linux-image-"],
        append: "",
        hooks: "modified-return",
    },
    Kernel {
        name: "5.10-lsm",
        series: "5.10",
        suite: "bullseye",
        packages: &["linux-image-"],
        append: "lsm=lockdown,yama,apparmor,tomoyo,bpf",
        hooks: "module",
    },
    Kernel {
        name: "6.1",
        series: "6.1",
        suite: "bookworm",
        packages: &["linux-image-"],
        // As many distributions build and boot theirs.
        append: "lsm=lockdown,capability,landlock,yama,apparmor",
        hooks: "modified-return",
    },
    Kernel {
        name: "6.12",
        series: "6.12",
        suite: "bookworm-backports",
        packages: &["linux-image-"],
        append: "",
        hooks: "module",
    },
    Kernel {
        name: "7.2",
        series: "7.2",
        suite: "sid",
        packages: &["linux-binary-", "linux-modules-"],
        append: "",
        hooks: "module",
    },
];

impl Kernel {
    /// Where what it boots with is kept.
    pub fn folder(&self) -> Result<PathBuf> {
        Ok(folder()?.join("kernels").join(self.series))
    }
}

/// Everything of the matrix.
pub fn folder() -> Result<PathBuf> {
    Ok(workspace::target()?.join("vm"))
}

/// Gets those that aren't here yet.
pub fn fetch(kernels: &[&Kernel]) -> Result<()> {
    let mut archive = None;
    for kernel in kernels {
        let there = kernel.folder()?;
        if there.exists() {
            continue;
        }
        let archive = match &mut archive {
            Some(archive) => archive,
            none => {
                let suites: Vec<&str> = KERNELS.iter().map(|kernel| kernel.suite).collect();
                none.insert(Archive::open(&folder()?.join("apt"), &suites)?)
            }
        };
        let packages = archive.newest(kernel.suite, kernel.series, kernel.packages)?;
        say::timed(&format!("getting {} from Debian's {} (100 MB)", packages.join(" and "), kernel.suite), || {
            let work = folder()?.join("unpacked");
            empty(&work)?;
            for file in archive.download(&packages, &work)? {
                let mut unpack = Command::new("dpkg-deb");
                workspace::ensure_runs(unpack.arg("-x").arg(file).arg(work.join("files")))?;
            }
            // Under its own name only when it is whole.
            let part = there.with_extension("part");
            empty(&part)?;
            image::keep(&work.join("files"), &part)?;
            fs::rename(&part, &there).with_context(|| there.display().to_string())?;
            fs::remove_dir_all(&work).with_context(|| work.display().to_string())
        })?;
    }
    Ok(())
}

/// Makes an empty folder.
pub fn empty(folder: &PathBuf) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}
