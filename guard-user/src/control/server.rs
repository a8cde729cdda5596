//! The thread that serves: connections, how many and for how long.

use std::convert::Infallible;
use std::net::TcpListener as StdTcpListener;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

use super::limits::{Limits, Ticket};
use super::peer::{Caller, Readers};
use super::problem::Problem;
use super::{Api, Socket, routes};

/// How long a request's head may take to arrive, and how long a connection may stay without a request.
const HEAD: Duration = Duration::from_secs(10);
/// How long a client may take none of what it is sent.
const STALLED: Duration = Duration::from_secs(30);
/// Longest request head, and what is gathered of an answer before it is sent, in bytes.
const BUFFER: usize = 16 << 10;
/// Clients that are told at once that there are too many.
const TURNED_AWAY: usize = 32;
/// What a connection for metrics counts as: nobody's in particular.
const NOBODY: u32 = u32::MAX;
/// Descriptors that are wanted: for every connection, and what the rest of the daemon holds.
const DESCRIPTORS: u64 = 4096;

/// The API, served; it ends when this is dropped.
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    // Removed when nobody is served any more.
    _socket: Socket,
}

impl Server {
    /// Begins to serve.
    pub(super) fn start(
        api: Arc<Api>,
        socket: Socket,
        metrics: Option<StdTcpListener>,
        readers: Readers,
    ) -> anyhow::Result<Self> {
        let listener = socket.listener()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(4)
            .thread_name("guard-control")
            .build()
            .context("no runtime for the control API")?;
        more_descriptors();
        let (stop, stopped) = oneshot::channel();
        let work = move || {
            runtime.block_on(async {
                tokio::select! {
                    result = serve(&api, listener, metrics, readers) => {
                        if let Err(error) = result {
                            tracing::error!("the control API is not served any more: {error:#}");
                        }
                    }
                    _ = stopped => {}
                }
            });
            // Nobody who is being served holds up the end.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new()
            .name("guard-control".to_owned())
            .spawn(work)
            .context("no thread for the control API")?;
        Ok(Self { stop: Some(stop), thread: Some(thread), _socket: socket })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Raises the limit on open descriptors, or as far as that takes no right. With fewer, fewer can connect at once.
fn more_descriptors() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < DESCRIPTORS
        && setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, DESCRIPTORS.max(hard)).is_err()
    {
        let _refused = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

async fn serve(
    api: &Arc<Api>,
    listener: StdUnixListener,
    metrics: Option<StdTcpListener>,
    readers: Readers,
) -> anyhow::Result<()> {
    let listener = UnixListener::from_std(listener).context("its socket can't be waited for")?;
    let turned_away = Arc::new(Semaphore::new(TURNED_AWAY));
    let on_socket = serve_socket(routes::all(Arc::clone(api)), &api.limits, listener, &readers, &turned_away);
    let Some(metrics) = metrics else { return on_socket.await };
    metrics.set_nonblocking(true).context("the socket of the metrics can't be waited for")?;
    let metrics = TcpListener::from_std(metrics).context("the socket of the metrics can't be waited for")?;
    tokio::try_join!(
        on_socket,
        serve_metrics(routes::only_metrics(Arc::clone(api)), &api.limits, metrics, &turned_away)
    )
    .map(|_| ())
}

async fn serve_socket(
    router: Router,
    limits: &Limits,
    listener: UnixListener,
    readers: &Readers,
    turned_away: &Arc<Semaphore>,
) -> anyhow::Result<()> {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: those who are connected give some back.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(caller) = Caller::of(&stream, readers) else { continue };
        let entered = limits.enter(caller.uid);
        begin(stream, router.clone(), caller, entered, turned_away);
    }
}

async fn serve_metrics(
    router: Router,
    limits: &Limits,
    listener: TcpListener,
    turned_away: &Arc<Semaphore>,
) -> anyhow::Result<()> {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        begin(stream, router.clone(), Caller::by_network(), limits.enter(NOBODY), turned_away);
    }
}

/// Serves a connection, or says that there are too many.
fn begin<S>(stream: S, router: Router, caller: Caller, entered: Result<Ticket, String>, turned_away: &Arc<Semaphore>)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    match entered {
        Ok(ticket) => {
            tokio::spawn(async move {
                let _ticket = ticket;
                let router = TowerToHyperService::new(router);
                let answer = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
                    request.extensions_mut().insert(caller.clone());
                    router.call(request)
                });
                connection(stream, answer).await;
            });
        }
        Err(why) => {
            // Those whom there is no room to tell are only cut off.
            let Ok(permit) = Arc::clone(turned_away).try_acquire_owned() else { return };
            tokio::spawn(async move {
                let _permit = permit;
                let refuse = hyper::service::service_fn(move |_| {
                    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, why.clone());
                    let mut response = problem.help("try again later").into_response();
                    response.headers_mut().insert("connection", axum::http::HeaderValue::from_static("close"));
                    async { Ok::<_, Infallible>(response) }
                });
                let _too_slow = timeout(Duration::from_secs(2), connection(stream, refuse)).await;
            });
        }
    }
}

async fn connection<S, T>(stream: S, service: T)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
    T: hyper::service::Service<hyper::Request<Incoming>, Response = axum::response::Response<Body>>,
    T::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(STALLED));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(BUFFER).max_headers(64);
    // A client that goes away, or talks no HTTP, is its own affair.
    let _ended = builder.serve_connection(TokioIo::new(Box::pin(stream)), service).await;
}
