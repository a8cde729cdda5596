//! The control API: what a running daemon says of itself, and what it can be told.
//!
//! HTTP over a unix socket. Who asks is told by the kernel (peer credentials), and decides what may be asked. [`types`] holds
//! the bodies of all answers but the stream of events: `GET /v1/events` sends, as server-sent events without a name, each event
//! from then on as its line of the record, one line of JSON in `data:`. `?allowed=false` leaves out allowed operations (they
//! then cost the daemon nothing), `?session=ID`, `?op=read,write` and `?action=deny,kill` choose further. A client that
//! reads too slowly misses events, and is told so by `{"op":"lost","kind":"reader-slow","count":N}` in their place.

pub mod types;

/// Where the daemon serves the control API, and clients look for it.
pub const SOCKET: &str = "/run/guard/guard.sock";
