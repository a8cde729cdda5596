//! What the tests and the demo share: a scripted model for Codex to talk to, a desk for it to work at, a network
//! with nothing in it, and `guard` itself, run and watched.
//!
//! A failing helper ends the test with its reason, so most of this panics with a message instead of returning errors
//! that every test would only unwrap.

pub mod api;
pub mod codex;
pub mod dist;
pub mod group;
pub mod guard;
pub mod http;
pub mod kernel;
pub mod marks;
pub mod model;
pub mod net;
pub mod overlay;
pub mod place;
pub mod prometheus;
pub mod pty;
pub mod ring;
pub mod run;
pub mod session;
pub mod stage;
pub mod tmux;

pub use kernel::require_kernel;
