//! Looking for files that are protected: folder by folder, those that lie near first, and never for long.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::policy::{Places, Tables};

/// Files and folders that are looked at from one place on.
const MOST: usize = 400_000;
/// Time that is spent from one place on.
const LONGEST: Duration = Duration::from_mins(1);

/// What a session sees: where its patterns are anchored.
#[derive(Debug, PartialEq, Eq)]
pub struct View {
    /// Its repository.
    pub repo: Vec<u8>,
    /// Its user's home.
    pub home: Vec<u8>,
}

/// A look at all that lies in one place, for one view.
#[derive(Debug)]
pub struct Scan {
    view: Arc<View>,
    /// Folders to be looked into.
    folders: VecDeque<PathBuf>,
    device: u64,
    entries: usize,
    spent: Duration,
    /// Nothing else is looked for.
    only: Option<PathBuf>,
}

impl View {
    /// As policies want it.
    #[must_use]
    pub fn places(&self) -> Places<'_> {
        let known = |path: &'_ [u8]| !path.is_empty();
        Places {
            repo: Some(self.repo.as_slice()).filter(|path| known(path)),
            home: Some(self.home.as_slice()).filter(|path| known(path)),
        }
    }

    /// Its repository's path.
    #[must_use]
    pub fn repo(&self) -> &Path {
        Path::new(std::ffi::OsStr::from_bytes(&self.repo))
    }

    /// Its home's.
    #[must_use]
    pub fn home(&self) -> &Path {
        Path::new(std::ffi::OsStr::from_bytes(&self.home))
    }
}

impl Scan {
    /// Of what lies in `folder`; none where that is no folder.
    #[must_use]
    pub fn of(folder: &Path, view: &Arc<View>) -> Option<Self> {
        let metadata = fs::symlink_metadata(folder).ok().filter(fs::Metadata::is_dir)?;
        Some(Self {
            view: Arc::clone(view),
            folders: VecDeque::from([folder.to_owned()]),
            device: metadata.dev(),
            entries: 0,
            spent: Duration::ZERO,
            only: None,
        })
    }

    /// Of the one file `path` in `folder`.
    #[must_use]
    pub fn of_one(folder: &Path, path: &Path, view: &Arc<View>) -> Option<Self> {
        Some(Self { only: Some(path.to_owned()), ..Self::of(folder, view)? })
    }

    /// Whose it is.
    #[must_use]
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// How long it has taken so far.
    #[must_use]
    pub fn spent(&self) -> Duration {
        self.spent
    }

    /// Folders that were found and are not looked into, because that is enough; none as long as it goes on.
    #[must_use]
    pub fn given_up(&self) -> usize {
        let enough = self.entries >= MOST || self.spent >= LONGEST;
        if enough { self.folders.len() } else { 0 }
    }

    /// Looks for as long as `slice`, and tells `found` of each protected file; whether there is more.
    pub fn go_on(&mut self, slice: Duration, tables: &mut Tables<'_>, found: &mut impl FnMut(&Path)) -> bool {
        let since = Instant::now();
        while since.elapsed() < slice && self.entries < MOST {
            let Some(folder) = self.folders.pop_front() else { break };
            self.look_into(&folder, tables, found);
        }
        self.spent += since.elapsed();
        !self.folders.is_empty() && self.given_up() == 0
    }

    fn look_into(&mut self, folder: &Path, tables: &mut Tables<'_>, found: &mut impl FnMut(&Path)) {
        let view = Arc::clone(&self.view);
        let places = view.places();
        if let Some(path) = self.only.take() {
            if tables.protects(path.as_os_str().as_bytes(), &places) {
                found(&path);
            }
            return;
        }
        // It may be gone, or nobody's to look into; then nothing of it can be found.
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            self.entries += 1;
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_file() {
                if tables.protects(path.as_os_str().as_bytes(), &places) {
                    found(&path);
                }
            } else if kind.is_dir()
                // The repository has a look of its own.
                && path.as_os_str().as_bytes() != view.repo
                && tables.may_protect_inside(path.as_os_str().as_bytes(), &places)
                && fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.dev() == self.device)
            {
                self.folders.push_back(path);
            }
        }
    }
}
