//! The control API: what a running daemon says of itself, and what it can be told.
//!
//! HTTP over a unix socket. Who asks is told by the kernel (peer credentials), and decides what may be asked. [`types`] holds
//! the bodies of all answers but the stream of events: `GET /v1/events` sends, as server-sent events without a name, each event
//! from then on as its line of the record, one line of JSON in `data:`. `?allowed=false` leaves out allowed operations (they
//! then cost the daemon nothing), `?session=ID`, `?op=read,write` and `?action=deny,kill` choose further. A client that
//! reads too slowly misses events, and is told so by `{"op":"lost","kind":"reader-slow","count":N}` in their place.
//!
//! It is served by a thread of its own. What watches is asked through a bounded channel ([`desk`]) and answers between records;
//! events come through a queue that is bounded in bytes ([`crate::record::stream`]). So nobody who connects can make it wait.

mod body;
mod client;
mod desk;
mod events;
mod limits;
mod metrics;
mod peer;
mod phase;
mod policy;
mod problem;
mod routes;
mod server;
mod sessions;
mod socket;
mod status;
pub mod types;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::Receiver;

pub use client::Http;
pub use metrics::NAMES as METRICS;
pub use peer::Readers;
pub use routes::description;
pub use server::Server;
pub use socket::Socket;

use crate::kernel::Gauge;
use crate::policy::{Failure, Own, Whole};
use crate::record::clock;
use crate::record::stream::Stream;
use crate::watch::request::Request;
use desk::Desk;
use limits::Limits;

/// Where the daemon serves the control API, and clients look for it.
pub const SOCKET: &str = "/run/guard/guard.sock";
/// The group whose members may read everything.
pub const GROUP: &str = "guard";

/// Where the API is served, and to whom.
pub struct Setup {
    /// The unix socket.
    pub socket: Socket,
    /// Where metrics alone are served to whoever can connect.
    pub metrics: Option<TcpListener>,
    /// Who may read everything.
    pub readers: Readers,
    /// Where events come from.
    pub stream: Stream,
    /// The ring buffers.
    pub gauges: Arc<[Gauge; 2]>,
    /// What no policy may have a session change.
    pub own: Arc<Own>,
    /// Reads the policy that the daemon was started with, as it is by now.
    pub reread: Reread,
}

/// Reads a policy where it was read before.
pub type Reread = Arc<dyn Fn() -> Result<Whole, Failure> + Send + Sync>;

/// Begins to serve; what is asked comes out of the receiver.
///
/// # Errors
/// If there is no thread, or a socket can't be waited for.
pub fn serve(setup: Setup) -> anyhow::Result<(Server, Receiver<Request>)> {
    let (desk, requests) = desk::open();
    let api = Arc::new(Api {
        desk,
        stream: setup.stream,
        gauges: setup.gauges,
        limits: Limits::default(),
        compiler: policy::Compiler::default(),
        own: setup.own,
        reread: setup.reread,
        findings: status::Findings::default(),
        kernel: nix::sys::utsname::uname()
            .map(|name| name.release().to_string_lossy().into_owned())
            .unwrap_or_default(),
        started: clock::time_of_day(clock::now_since_boot()),
        started_unix: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
        since: Instant::now(),
    });
    Ok((Server::start(api, setup.socket, setup.metrics, setup.readers)?, requests))
}

/// What all requests share.
pub struct Api {
    desk: Desk,
    stream: Stream,
    gauges: Arc<[Gauge; 2]>,
    limits: Limits,
    compiler: policy::Compiler,
    own: Arc<Own>,
    reread: Reread,
    findings: status::Findings,
    /// The kernel's release.
    kernel: String,
    /// When the daemon was started: in words, and to count from.
    started: String,
    started_unix: f64,
    since: Instant,
}
