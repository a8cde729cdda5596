//! The machine's own files with everything that is changed kept apart: what is installed there is real, and the machine stays
//! as it is. A mount namespace of its own, whose root is an overlay with its upper layer in memory; gone with its last process.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::kernel::require_kernel;
use crate::place::{Scratch, target};
use crate::run::{Job, Running};

/// Makes the namespace, says so, and keeps it until it is ended. `$1`: an empty folder; `$2`: one to be seen in it as it is.
const MAKE: &str = r#"
set -e
mount -t tmpfs overlay "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
for folder in proc sys dev; do mount --rbind "/$folder" "$1/root/$folder"; done
mount -t tmpfs -o mode=0755 run "$1/root/run"
mount -t tmpfs -o mode=1777 tmp "$1/root/tmp"
mkdir -p "$1/root$2"
mount --rbind "$2" "$1/root$2"
cd "$1/root"
pivot_root . .
umount -l .
echo made
exec sleep 600
"#;

/// Such a view of the machine.
#[derive(Debug)]
pub struct Overlay {
    holder: Running,
    // After the holder, which may still use it.
    _scratch: Scratch,
}

impl Overlay {
    /// Makes one. The target folder, and with it what was built and every scratch folder, is the machine's own.
    ///
    /// # Panics
    /// Where mounts or overlays are refused.
    #[must_use]
    pub fn new(name: &str) -> Self {
        require_kernel();
        let scratch = Scratch::new(name);
        let mut holder = Job::new("unshare", Path::new("/"))
            .args(["--mount", "--propagation", "private", "--", "sh", "-c", MAKE, "sh"])
            .arg(scratch.path())
            .arg(target())
            .limit(Duration::from_mins(10))
            .start();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !holder.stdout().contains("made") {
            let said = holder.stderr();
            assert!(!holder.ended() && Instant::now() < deadline, "no overlay over the machine's files: {said}");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { holder, _scratch: scratch }
    }

    /// A job in there, in its root folder.
    #[must_use]
    pub fn job(&self, program: impl AsRef<OsStr>) -> Job {
        self.put(&Job::new(program, Path::new("/")))
    }

    /// The same job, in there.
    #[must_use]
    pub fn put(&self, job: &Job) -> Job {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.holder.pid());
        job.clone().under(["nsenter", &namespace, "--"])
    }

    /// Where a path of in there can be looked at from here.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.holder.pid()))
    }

    /// What there is below /etc, /usr, /run and /var: kind, permissions, owner, and of files in /etc what is in them.
    ///
    /// Without what the machine's own tools remember of their work: logs and lists of packages, and the copies of the user
    /// database from before its last change.
    #[must_use]
    pub fn listing(&self) -> BTreeMap<String, String> {
        let find = self
            .job("find")
            .args(["/etc", "/usr", "/run", "/var", "-xdev", "-printf", "%p\\t%y %m %U:%G\\n"])
            .run()
            .succeeded()
            .out();
        let sums = self.job("find").args(["/etc", "-xdev", "-type", "f", "-exec", "sha256sum", "{}", "+"]);
        let mut listing: BTreeMap<String, String> = find
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(path, what)| (path.into(), what.into()))
            .collect();
        for line in sums.run().succeeded().out().lines() {
            if let Some((sum, path)) = line.split_once("  ")
                && let Some(what) = listing.get_mut(path)
            {
                what.push(' ');
                what.push_str(sum);
            }
        }
        listing.retain(|path, _| {
            let remembered = ["/etc/group-", "/etc/gshadow-", "/etc/passwd-", "/etc/shadow-", "/etc/.pwd.lock"];
            let of_packages = ["/var/lib/dpkg/", "/var/log/", "/var/cache/"];
            let of_guard = path.contains("guard");
            of_guard
                || !(remembered.contains(&path.as_str()) || of_packages.iter().any(|folder| path.starts_with(folder)))
        });
        listing
    }
}

/// What is there now and was not, is gone, or differs; a line each.
#[must_use]
pub fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (path, what) in after {
        match before.get(path) {
            None => lines.push(format!("+ {path}")),
            Some(was) if was != what => lines.push(format!("~ {path}: {was} -> {what}")),
            Some(_) => {}
        }
    }
    lines.extend(before.keys().filter(|path| !after.contains_key(*path)).map(|path| format!("- {path}")));
    lines
}
