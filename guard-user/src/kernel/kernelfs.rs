//! What the kernel says in filesystems of its own, whether or not they are mounted.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::path::Path;

/// A filesystem of the kernel's own.
#[derive(Debug)]
pub struct KernelFs {
    name: &'static CStr,
    /// Where it belongs.
    place: &'static str,
}

/// What the security modules show.
pub const SECURITYFS: KernelFs = KernelFs { name: c"securityfs", place: "/sys/kernel/security" };
/// What is shown for debugging.
pub const DEBUGFS: KernelFs = KernelFs { name: c"debugfs", place: "/sys/kernel/debug" };

impl KernelFs {
    /// The contents of a file; `None` where the kernel has no such thing, or does not show it.
    #[must_use]
    pub fn read(&self, path: &CStr) -> Option<String> {
        let mounted = Path::new(self.place).join(path.to_str().ok()?);
        std::fs::read_to_string(mounted).ok().or_else(|| self.read_unmounted(path))
    }

    /// The same from an instance that is mounted nowhere: minimal systems leave the mount out.
    fn read_unmounted(&self, path: &CStr) -> Option<String> {
        let opened = |result: i64| (result >= 0).then_some(result as RawFd);
        // SAFETY: the calls take a terminated string and numbers, and give a descriptor that is ours.
        let context = unsafe {
            let context = opened(libc::syscall(libc::SYS_fsopen, self.name.as_ptr(), libc::FSOPEN_CLOEXEC))?;
            OwnedFd::from_raw_fd(context)
        };
        // SAFETY: numbers only; `fsmount` gives a descriptor that is ours.
        let mount = unsafe {
            let create = libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), libc::FSCONFIG_CMD_CREATE, 0, 0, 0);
            opened(create)?;
            let mount = libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), libc::FSMOUNT_CLOEXEC, 0);
            OwnedFd::from_raw_fd(opened(mount)?)
        };
        // SAFETY: a terminated string; the descriptor is ours.
        let mut file = unsafe {
            let flags = libc::O_RDONLY | libc::O_CLOEXEC;
            File::from_raw_fd(opened(i64::from(libc::openat(mount.as_raw_fd(), path.as_ptr(), flags)))?)
        };
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        Some(text)
    }
}
