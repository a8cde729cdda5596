//! guard's user space: loads the kernel programs, compiles policies, follows sessions, writes records.
//!
//! Arrows point one way: `cli` -> `alert`, `watch` -> `prevent` -> `session`, `record`, `policy` -> `kernel` -> `guard_common`.
//! Nothing below `cli` knows a screen, but for `top`, which knows events and the API's answers alone.

pub mod alert;
pub mod cli;
pub mod control;
pub mod doctor;
pub mod kernel;
pub mod logs;
pub mod policy;
pub mod prevent;
pub mod record;
pub mod session;
pub mod top;
pub mod watch;
