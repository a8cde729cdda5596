//! What the thread that answers and the process that stands behind it know of each other: a page of memory of both.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::time::{ClockId, clock_gettime};

/// What is in it.
#[repr(C)]
#[derive(Debug, Default)]
struct Content {
    /// One of the states.
    state: AtomicU32,
    /// Id of the thread that answers.
    thread: AtomicU32,
    /// Descriptors from this number on are of the process behind.
    split: AtomicU32,
    _pad: u32,
    /// When that thread was last seen to be alive, in nanoseconds of `CLOCK_MONOTONIC`.
    beat: AtomicU64,
}

/// The process behind is not there yet.
const STARTING: u32 = 0;
/// The thread answers.
const ANSWERED: u32 = 1;
/// The process behind has taken over.
const TAKEN: u32 = 2;

/// The page.
///
/// It keeps no descriptor, for the thread has a table of its own: what it dropped would not be what was opened.
#[derive(Debug)]
pub struct Page(NonNull<Content>);

// SAFETY: it is nothing but atomics, and is taken away only with this.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    /// A new one, and the file by which another process gets it.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        let file = memfd_create(c"guard-backstop", MFdFlags::MFD_CLOEXEC)?;
        nix::unistd::ftruncate(&file, size_of::<Content>() as i64)?;
        Ok((Self::of(&file)?, file))
    }

    /// The one behind a descriptor.
    ///
    /// # Errors
    /// If it is none.
    pub fn of(file: &OwnedFd) -> io::Result<Self> {
        if nix::sys::stat::fstat(file)?.st_size < size_of::<Content>() as i64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: a new mapping of a file that is long enough.
        let content = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Content>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(content.cast::<Content>()) {
            Some(content) if content.as_ptr().cast::<libc::c_void>() != libc::MAP_FAILED => Ok(Self(content)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn content(&self) -> &Content {
        // SAFETY: mapped and page-aligned for as long as this lives; any bytes are valid atomics.
        unsafe { self.0.as_ref() }
    }

    /// Whoever answers is alive.
    pub fn beat(&self) {
        self.content().beat.store(now(), Ordering::Release);
    }

    /// How long ago that was.
    #[must_use]
    pub fn silence(&self) -> Duration {
        Duration::from_nanos(now().saturating_sub(self.content().beat.load(Ordering::Acquire)))
    }

    /// The calling thread answers from now on.
    pub fn answers(&self, thread: u32) {
        self.content().thread.store(thread, Ordering::Release);
        self.beat();
    }

    /// The thread that answers.
    #[must_use]
    pub fn thread(&self) -> u32 {
        self.content().thread.load(Ordering::Acquire)
    }

    /// The process behind is there; its own descriptors begin with number `split`.
    pub fn stand(&self, split: u32) {
        let content = self.content();
        content.split.store(split, Ordering::Release);
        content.state.store(ANSWERED, Ordering::Release);
    }

    /// Whether it is there.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.content().state.load(Ordering::Acquire) != STARTING
    }

    /// The first number of its descriptors.
    #[must_use]
    pub fn split(&self) -> u32 {
        self.content().split.load(Ordering::Acquire)
    }

    /// It answers from now on.
    pub fn take(&self) {
        self.content().state.store(TAKEN, Ordering::Release);
    }

    /// Whether it does.
    #[must_use]
    pub fn taken(&self) -> bool {
        self.content().state.load(Ordering::Acquire) == TAKEN
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped by this, with this length, and not used any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<Content>()) };
    }
}

fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| Duration::from(time).as_nanos() as u64)
}
