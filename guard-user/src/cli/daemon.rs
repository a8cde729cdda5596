//! `guard daemon`: every agent on the machine, until it is stopped.

use std::cell::RefCell;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::changes::Changes;
use super::screen::Screen;
use super::supervisor::Supervisor;
use super::webhook::WebhookOptions;
use super::{Common, LogOptions, read_policy};
use crate::alert::Alerts;
use crate::control::{self, Readers, Reread, Setup, Socket};
use crate::kernel::{self, Folder, Settings, cgroup, pins};
use crate::policy::{Compiled, Own, Whole, with_agents};
use crate::record::stream::Stream;
use crate::watch::{Inheritance, Watch, ticks};

/// What it can be told by signals.
const SIGNALS: &str = "\
A change of the policy's file, or SIGHUP, puts the policy in force anew, at once and whole: a bad one changes nothing and is reported. \
SIGUSR1 opens the file of --events anew, for whoever rotates it. SIGTERM and Ctrl-C end it, and then nothing is enforced any more. \
SIGUSR2 ends it as being killed does: what it enforces goes on, and the next daemon takes over. \
A service manager that asks to be told (NOTIFY_SOCKET, WATCHDOG_USEC) is told when it enforces, and that it is alive.";

/// Where administrators' policies are.
const SETTINGS: &str = "/etc/guard";
/// What has it started, and what would change how: its unit, the link that has it start at boot, and what is laid beside the unit,
/// wherever systemd looks for that.
const UNIT: [&str; 7] = [
    "/etc/systemd/system/guard.service",
    "/usr/lib/systemd/system/guard.service",
    "/etc/systemd/system/multi-user.target.wants/guard.service",
    "/etc/systemd/system/guard.service.d",
    "/etc/systemd/system.control/guard.service.d",
    "/run/systemd/system/guard.service.d",
    "/run/systemd/system.control/guard.service.d",
];
/// What a unit that is masked leads to. Everybody writes there.
const NOTHING: &str = "/dev/null";

/// Guard every agent on this machine, until stopped.
///
/// Guards every agent that the policy names, those that run already among them, until SIGTERM or Ctrl-C.
/// A change of the policy's file, or SIGHUP, puts the policy in force anew, at once and whole: a bad one changes nothing
/// and is reported. SIGUSR1 opens the file of --events anew, for whoever rotates it.
#[derive(Args)]
#[command(after_help = SIGNALS)]
pub struct Daemon {
    #[command(flatten)]
    common: Common,
    /// Unix socket to serve the control API on: status, sessions, events, policy, metrics. Root may change through it, members of
    /// --group may read everything, others see their own sessions
    #[arg(long, value_name = "PATH", default_value = control::SOCKET)]
    socket: PathBuf,
    /// Group whose members may read everything through the control API [default: guard, where there is one]
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Address to serve metrics for Prometheus on, such as 127.0.0.1:9470, to whoever can connect; they are on the socket too
    #[arg(long, value_name = "ADDR:PORT")]
    metrics: Option<SocketAddr>,
    /// Have the kernel measure how long its programs run, guard's and all others, at some nanoseconds a run
    #[arg(long)]
    program_stats: bool,
    /// Folder in a bpffs for what goes on enforcing when the daemon is killed, until the next one takes over
    #[arg(long, value_name = "DIR", default_value = pins::FOLDER)]
    pins: PathBuf,
    /// Enforce only as long as the daemon lives
    #[arg(long, conflicts_with = "pins")]
    no_pins: bool,
    /// Tell of verdicts as lines of JSON instead of sentences
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    webhook: WebhookOptions,
}

impl Daemon {
    /// What it logs, and how.
    pub(super) fn log(&self) -> &LogOptions {
        &self.common.log
    }

    /// One that `guard top --standalone` guards by, and listens to at `socket`.
    pub(super) fn of_top(common: Common, socket: PathBuf) -> Self {
        let webhook = WebhookOptions::default();
        let pins = PathBuf::from(pins::FOLDER);
        Self {
            common,
            socket,
            group: None,
            metrics: None,
            program_stats: true,
            pins,
            no_pins: true,
            json: false,
            webhook,
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// Whatever keeps guard from guarding.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let signals = || {
            let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
            Ok(async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            })
        };
        self.guard(true, signals).await
    }

    /// Guards until it is time to stop. `aloud`: tells of it on standard error; else the control API alone does.
    pub(super) async fn guard<F: Future<Output = ()>>(
        self,
        aloud: bool,
        stop: impl FnOnce() -> anyhow::Result<F>,
    ) -> anyhow::Result<ExitCode> {
        // Before anything else: a signal that nobody waits for yet would end the process.
        let (mut hangup, mut rotated) = (signal(SignalKind::hangup())?, signal(SignalKind::user_defined1())?);
        let mut handover = signal(SignalKind::user_defined2())?;
        let mut supervisor = if aloud { Supervisor::of_environment() } else { Supervisor::default() };
        let own = Arc::new(self.own());
        let policy = self.load_policy(&own)?;
        kernel::check_requirements()?;
        let readers = Readers::of(self.group.as_deref().unwrap_or(control::GROUP), self.group.is_none())?;
        // Before anything is loaded: where another daemon runs, this one leaves no trace.
        let socket = Socket::bind(&self.socket)?;
        let metrics = self.metrics.map(|address| {
            TcpListener::bind(address).with_context(|| format!("metrics can't be served on {address}"))
        });
        let metrics = metrics.transpose()?;
        let webhook = self.webhook.start()?;
        let whom = whom(&policy.compiled);
        let screen = Screen::new(self.json, &self.common.log);
        let sink = self.common.sink()?;
        let (folder, inheritance) = self.inherit();
        let settings = Settings {
            program_stats: self.program_stats,
            generation: inheritance.next_generation(),
            own: Arc::clone(&own),
            ..self.common.settings(true)
        };
        // Told by whoever watches, and looked at between.
        let alerts = RefCell::new(Alerts::by(&self.common.notify));
        let mut watch = Watch::load(&settings, policy, self.common.audit, sink, |event| {
            alerts.borrow_mut().tell(event);
            if aloud {
                screen.show(event);
            }
        })?;
        let stream = Stream::default();
        watch.tell_to(stream.clone());
        if let Some(webhook) = webhook {
            watch.send_to(webhook);
        }
        let mut stop = std::pin::pin!(stop()?);
        watch.attach()?;
        let running = watch.seed(&inheritance)?;
        if let Some(folder) = &folder {
            folder.own().and_then(|pins| watch.stand(pins)).unwrap_or_else(|error| mortal(&error));
        }
        watch.take_over(inheritance);
        drop(folder);
        if aloud {
            let how = how(&watch);
            tracing::info!("guarding {whom} on this machine, {how}; {running} processes were running already");
        }
        let gauges = watch.gauges();
        let reread = self.reread(&own);
        let (_server, mut requests) =
            control::serve(Setup { socket, metrics, readers, stream, gauges, own: Arc::clone(&own), reread })?;
        supervisor.ready(&how(&watch));
        let mut changes = self.common.policy_file().map(|path| Changes::of(&path)).transpose()?;
        let mut tick = ticks();
        loop {
            tokio::select! {
                result = watch.step() => result?,
                _ = tick.tick() => {
                    watch.tick();
                    alerts.borrow_mut().tick();
                    // Only where records are read and ticks kept is guard alive.
                    supervisor.alive();
                }
                _ = hangup.recv() => {
                    // Before the reload, so that a change after it is noticed.
                    changes.as_mut().map(Changes::read_anew);
                    supervisor.reloading();
                    self.reload(&mut watch, &own);
                    supervisor.ready(&how(&watch));
                }
                _ = rotated.recv() => match watch.reopen_events() {
                    Ok(()) => {}
                    Err(error) => tracing::error!("events still go where they went: {error}"),
                },
                () = next(&mut changes) => {
                    self.reload(&mut watch, &own);
                    supervisor.ready(&how(&watch));
                }
                Some(request) = requests.recv() => watch.answer(request),
                _ = handover.recv() => {
                    watch.tick();
                    watch.leave_sessions();
                    tracing::info!("what is enforced goes on; the next daemon takes over");
                    break;
                }
                () = &mut stop => {
                    watch.lift_pins();
                    break;
                }
            }
        }
        supervisor.stopping();
        watch.stop_preventing();
        watch.tick();
        if aloud {
            screen.summary(watch.totals(), watch.mode() == guard_common::words::Mode::Audit);
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What no session may change: itself, what it is told, what it tells, and what keeps it standing.
    fn own(&self) -> Own {
        let mut places = vec![PathBuf::from(SETTINGS), self.socket.clone()];
        places.extend(UNIT.map(PathBuf::from));
        places.extend(self.common.policy_file());
        places.extend(self.common.events.clone().filter(|events| events != Path::new("-")));
        if !self.no_pins {
            places.push(self.pins.clone());
        }
        places.extend(self.webhook.spool());
        // How urgent it is to the kernel, when memory is short.
        places.push(PathBuf::from(format!("/proc/{}", std::process::id())));
        // Rules are about true paths, and a link that is replaced is as good as what it leads to.
        let here = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let mut places: Vec<PathBuf> = places.into_iter().map(here).collect();
        let true_paths = places.iter().filter_map(|path| path.canonicalize().ok());
        let true_paths: Vec<PathBuf> = true_paths.filter(|path| path != Path::new(NOTHING)).collect();
        places.extend(true_paths);
        places.sort();
        places.dedup();
        let mounts = self.pins.parent().filter(|_| !self.no_pins).map(Path::to_owned).into_iter().collect();
        let (mut groups, mut groups_above) = (Vec::new(), Vec::new());
        for upwards in std::iter::once(cgroup::own()).chain(cgroup::own_by_controller()) {
            let mut upwards = upwards.into_iter();
            groups.extend(upwards.next());
            groups_above.extend(upwards);
        }
        Own { exe: std::env::current_exe().ok(), places, mounts, groups, groups_above }
    }

    /// The folder of pins, and what daemons have left there that died.
    fn inherit(&self) -> (Option<Folder>, Inheritance) {
        if self.no_pins {
            return (None, Inheritance::default());
        }
        let open = || {
            let folder = Folder::open(&self.pins)?;
            let inheritance = Inheritance::of(&folder)?;
            Ok((Some(folder), inheritance))
        };
        open().unwrap_or_else(|error| {
            mortal(&error);
            (None, Inheritance::default())
        })
    }

    /// Reads the policy; one that names neither agents nor control groups would guard nothing.
    fn load_policy(&self, own: &Own) -> anyhow::Result<Whole> {
        with_agents(self.common.load_policy(own)?).map_err(|failure| anyhow::anyhow!("{failure}"))
    }

    /// What reads the policy anew for the control API.
    fn reread(&self, own: &Arc<Own>) -> Reread {
        let (named, own) = (self.common.policy.clone(), Arc::clone(own));
        Arc::new(move || read_policy(named.as_deref(), &own))
    }

    /// Reads the policy anew and puts it in force; the old one stays where that fails.
    fn reload(&self, watch: &mut Watch<'_>, own: &Own) {
        let result = match self.load_policy(own) {
            Ok(policy) => watch.reload(policy),
            Err(error) => {
                watch.refuse_policy(&format!("{error:#}"));
                Err(error)
            }
        };
        match result {
            Ok(()) => tracing::info!("the policy was read anew, mode {}", watch.mode().word()),
            Err(error) => tracing::error!("the policy that was in force stays:\n{error:#}"),
        }
    }
}

/// Says that nothing outlives the daemon.
fn mortal(error: &anyhow::Error) {
    tracing::warn!("should the daemon be killed, nothing is enforced until the next one: {error:#}");
}

/// Whom a policy guards.
fn whom(policy: &Compiled) -> String {
    let agents = policy.agents.iter().map(|agent| agent.name.clone());
    let groups = policy.groups.iter().map(|group| format!("the control group {group}"));
    agents.chain(groups).collect::<Vec<_>>().join(", ")
}

/// What guards, in a line.
fn how(watch: &Watch<'_>) -> String {
    format!("mode {}, by {}", watch.mode().word(), watch.backends())
}

/// The next change of the policy's file, if it is read from one.
async fn next(changes: &mut Option<Changes>) {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}
