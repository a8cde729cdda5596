//! Requests of the kernel's ring (`io_uring`), waited for.

use std::io;

use io_uring::{IoUring, squeue};

/// Does these requests, and waits until all of them are done; their results in the order in which they ended.
///
/// # Errors
///
/// The first that failed, by what it failed with; a ring that takes none of them.
pub fn all(ring: &mut IoUring, requests: &[squeue::Entry]) -> io::Result<Vec<i32>> {
    // SAFETY: callers hold what the requests point to until this call has waited for them.
    unsafe { ring.submission().push_multiple(requests) }.map_err(io::Error::other)?;
    let mut results = Vec::new();
    while results.len() < requests.len() {
        // A wait that is broken off returns as if it had been one, when something was submitted before it
        // (`io_uring_enter` and `io_cqring_wait`): only the ring tells what is done.
        match ring.submit_and_wait(requests.len() - results.len()) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => results.extend(ring.completion().map(|done| done.result())),
        }
    }
    match results.iter().find(|result| **result < 0) {
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Ok(results),
    }
}

/// Does one request in a ring of its own; its result.
///
/// # Errors
///
/// What the request failed with; a kernel without `io_uring`.
pub fn one(request: &squeue::Entry) -> io::Result<i32> {
    let results = all(&mut IoUring::new(2)?, std::slice::from_ref(request))?;
    results.first().copied().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
