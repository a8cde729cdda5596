//! Files and folders that appear where protected ones may lie.
//!
//! The kernel tells of each name that appears in a whole filesystem: to watch folders one by one would take a mark on every
//! folder of a home, and would miss what appears in a new one before that has its own.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::group::{Appeared, Group, NEWS, News, news};

/// Folders whose paths are kept: where one file appears, others do.
const KEPT: usize = 1024;

/// What appears in the filesystems that are watched.
#[derive(Debug)]
pub struct Arrivals {
    group: Group,
    /// Their ids and a folder of each.
    filesystems: HashMap<[u8; 8], File>,
    devices: Vec<u64>,
    /// Paths of folders, by filesystem and handle.
    known: HashMap<([u8; 8], Box<[u8]>), PathBuf>,
}

/// What has appeared.
#[derive(Debug)]
pub enum Arrival {
    /// Something that may be a file.
    File(PathBuf),
    /// A folder, with what is in it.
    Folder(PathBuf),
    /// More than could be told.
    Lost,
}

impl Arrivals {
    /// Of nothing yet.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new() -> io::Result<Self> {
        let group = Group::told()?;
        Ok(Self { group, filesystems: HashMap::new(), devices: Vec::new(), known: HashMap::new() })
    }

    /// Watches the filesystem of `folder` too.
    ///
    /// # Errors
    /// If it can't tell: not all filesystems can.
    pub fn watch(&mut self, folder: &Path) -> io::Result<()> {
        let folder = File::open(folder)?;
        let device = folder.metadata()?.dev();
        if self.devices.contains(&device) {
            return Ok(());
        }
        let id = filesystem(&folder)?;
        self.group.tell_of(folder.as_fd())?;
        self.devices.push(device);
        self.filesystems.insert(id, folder);
        Ok(())
    }

    /// What has appeared since, in what is watched.
    pub fn take(&mut self) -> Vec<Arrival> {
        let mut buffer = vec![0; NEWS];
        let length = self.group.read(&mut buffer).unwrap_or(0);
        let mut all = Vec::new();
        for one in news(&buffer[..length]) {
            match one {
                News::Lost => all.push(Arrival::Lost),
                News::Appeared(appeared) => {
                    if appeared.is_folder && appeared.moved {
                        // What is known of paths below it is no longer so.
                        self.known.clear();
                    }
                    let Some(path) = self.path_of(&appeared) else { continue };
                    match (appeared.is_folder, appeared.moved) {
                        (false, _) => all.push(Arrival::File(path)),
                        (true, true) => all.push(Arrival::Folder(path)),
                        // A new one is empty, and what appears in it is told.
                        (true, false) => {}
                    }
                }
            }
        }
        all
    }

    fn path_of(&mut self, appeared: &Appeared<'_>) -> Option<PathBuf> {
        let name = std::ffi::OsStr::from_bytes(appeared.name);
        let key = (appeared.filesystem, appeared.folder.into());
        if let Some(folder) = self.known.get(&key) {
            return Some(folder.join(name));
        }
        let filesystem = self.filesystems.get(&appeared.filesystem)?;
        let folder = by_handle(filesystem, appeared.folder)?;
        let path = std::fs::read_link(format!("/proc/thread-self/fd/{}", folder.as_raw_fd())).ok()?;
        if self.known.len() >= KEPT {
            self.known.clear();
        }
        let full = path.join(name);
        self.known.insert(key, path);
        Some(full)
    }
}

impl AsFd for Arrivals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }
}

/// The folder that a handle stands for, held but not opened.
fn by_handle(filesystem: &File, handle: &[u8]) -> Option<OwnedFd> {
    // As `struct file_handle` wants to lie.
    let mut aligned = vec![0u64; handle.len().div_ceil(8)];
    // SAFETY: as many bytes as the handle has, into a vector that has at least that many.
    unsafe { std::ptr::copy_nonoverlapping(handle.as_ptr(), aligned.as_mut_ptr().cast::<u8>(), handle.len()) };
    // SAFETY: the handle says its own length, which `news` has compared with what is there; a result that is not negative is a
    // descriptor that nobody else owns.
    unsafe {
        let fd = libc::syscall(
            libc::SYS_open_by_handle_at,
            filesystem.as_raw_fd(),
            aligned.as_mut_ptr(),
            libc::O_PATH | libc::O_CLOEXEC,
        );
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd as i32))
    }
}

/// The filesystem's id, in the bytes that events have it.
fn filesystem(folder: &File) -> io::Result<[u8; 8]> {
    // SAFETY: made of integers only.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a valid descriptor, and a structure for the kernel to fill.
    if unsafe { libc::fstatfs(folder.as_raw_fd(), &raw mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fsid_t` is two integers of 32 bits, and any bytes are an array of bytes.
    Ok(unsafe { std::mem::transmute_copy(&found.f_fsid) })
}

/// Filesystems whose files may make an open wait for somebody else, or refuse it to root: guard would have to open them too.
/// By their numbers (`include/uapi/linux/magic.h`): FUSE, NFS, SMB, CIFS, SMB2, 9P, Ceph, AFS, Coda, proc, sysfs.
const NOT_FOR_THIS: [i64; 11] = [
    0x6573_5546,
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x0102_1997,
    0x00c3_6400,
    0x5346_414f,
    0x7375_7245,
    0x9fa0,
    0x6265_6572,
];

/// Whether files of the filesystem that `path` is in can be marked.
#[must_use]
pub fn is_for_this(path: &Path) -> bool {
    let Ok(text) = std::ffi::CString::new(path.as_os_str().to_owned().into_vec()) else { return false };
    // SAFETY: made of integers only.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a NUL, and the structure is for the kernel to fill.
    let result = unsafe { libc::statfs(text.as_ptr(), &raw mut found) };
    result == 0 && !NOT_FOR_THIS.contains(&found.f_type)
}
