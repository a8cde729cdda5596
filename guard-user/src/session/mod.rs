//! Sessions: who the guarded processes are, and what is known of them.

mod processes;
pub mod repo;
pub mod seed;
pub mod users;

pub use processes::{Image, Processes};
