//! guard's user space: loads the kernel programs, compiles policies, follows sessions, writes records.

pub mod policy;
