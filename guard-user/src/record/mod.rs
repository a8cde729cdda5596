//! Records: what comes out of the kernel, and what is written of it.

pub mod clock;
pub mod decode;
pub mod event;
pub mod redact;
mod sink;
pub mod stream;

pub use sink::{Sink, SinkError};
