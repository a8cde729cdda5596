//! How full a ring buffer is, looked at from any thread and without a system call.

use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail};
use aya::maps::Map;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::unistd::{SysconfVar, sysconf};

/// The two pages of a ring buffer that say how far it was read and written (`kernel/bpf/ringbuf.c:struct bpf_ringbuf`).
#[derive(Debug)]
pub struct Gauge {
    /// What the ring is called.
    pub name: &'static str,
    /// Its size in bytes.
    pub size: u64,
    read: NonNull<AtomicU64>,
    written: NonNull<AtomicU64>,
    length: usize,
    peak: AtomicU64,
}

// SAFETY: both pointers lead into a mapping that this value owns until it is dropped; what they point to is only read, and in
// one step.
unsafe impl Send for Gauge {}
// SAFETY: as above.
unsafe impl Sync for Gauge {}

impl Gauge {
    /// Of the ring buffer `map`, called `name`.
    ///
    /// # Errors
    /// If the kernel does not let its pages be seen.
    pub fn of(map: &Map, name: &'static str) -> anyhow::Result<Self> {
        let Map::RingBuf(data) = map else { bail!("{name} is no ring buffer") };
        let size = u64::from(data.info().context("a ring buffer can't be asked for its size")?.max_entries());
        let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().context("the size of a page is not known")? as usize;
        let length = 2 * page;
        let bytes = NonZeroUsize::new(length).context("a page has no bytes")?;
        // SAFETY: a new, read-only, shared mapping at an address of the kernel's choice.
        let start = unsafe { mmap(None, bytes, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, data.fd().as_fd(), 0) }
            .context("a ring buffer can't be looked at")?;
        let start = start.cast::<AtomicU64>();
        // SAFETY: the second of the two pages that were mapped.
        let written = unsafe { start.byte_add(page) };
        Ok(Self { name, size, read: start, written, length, peak: AtomicU64::new(0) })
    }

    /// Bytes in it that were not read yet.
    #[must_use]
    pub fn used(&self) -> u64 {
        // In this order: what is written in between can only make it look fuller.
        // SAFETY: the first word of a page of the mapping, aligned, which the kernel and the reader change in one step.
        let read = unsafe { self.read.as_ref() }.load(Ordering::Acquire);
        // SAFETY: as above.
        let written = unsafe { self.written.as_ref() }.load(Ordering::Acquire);
        written.wrapping_sub(read).min(self.size)
    }

    /// Looks, and remembers the most that was found.
    pub fn look(&self) {
        self.peak.fetch_max(self.used(), Ordering::Relaxed);
    }

    /// The most that was found when somebody [looked](Self::look), in bytes.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        // SAFETY: the mapping made above, of the same length, and nobody looks at it any more.
        let _failed = unsafe { munmap(self.read.cast(), self.length) };
    }
}
