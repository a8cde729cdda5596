//! The calls of fanotify(7).
//!
//! Two kinds of groups: one that is asked before a marked file is opened, and one that is told when names appear in a
//! filesystem. Layouts are those of `include/uapi/linux/fanotify.h`; nothing that is read leads outside of the buffer.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

/// Bytes of questions that are read at once: of 32, for those at the end wait for the others' answers too.
pub const QUESTIONS: usize = 32 * METADATA;
/// Bytes of news that are read at once: some hundred.
pub const NEWS: usize = 16 << 10;
/// `FAN_EVENT_METADATA_LEN`.
const METADATA: usize = 24;
/// `FANOTIFY_METADATA_VERSION`.
const VERSION: u8 = 3;
/// `FAN_EVENT_INFO_TYPE_DFID_NAME`.
const INFO_NAME: u8 = 2;
/// Bytes before a file handle: the head of the information, and the filesystem's id.
const BEFORE_HANDLE: usize = 12;

/// A group of marks, and the queue of what happens to what is marked.
#[derive(Debug)]
pub struct Group(OwnedFd);

/// Somebody waits for leave to open a marked file.
#[derive(Debug)]
pub struct Question {
    /// The thread that waits, by its id in the reader's pid namespace; 0 where it has none there.
    pub thread: u32,
    /// The file, opened for whoever answers, as a descriptor of the reading thread.
    pub file: OwnedFd,
}

/// A name has appeared in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appeared<'a> {
    /// The filesystem, as `statfs` tells it.
    pub filesystem: [u8; 8],
    /// The folder's file handle, as `name_to_handle_at` tells it: length, type, bytes.
    pub folder: &'a [u8],
    /// The name.
    pub name: &'a [u8],
    /// It is a folder's.
    pub is_folder: bool,
    /// It was moved there.
    pub moved: bool,
}

/// What a group that is told has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News<'a> {
    /// A name has appeared.
    Appeared(Appeared<'a>),
    /// There was no room for some.
    Lost,
}

impl Group {
    /// One that is asked. Its queue has no bound of its own: there is an entry for each thread that waits.
    ///
    /// # Errors
    /// Where the kernel has no permission events, or who runs guard lacks `CAP_SYS_ADMIN`.
    pub fn asked() -> io::Result<Self> {
        let flags = libc::FAN_CLASS_CONTENT
            | libc::FAN_CLOEXEC
            | libc::FAN_NONBLOCK
            | libc::FAN_UNLIMITED_QUEUE
            | libc::FAN_UNLIMITED_MARKS
            | libc::FAN_REPORT_TID;
        // Not blocking: whoever holds a lease on the file must not have the answer wait for him.
        Self::new(flags, libc::O_RDONLY | libc::O_LARGEFILE | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOATIME)
    }

    /// One that is told.
    ///
    /// # Errors
    /// As [`Self::asked`].
    pub fn told() -> io::Result<Self> {
        let flags = libc::FAN_CLASS_NOTIF | libc::FAN_CLOEXEC | libc::FAN_NONBLOCK | libc::FAN_REPORT_DFID_NAME;
        Self::new(flags, libc::O_RDONLY | libc::O_CLOEXEC)
    }

    fn new(flags: u32, event_flags: i32) -> io::Result<Self> {
        // SAFETY: no pointers; a result that is not negative is a descriptor that nobody else owns.
        let fd = unsafe { libc::fanotify_init(flags, event_flags as u32) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: as above.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The group behind a descriptor.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Has the group asked before the file is opened.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn ask_about(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        self.mark(libc::FAN_MARK_ADD, libc::FAN_OPEN_PERM, file)
    }

    /// Has it not asked any more.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn forget(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        self.mark(libc::FAN_MARK_REMOVE, libc::FAN_OPEN_PERM, file)
    }

    /// Has the group told of names that appear anywhere in the filesystem that `folder` lies in.
    ///
    /// # Errors
    /// What the kernel says; some filesystems can't tell.
    pub fn tell_of(&self, folder: BorrowedFd<'_>) -> io::Result<()> {
        let what = libc::FAN_CREATE | libc::FAN_MOVED_TO | libc::FAN_ONDIR;
        self.mark(libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM, what, folder)
    }

    /// Removes the marks of all files. What waits is not answered by that.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn forget_all(&self) -> io::Result<()> {
        // SAFETY: no pointer.
        let result = unsafe {
            libc::fanotify_mark(self.0.as_raw_fd(), libc::FAN_MARK_FLUSH, 0, libc::AT_FDCWD, std::ptr::null())
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn mark(&self, flags: u32, mask: u64, object: BorrowedFd<'_>) -> io::Result<()> {
        // By this name it may be a descriptor that opens nothing.
        let path = CString::new(format!("/proc/thread-self/fd/{}", object.as_raw_fd()))?;
        // SAFETY: the path ends with a NUL and outlives the call.
        let result = unsafe { libc::fanotify_mark(self.0.as_raw_fd(), flags, mask, libc::AT_FDCWD, path.as_ptr()) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Reads what is in the queue, as far as there is room; how many bytes that are, 0 if nothing is there.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match nix::unistd::read(&self.0, buffer) {
            Ok(length) => Ok(length),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets the one pass who waits for an answer about what was read as descriptor `file`; nothing if nobody does any more.
    pub fn allow(&self, file: RawFd) {
        self.respond(file, libc::FAN_ALLOW);
    }

    /// Has the open fail with EPERM; whether somebody waited for that.
    #[must_use]
    pub fn deny(&self, file: RawFd) -> bool {
        self.respond(file, libc::FAN_DENY)
    }

    fn respond(&self, file: RawFd, response: u32) -> bool {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&file.to_ne_bytes());
        bytes[4..].copy_from_slice(&response.to_ne_bytes());
        nix::unistd::write(&self.0, &bytes).is_ok()
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Group {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// One event as it lies in the buffer: its mask, descriptor and process, and what follows.
struct Event<'a> {
    mask: u64,
    file: RawFd,
    process: i32,
    information: &'a [u8],
}

/// Goes through the events in `bytes`.
fn events(mut bytes: &[u8]) -> impl Iterator<Item = Event<'_>> {
    std::iter::from_fn(move || {
        let length = number(bytes, 0)? as usize;
        let head = usize::from(u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?));
        if bytes[4] != VERSION || head < METADATA || length < head || length > bytes.len() {
            return None;
        }
        let event = Event {
            mask: u64::from_ne_bytes(bytes[8..16].try_into().ok()?),
            file: number(bytes, 16)? as RawFd,
            process: number(bytes, 20)? as i32,
            information: &bytes[head..length],
        };
        bytes = &bytes[length..];
        Some(event)
    })
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The questions in what a group that is asked has given, each to be answered.
///
/// # Safety
/// `bytes` were read from such a group by this thread, and are gone through once: the descriptors in them become the questions'.
pub unsafe fn questions(bytes: &[u8]) -> impl Iterator<Item = Question> {
    events(bytes).filter(|event| event.file >= 0 && event.mask & libc::FAN_OPEN_PERM != 0).map(|event| Question {
        thread: u32::try_from(event.process).unwrap_or(0),
        // SAFETY: as the caller says, the kernel has made the descriptor for this event, and nobody else knows of it.
        file: unsafe { OwnedFd::from_raw_fd(event.file) },
    })
}

/// What a group that is told has given.
pub fn news(bytes: &[u8]) -> impl Iterator<Item = News<'_>> {
    events(bytes).filter_map(|event| {
        if event.mask & libc::FAN_Q_OVERFLOW != 0 {
            return Some(News::Lost);
        }
        let information = event.information;
        if *information.first()? != INFO_NAME {
            return None;
        }
        let length = usize::from(u16::from_ne_bytes(information.get(2..4)?.try_into().ok()?));
        let information = information.get(..length)?;
        let handle = information.get(BEFORE_HANDLE..)?;
        let (folder, name) = handle.split_at_checked(8 + number(handle, 0)? as usize)?;
        let name = name.split(|byte| *byte == 0).next()?;
        Some(News::Appeared(Appeared {
            filesystem: information.get(4..12)?.try_into().ok()?,
            folder,
            name,
            is_folder: event.mask & libc::FAN_ONDIR != 0,
            moved: event.mask & libc::FAN_MOVED_TO != 0,
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(mask: u64, information: &[u8]) -> Vec<u8> {
        let mut bytes = ((METADATA + information.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend([VERSION, 0]);
        bytes.extend((METADATA as u16).to_ne_bytes());
        bytes.extend(mask.to_ne_bytes());
        bytes.extend((-1i32).to_ne_bytes());
        bytes.extend(7i32.to_ne_bytes());
        bytes.extend(information);
        bytes
    }

    fn named(name: &str) -> Vec<u8> {
        let mut bytes = vec![INFO_NAME, 0, 0, 0];
        bytes.extend([1, 2, 3, 4, 5, 6, 7, 8]);
        bytes.extend(4u32.to_ne_bytes());
        bytes.extend(1i32.to_ne_bytes());
        bytes.extend([9; 4]);
        bytes.extend(name.as_bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let length = bytes.len() as u16;
        bytes[2..4].copy_from_slice(&length.to_ne_bytes());
        bytes
    }

    #[test]
    fn names_are_found_and_nonsense_leads_nowhere() {
        let mut bytes = event(libc::FAN_CREATE, &named(".env"));
        bytes.extend(event(libc::FAN_MOVED_TO | libc::FAN_ONDIR, &named("folder")));
        bytes.extend(event(libc::FAN_Q_OVERFLOW, &[]));
        let found: Vec<News<'_>> = news(&bytes).collect();
        let [News::Appeared(file), News::Appeared(folder), News::Lost] = found[..] else { panic!("{found:?}") };
        assert_eq!((file.name, file.is_folder, file.moved), (&b".env"[..], false, false));
        assert_eq!((folder.name, folder.is_folder, folder.moved), (&b"folder"[..], true, true));
        assert_eq!((file.filesystem, file.folder.len()), ([1, 2, 3, 4, 5, 6, 7, 8], 12));
        // Whatever is cut off or overwritten, nothing is read that isn't there.
        for end in 0..bytes.len() {
            let _whatever = news(&bytes[..end]).count();
            for value in [0, 1, 0x7f, 0xff] {
                let mut wrong = bytes.clone();
                wrong[end] = value;
                let _whatever = news(&wrong).count();
            }
        }
    }
}
