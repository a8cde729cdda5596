//! Records: what comes out of the kernel, and what is written of it.

pub mod clock;
pub mod decode;
pub mod event;
pub mod redact;
pub mod sentence;
mod sink;
pub mod stream;
pub mod webhook;

pub use sink::{Sink, SinkError};
