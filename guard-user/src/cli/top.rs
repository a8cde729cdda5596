//! `guard top`: every session live.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;

use super::standalone::Standalone;
use super::{Common, LogOptions};
use crate::control;
use crate::kernel::Settings;
use crate::session::users;
use crate::top::app::{App, View};
use crate::top::look::Look;
use crate::top::sources::daemon::Client;
use crate::top::sources::replay::Replay;
use crate::top::sources::{Shared, Source};
use crate::top::{run, snapshot};

/// Show every session live.
///
/// Shows every session live: what it does, what was refused, and by which rule. Asks the daemon, unless it is to guard
/// by itself or to play a record.
#[expect(clippy::struct_excessive_bools, reason = "flags of the command line, each of its own")]
#[derive(Args)]
#[command(after_help = crate::top::keys::help())]
pub struct Top {
    /// Unix socket of the daemon's control API
    #[arg(long, value_name = "PATH", default_value = control::SOCKET)]
    socket: PathBuf,
    /// Guard by itself, as guard daemon does, for as long as it is looked at
    #[arg(long, conflicts_with_all = ["replay", "socket"])]
    standalone: bool,
    /// Policy to guard by: a file, or the name of one that guard ships. Without it, /etc/guard/policy.toml, or else
    /// default
    #[arg(long, value_name = "FILE|NAME", requires = "standalone")]
    policy: Option<PathBuf>,
    /// Append every event to FILE as a line of JSON
    #[arg(long, value_name = "FILE", requires = "standalone")]
    events: Option<PathBuf>,
    /// Carry nothing out: compute, count and show every verdict only
    #[arg(long, requires = "standalone")]
    audit: bool,
    /// Guard by a policy that denies what this kernel does not show: nothing of that is then prevented or recorded
    #[arg(long, requires = "standalone")]
    degrade: bool,
    /// Leave the kernel's security hooks alone, as where there are none
    #[arg(long, requires = "standalone")]
    without_hooks: bool,
    /// Don't look at what calls have done where no security hook is asked about it
    #[arg(long, requires = "standalone")]
    without_calls: bool,
    /// Do not be asked before protected files are opened
    #[arg(long, requires = "standalone")]
    without_fanotify: bool,
    /// Play a record that --events made, with its own timing; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    replay: Option<PathBuf>,
    /// Play it so many times as fast; max is as fast as it goes
    #[arg(long, value_name = "TIMES", default_value = "1", value_parser = speed, requires = "replay")]
    speed: f64,
    /// Begin with this view
    #[arg(long, value_name = "VIEW", default_value = "sessions", value_parser = ["sessions", "tree", "verdicts", "files", "cost"])]
    view: String,
    /// Write one screen as text, and end. A record is played to its end first, without its timing
    #[arg(long, conflicts_with = "json")]
    once: bool,
    /// Write what is known as one JSON document, and end
    #[arg(long)]
    json: bool,
    /// Columns and lines of --once; without it the terminal's, or 80x24
    #[arg(long, value_name = "COLUMNSxLINES", value_parser = size, requires = "once")]
    size: Option<(u16, u16)>,
    /// Gather events for so long before --once or --json write, where no record is played
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    wait: f64,
}

/// Reads how fast a record is played.
fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(f64::INFINITY),
        Ok(speed) if (0.01..=10_000.0).contains(&speed) => Ok(speed),
        _ => Err("expected a number from 0.01 to 10000, or max".to_owned()),
    }
}

/// Reads the size of a screen.
fn size(text: &str) -> Result<(u16, u16), String> {
    let parsed = text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    parsed
        .filter(|(width, height)| (40..=1000).contains(width) && (10..=1000).contains(height))
        .ok_or_else(|| "expected columns and lines from 40x10 to 1000x1000, such as 120x40".to_owned())
}

/// Reads a time to wait.
fn seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.0..=3600.0).contains(seconds))
        .ok_or_else(|| "expected seconds from 0 to 3600".to_owned())
}

impl Top {
    /// Does it.
    ///
    /// # Errors
    /// If there is nothing to show, or nothing to show it on.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let shared = Shared::new(users::name_of);
        let all_at_once = self.once || self.json;
        shared.set_speed(if all_at_once { f64::INFINITY } else { self.speed });
        let mut source = self.source(&shared)?;
        let view = snapshot::view(&self.view).unwrap_or(View::Sessions);
        let mut app = App::new(view, source.abilities());
        let result = if all_at_once {
            self.once(&shared, &mut *source, &mut app)
        } else {
            run::run(&shared, &mut *source, app, Look::of_environment())
        };
        shared.stop();
        source.join();
        result.map(|()| ExitCode::SUCCESS)
    }

    fn source(&self, shared: &Arc<Shared>) -> anyhow::Result<Box<dyn Source>> {
        if let Some(path) = &self.replay {
            return Ok(Box::new(Replay::start(path, shared)?));
        }
        if self.standalone {
            let settings = Settings::default();
            let common = Common {
                policy: self.policy.clone(),
                events: self.events.clone(),
                audit: self.audit,
                degrade: self.degrade,
                without_hooks: self.without_hooks,
                without_calls: self.without_calls,
                without_fanotify: self.without_fanotify,
                notify: Vec::new(),
                log: LogOptions::default(),
                debug: false,
                verdict_ring: settings.verdict_ring,
                bulk_ring: settings.bulk_ring,
                max_processes: settings.max_processes,
            };
            return Ok(Box::new(Standalone::start(common, shared)?));
        }
        let name = format!("daemon {}", self.socket.display());
        Ok(Box::new(Client::start(&self.socket, name, shared)?))
    }

    /// Waits until there is something to show, and writes it.
    fn once(&self, shared: &Shared, source: &mut dyn Source, app: &mut App) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs_f64(self.wait);
        while !shared.complete() || self.replay.is_none() && Instant::now() < deadline {
            if let Some(failure) = source.failure() {
                return Err(failure);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        (app.around.source, app.around.state) = (source.name(), shared.state());
        let model = shared.model();
        let text = if self.json {
            snapshot::json(&model)? + "\n"
        } else {
            let size = self.size.or_else(|| crossterm::terminal::size().ok()).unwrap_or((80, 24));
            snapshot::screen(&model, app, Look::of_environment(), size)
        };
        match std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()) {
            // Whoever reads has had enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            result => Ok(result?),
        }
    }
}
