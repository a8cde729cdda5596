//! Where one way is tried: a folder with a secret, a protected file and a forbidden program, all freshly made.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::{env, process};

/// What a listener has heard.
const HEARD: &str = "heard";
/// What somebody outside of the tree was made to do.
const ESCAPED: &str = "escaped";
/// There once who takes part from outside is ready; holds its process id.
const READY: &str = "ready";

/// The folder of one way.
#[derive(Clone, Debug)]
pub struct Place {
    path: PathBuf,
}

impl Place {
    /// One that is there, or will be.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Makes it, with `word` as the secret.
    pub fn furnish(&self, word: &str) -> io::Result<()> {
        for folder in ["denied", "allowed", "protected", "forbidden", "run", "spool"] {
            fs::create_dir_all(self.join(folder))?;
        }
        // The umask is the user's business, and one way comes as nobody.
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o755))?;
        fs::write(self.join("denied/secret"), format!("{word}\n"))?;
        fs::write(self.join("allowed/fine"), "nothing of interest\n")?;
        fs::write(self.join("protected/ci.yml"), "jobs: {}\n")?;
        fs::copy("/bin/echo", self.join("forbidden/tool"))?;
        fs::copy("/bin/echo", self.join("allowed/deploy"))?;
        fs::write(self.join("forbidden/script"), "#!/bin/sh\necho \"$1\"\n")?;
        fs::set_permissions(self.join("forbidden/script"), fs::Permissions::from_mode(0o755))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path inside.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// The secret's path.
    pub fn secret(&self) -> PathBuf {
        self.join("denied/secret")
    }

    /// Tells that all is set up for the attempt; of use to who takes part from outside.
    pub fn ready(&self) -> io::Result<()> {
        let early = self.join("early");
        fs::write(&early, process::id().to_string())?;
        fs::rename(early, self.join(READY))
    }

    /// Whether who takes part from outside is ready.
    pub fn is_ready(&self) -> bool {
        self.join(READY).exists()
    }

    /// The process id of who takes part from outside.
    pub fn outsider(&self) -> io::Result<i32> {
        fs::read_to_string(self.join(READY))?.trim().parse().map_err(io::Error::other)
    }

    /// Notes what a listener has heard.
    pub fn hear(&self, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().create(true).append(true).open(self.join(HEARD))?.write_all(bytes)
    }

    /// Notes that somebody outside of the tree did what it was made to do.
    pub fn escape(&self) -> io::Result<()> {
        fs::write(self.join(ESCAPED), "done\n")
    }

    /// Whether a listener heard anything, or somebody outside of the tree did.
    pub fn got_out(&self) -> bool {
        [HEARD, ESCAPED].iter().any(|name| fs::metadata(self.join(name)).is_ok_and(|file| file.len() > 0))
    }

    /// What is in the protected folder: names, modes and contents.
    pub fn protected(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        let entries = fs::read_dir(self.join("protected")).into_iter().flatten().flatten();
        entries
            .map(|entry| {
                let mode = fs::symlink_metadata(entry.path()).map_or(0, |meta| meta.permissions().mode());
                let regular = entry.file_type().is_ok_and(|kind| kind.is_file());
                let bytes = if regular { fs::read(entry.path()).unwrap_or_default() } else { Vec::new() };
                (entry.path(), (mode, bytes))
            })
            .collect()
    }
}

/// A word that nobody can guess.
pub fn fresh_word() -> String {
    format!("word-{:016x}", RandomState::new().build_hasher().finish())
}

/// What the attempt has to get out, where it isn't the secret.
pub fn word() -> io::Result<String> {
    env::var("word").map_err(io::Error::other)
}
