//! What `guard top --standalone` guards by: a daemon in a thread of its own, listened to through its own control API, so that
//! there is one way of being told and not two.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::Common;
use super::daemon::Daemon;
use crate::kernel;
use crate::top::app::{Abilities, Act};
use crate::top::sources::daemon::Client;
use crate::top::sources::{Shared, Source, Worker};

/// Where sockets of the daemons of `top` lie, each removed when it ends.
const FOLDER: &str = "/run/guard";
/// How often it is looked whether the daemon listens, and whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// A daemon of one's own.
pub struct Standalone {
    shared: Arc<Shared>,
    daemon: Worker,
    client: Client,
}

impl Standalone {
    /// Guards by the policy of `common`, and waits until it does.
    ///
    /// # Errors
    /// Whatever keeps guard from guarding.
    pub fn start(common: Common, shared: &Arc<Shared>) -> anyhow::Result<Self> {
        // Before anything else: as root or not at all.
        kernel::check_requirements()?;
        remove_stale(Path::new(FOLDER));
        let socket = PathBuf::from(FOLDER).join(format!("top-{}.sock", std::process::id()));
        let daemon = Daemon::of_top(common, socket.clone());
        let stop = Arc::clone(shared);
        let mut daemon = Worker::start("guard-daemon", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
            let stopped = move || {
                Ok(async move {
                    while !stop.stopped() {
                        tokio::time::sleep(LOOK).await;
                    }
                })
            };
            runtime.block_on(daemon.guard(false, stopped)).map(drop)
        })?;
        let mut client: Option<Client> = None;
        let client = loop {
            let failure = daemon.failure().or_else(|| client.as_mut().and_then(Source::failure));
            if let Some(failure) = failure {
                return Err(failure);
            }
            // It listens from before it loads, and answers once it guards.
            client = match client {
                Some(client) if shared.complete() => break client,
                None if socket.exists() => Client::start(&socket, "standalone".to_owned(), shared).ok(),
                client => client,
            };
            std::thread::sleep(LOOK);
        };
        Ok(Self { shared: Arc::clone(shared), daemon, client })
    }
}

/// Removes the sockets that a `top` has left which was killed: nobody listens there any more.
fn remove_stale(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let process = name.strip_prefix("top-").and_then(|rest| rest.strip_suffix(".sock"));
        let ours = process.is_some_and(|process| process.parse::<u32>().is_ok());
        let refused = |error: std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
        if ours && UnixStream::connect(&path).is_err_and(refused) {
            // Somebody may have been faster.
            let _gone = std::fs::remove_file(&path);
        }
    }
}

impl Source for Standalone {
    fn name(&self) -> String {
        self.client.name()
    }

    fn abilities(&self) -> Abilities {
        self.client.abilities()
    }

    fn act(&self, act: &Act) {
        self.client.act(act);
    }

    fn failure(&mut self) -> Option<anyhow::Error> {
        self.daemon.failure().or_else(|| self.client.failure())
    }

    fn join(&mut self) {
        self.shared.stop();
        self.client.join();
        self.daemon.join();
    }
}
