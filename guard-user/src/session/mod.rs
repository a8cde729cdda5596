//! Sessions: who the guarded processes are.

pub mod users;
