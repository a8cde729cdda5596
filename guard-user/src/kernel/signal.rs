//! Killing from user space, never the wrong process.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// A process held by a descriptor, so that a reused process id can't be mistaken for it.
pub struct Target(OwnedFd);

impl Target {
    /// Takes hold of process `pid`; `None` if it is gone.
    ///
    /// # Errors
    /// Whatever `pidfd_open` says besides `ESRCH`.
    pub fn hold(pid: u32) -> io::Result<Option<Self>> {
        // SAFETY: no pointers; a result that is not negative is a descriptor that nobody else owns.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
        if fd >= 0 {
            // SAFETY: as above.
            return Ok(Some(Self(unsafe { OwnedFd::from_raw_fd(fd as i32) })));
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(libc::ESRCH) { Ok(None) } else { Err(error) }
    }

    /// Sends SIGKILL; false if the process had ended already.
    ///
    /// # Errors
    /// Whatever `pidfd_send_signal` says besides `ESRCH`.
    pub fn kill(&self) -> io::Result<bool> {
        // SAFETY: a valid descriptor, and no siginfo.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.0.as_raw_fd(),
                libc::SIGKILL,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        if result == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(libc::ESRCH) { Ok(false) } else { Err(error) }
    }
}

impl From<Target> for File {
    fn from(target: Target) -> Self {
        target.0.into()
    }
}
