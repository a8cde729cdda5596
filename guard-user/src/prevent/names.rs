//! The names by which marked files were found: a file is protected under each of them, by whichever it is opened.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::Metadata;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A file: its filesystem's device number, and its inode's number there.
pub type File = (u64, u64);

/// More names of one file are not kept: each costs a look when the file is opened.
const MOST: usize = 16;

/// The names of marked files.
#[derive(Debug, Default)]
pub struct Names(Mutex<HashMap<File, Vec<Box<[u8]>>>>);

impl Names {
    fn lock(&self) -> MutexGuard<'_, HashMap<File, Vec<Box<[u8]>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file is found under `path`.
    pub fn add(&self, file: File, path: &[u8]) {
        let mut names = self.lock();
        let names = names.entry(file).or_default();
        if names.len() < MOST && !names.iter().any(|name| **name == *path) {
            names.push(path.into());
        }
    }

    /// The names of a file, unless somebody is writing here at this moment: who answers does not wait.
    #[must_use]
    pub fn of(&self, file: File) -> Vec<Box<[u8]>> {
        self.0.try_lock().ok().and_then(|names| names.get(&file).cloned()).unwrap_or_default()
    }

    /// How many files have names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<(File, Vec<Box<[u8]>>)> {
        self.lock().iter().map(|(file, names)| (*file, names.clone())).collect()
    }

    /// A file is marked no more.
    pub fn remove(&self, file: File) {
        self.lock().remove(&file);
    }
}

/// The file of `metadata`.
#[must_use]
pub fn file_of(metadata: &Metadata) -> File {
    (metadata.dev(), metadata.ino())
}

/// `struct open_how` (`include/uapi/linux/openat2.h`).
#[repr(C)]
struct How {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// `RESOLVE_NO_SYMLINKS`.
const NO_SYMLINKS: u64 = 4;

/// Takes hold of what is called `path`, without opening it: nobody is asked about that. Where the path leads over a
/// symbolic link it is no true path, and there is nothing.
#[must_use]
pub fn hold(path: &[u8]) -> Option<std::fs::File> {
    let path = CString::new(path).ok()?;
    let how =
        How { flags: (libc::O_PATH | libc::O_CLOEXEC | libc::O_NOFOLLOW) as u64, mode: 0, resolve: NO_SYMLINKS };
    // SAFETY: both pointers outlive the call, and the size is that of what the second leads to; a result that is not negative is
    // a descriptor that nobody else owns.
    unsafe {
        let fd = libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path.as_ptr(), &raw const how, size_of::<How>());
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd as i32).into())
    }
}

/// Whether `path` still is a name of `file`.
#[must_use]
pub fn leads_to(path: &[u8], file: File) -> bool {
    hold(path).and_then(|held| held.metadata().ok()).is_some_and(|metadata| file_of(&metadata) == file)
}

/// The path of what a descriptor of this thread is, as the kernel has it now.
#[must_use]
pub fn path_of(file: &std::fs::File) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStringExt as _;
    let path =
        std::fs::read_link(format!("/proc/thread-self/fd/{}", file.as_raw_fd())).ok()?.into_os_string().into_vec();
    if file.metadata().ok()?.nlink() > 0 {
        return Some(path);
    }
    // It was removed while it was being opened.
    Some(path.strip_suffix(b" (deleted)").map(<[u8]>::to_vec).unwrap_or(path))
}
