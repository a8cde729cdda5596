//! Reads files that may be anybody's.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::Refusal;

/// Whether a symbolic link may stand where the file is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symlinks {
    /// It is followed: a person named the file.
    Followed,
    /// It is refused: whoever made it could lead guard, which may read everything, to any file.
    Refused,
}

/// The contents of a regular file of at most `limit` bytes. Neither a pipe nor a device can hold this up.
///
/// # Errors
/// If it is not one, or can't be read.
pub fn read(path: &Path, limit: usize, symlinks: Symlinks) -> Result<Vec<u8>, Refusal> {
    let unreadable = |error: std::io::Error| Refusal::whole(format!("it cannot be read: {error}"));
    let links = if symlinks == Symlinks::Refused { libc::O_NOFOLLOW } else { 0 };
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC | links)
        .open(path)
        .map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(Refusal::whole("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > limit {
        return Err(Refusal::whole(format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}
