//! What the kernel says of its security modules, whether or not securityfs is mounted.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::path::Path;

/// Where securityfs belongs.
const MOUNTED: &str = "/sys/kernel/security";

/// The contents of a file of securityfs; `None` where the kernel has no such thing, or does not show it.
#[must_use]
pub fn read(name: &CStr) -> Option<String> {
    let path = Path::new(MOUNTED).join(name.to_str().ok()?);
    std::fs::read_to_string(path).ok().or_else(|| read_unmounted(name))
}

/// The same from an instance that is mounted nowhere: minimal systems leave the mount out.
fn read_unmounted(name: &CStr) -> Option<String> {
    let opened = |result: i64| (result >= 0).then_some(result as RawFd);
    // SAFETY: the calls take a terminated string and numbers, and give a descriptor that is ours.
    let context = unsafe {
        let context = opened(libc::syscall(libc::SYS_fsopen, c"securityfs".as_ptr(), libc::FSOPEN_CLOEXEC))?;
        OwnedFd::from_raw_fd(context)
    };
    // SAFETY: numbers only; `fsmount` gives a descriptor that is ours.
    let mount = unsafe {
        let create = libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), libc::FSCONFIG_CMD_CREATE, 0, 0, 0);
        opened(create)?;
        OwnedFd::from_raw_fd(opened(libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), libc::FSMOUNT_CLOEXEC, 0))?)
    };
    // SAFETY: a terminated string; the descriptor is ours.
    let mut file = unsafe {
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        File::from_raw_fd(opened(i64::from(libc::openat(mount.as_raw_fd(), name.as_ptr(), flags)))?)
    };
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    Some(text)
}
