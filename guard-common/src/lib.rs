//! What guard's kernel programs and its user space agree on.
//!
//! Four things cross the line between them, and each has its room here:
//!
//! * [`event`]: the records the programs write and user space decodes;
//! * [`mounts`]: where filesystems are mounted, from which a file's other names are made;
//! * [`tree`]: the keys and values of the maps that say who is guarded;
//! * [`table`], [`walk`] and [`below`]: the compiled policy, and the one piece of code that decides with it. The
//!   programs run it in the kernel; `guard policy explain`, the tests and the fuzzer run the very same
//!   code over the very same tables in user space.
//!
//! [`calls`] names the system calls that are judged once they have succeeded.
//! [`address`] says where the kernel goes that is told to go somewhere.
//! [`offsets`] says where the running kernel keeps what they read.
//! [`words`] holds the words all of them use: operations, actions, scopes, backends.
#![no_std]

pub mod address;
pub mod below;
pub mod calls;
pub mod event;
pub mod mounts;
pub mod offsets;
pub mod table;
pub mod tree;
pub mod walk;
pub mod words;
