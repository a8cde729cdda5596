//! Folders: where things are built and where a test may make a mess.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, io, process};

/// Cargo's target folder.
#[must_use]
pub fn target() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    fs::create_dir_all(&target).expect("the target folder can be made");
    target.canonicalize().expect("the target folder has a path")
}

/// A program of this workspace, from the folder of the test itself, which is where cargo put them all.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn built(name: &str) -> PathBuf {
    let me = env::current_exe().expect("a test knows its own path");
    let found = me.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not built; `cargo xtask test` builds all that tests need"))
}

/// A folder of one test's own, gone with it. Under target rather than /tmp, which policies and Codex treat apart.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// Makes one. `name` helps to recognise it; it is unique anyway.
    #[must_use]
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("{name}-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = target().join("guard-tests").join(unique);
        // Left by a process that had the same id: nobody's any more.
        if path.exists() {
            fs::remove_dir_all(&path).expect("an old scratch folder can be removed");
        }
        fs::create_dir_all(&path).expect("a scratch folder can be made");
        Self { path, keep: env::var_os("GUARD_KEEP").is_some() }
    }

    /// Its path: absolute, without symlinks.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it there when the test is over. `GUARD_KEEP=1` does so for all.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// A path inside.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file, with the folders above it.
    pub fn write(&self, name: impl AsRef<Path>, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).expect("a folder can be made");
        }
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Gives a program a path in here, so that a policy can name this one and nothing else on the machine.
    #[must_use]
    pub fn program(&self, program: &Path, name: &str) -> PathBuf {
        let path = self.join(name);
        link(program, &path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("kept {}", self.path.display());
        } else if let Err(error) = remove(&self.path) {
            eprintln!("{} could not be removed: {error}", self.path.display());
        }
    }
}

/// Removes a tree in which something may still be writing its last: tries again a few times.
fn remove(path: &Path) -> io::Result<()> {
    for _ in 0..20 {
        if fs::remove_dir_all(path).is_ok() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    fs::remove_dir_all(path)
}

/// A second name for a file: a hard link, or a copy where the file system has none.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop))
}

/// Gives a whole tree second names, file by file; symlinks stay what they are.
pub fn link_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
        let kind = fs::symlink_metadata(&entry)?.file_type();
        if kind.is_dir() {
            link_tree(&entry, &to)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&entry)?, &to)?;
        } else {
            link(&entry, &to)?;
        }
    }
    Ok(())
}
