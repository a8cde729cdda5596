//! The command line: a file a subcommand.

mod changes;
mod completions;
mod daemon;
mod doctor;
mod man;
mod notices;
mod phase;
mod policy;
mod run;
mod screen;
mod service;
mod standalone;
mod supervisor;
mod top;
mod unpin;
mod user;
mod webhook;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

use crate::alert::{Way, helper};
use crate::kernel::Settings;
use crate::logs::{self, Format};
use crate::policy::{Failure, Own, Source, Whole, default_text, named, shipped, source};
use crate::prevent::backstop;
use crate::record::Sink;

/// Exit code when guard itself fails; as `env` and `timeout` use it.
const FAILED: u8 = 125;

/// Follows coding agents in the kernel, stops what the policy forbids, and records who did what.
#[derive(Parser)]
#[command(name = "guard", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

// What is said of each stands at its options: said here, it would take the place of all that is said there.
#[derive(Subcommand)]
enum Command {
    Run(run::Run),
    Daemon(daemon::Daemon),
    Doctor(doctor::Doctor),
    Phase(phase::Phase),
    Top(top::Top),
    /// Have systemd run the daemon: install it, uninstall it, say how it is
    #[command(subcommand)]
    Service(service::Service),
    Unpin(unpin::Unpin),
    /// Check policies, and make and test them
    #[command(subcommand)]
    Policy(policy::Policy),
    Completions(completions::Completions),
    /// Show notifications on a user's desktop
    #[command(name = helper::NAME, hide = true)]
    ShowNotices(notices::Notices),
    /// Let everybody pass who waits, should guard be stopped
    #[command(name = backstop::NAME, hide = true)]
    Backstop,
    /// Write the manual pages
    #[command(hide = true)]
    Man(man::Man),
}

/// Writes to standard output; whoever reads may have had enough.
fn print(bytes: &[u8]) -> anyhow::Result<ExitCode> {
    match std::io::stdout().write_all(bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("standard output"),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// What `run` and `daemon` have in common.
#[expect(clippy::struct_excessive_bools, reason = "options that have nothing to do with each other")]
#[derive(Args)]
struct Common {
    /// Policy to guard by: a file, or one that guard ships by its name: audit, default, isolated, local-model, strict,
    /// supply-chain. Without it, /etc/guard/policy.toml, or else default
    #[arg(long, value_name = "FILE|NAME")]
    policy: Option<PathBuf>,
    /// Append every event to FILE as a line of JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Carry nothing out: compute, count and report every verdict only
    #[arg(long)]
    audit: bool,
    /// Guard by a policy that denies what this kernel does not show: nothing of that is then prevented or recorded
    #[arg(long)]
    degrade: bool,
    /// Leave the kernel's security hooks alone, as where there are none: most of what is denied is then contained, not
    /// prevented, and some is not seen
    #[arg(long)]
    without_hooks: bool,
    /// Where no security hook is asked, don't look at what other calls than opens have done (removing, renaming, signals, mounts and
    /// the like): it saves a little time of each system call of the machine, and nothing of that is seen
    #[arg(long)]
    without_calls: bool,
    /// Do not be asked (by fanotify) before protected files are opened, where the security hooks are not: what is denied is then
    /// contained, not prevented
    #[arg(long)]
    without_fanotify: bool,
    /// Tell whoever works with the agent when something is denied
    #[arg(long, value_name = "WAY", value_enum, value_delimiter = ',')]
    notify: Vec<Way>,
    #[command(flatten)]
    log: LogOptions,
    /// Show the kernel programs' own diagnostics
    #[arg(long)]
    debug: bool,
    /// Size of the ring buffer for verdicts and processes' lives, in bytes (a power of two, at least 4096)
    #[arg(long, value_name = "BYTES", default_value_t = Settings::default().verdict_ring, value_parser = ring_size)]
    verdict_ring: u32,
    /// Size of the ring buffer for allowed operations, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = Settings::default().bulk_ring, value_parser = ring_size)]
    bulk_ring: u32,
    /// Processes that can be guarded at once; one more is killed when it is forked
    #[arg(long, value_name = "N", default_value_t = Settings::default().max_processes, value_parser = clap::value_parser!(u32).range(1..=1 << 22))]
    max_processes: u32,
}

/// What is logged, and how.
#[derive(Args, Clone, Default)]
struct LogOptions {
    /// How to write the log: as sentences, or as JSON for whatever collects logs
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    log_format: Format,
    /// What to log: off, error, warn, info, debug or trace; by part of the program too, such as info,guard=debug
    #[arg(long, value_name = "LEVEL", env = "GUARD_LOG", hide_env_values = true, default_value = "info", value_parser = logs::filter)]
    log_level: Option<Targets>,
}

impl LogOptions {
    /// Begins to log.
    fn start(&self) {
        let default = || Targets::new().with_default(LevelFilter::INFO);
        logs::start(self.log_format, self.log_level.clone().unwrap_or_else(default));
    }
}

/// Where an administrator's policy is looked for.
const SYSTEM_POLICY: &str = "/etc/guard/policy.toml";

/// The policy that is used where none is named.
fn in_use() -> Result<Arc<Source>, Failure> {
    let system = Path::new(SYSTEM_POLICY);
    if system.exists() { source(system) } else { Ok(Source::new("the policy that guard ships", default_text())) }
}

/// Reads the size of a ring buffer.
fn ring_size(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(size) if size.is_power_of_two() && (4096..=1 << 30).contains(&size) => Ok(size),
        _ => Err("expected a power of two from 4096 to 1073741824".to_owned()),
    }
}

impl Common {
    fn settings(&self, host_wide: bool) -> Settings {
        Settings {
            host_wide,
            verdict_ring: self.verdict_ring,
            bulk_ring: self.bulk_ring,
            max_processes: self.max_processes,
            debug: self.debug,
            degrade: self.degrade,
            without_hooks: self.without_hooks,
            without_calls: self.without_calls,
            fanotify: !self.without_fanotify,
            ..Settings::default()
        }
    }

    /// Reads and compiles the policy, with what guard forbids for the sake of its own things.
    fn load_policy(&self, own: &Own) -> anyhow::Result<Whole> {
        let policy = read_policy(self.policy.as_deref(), own).map_err(|failure| anyhow::anyhow!("{failure}"))?;
        for warning in &policy.compiled.warnings {
            tracing::warn!("{warning}");
        }
        Ok(policy)
    }

    /// The file that the policy is read from, if it is not one that guard ships.
    fn policy_file(&self) -> Option<PathBuf> {
        match &self.policy {
            Some(policy) => Some(policy.clone()).filter(|policy| shipped(policy).is_none()),
            None => Some(PathBuf::from(SYSTEM_POLICY)).filter(|path| path.exists()),
        }
    }

    fn sink(&self) -> anyhow::Result<Option<Sink>> {
        Ok(self.events.as_deref().map(Sink::open).transpose()?)
    }
}

/// Reads and compiles a policy that was named on the command line, or else the one in use, with what guard forbids for the sake of its own
/// things.
fn read_policy(name: Option<&Path>, own: &Own) -> Result<Whole, Failure> {
    name.map_or_else(in_use, named).and_then(|source| own.read(source))
}

/// Runs the program; the exit code is the command's own where there is one.
#[must_use]
pub fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("guard: no runtime: {error}");
            return ExitCode::from(FAILED);
        }
    };
    let command = Cli::parse().command;
    match &command {
        Command::Run(run) => run.log().start(),
        Command::Daemon(daemon) => daemon.log().start(),
        // What is written beside a screen would spoil it.
        Command::Top(_) => logs::start(Format::Text, Targets::new().with_target(logs::END, LevelFilter::ERROR)),
        _ => LogOptions::default().start(),
    }
    let result = match command {
        Command::Run(run) => runtime.block_on(run.run()),
        Command::Daemon(daemon) => runtime.block_on(daemon.run()),
        Command::Doctor(doctor) => doctor.run(),
        Command::Phase(phase) => runtime.block_on(phase.run()),
        Command::Top(top) => top.run(),
        Command::Service(service) => service.run(&runtime),
        Command::Unpin(unpin) => unpin.run(),
        Command::Policy(policy) => runtime.block_on(policy.run()),
        Command::Completions(completions) => completions.run(),
        Command::ShowNotices(notices) => Ok(notices.run()),
        Command::Backstop => Ok(backstop::run()),
        Command::Man(man) => man.run(),
    };
    result.unwrap_or_else(|error| {
        tracing::error!(target: logs::END, "{error:#}");
        ExitCode::from(FAILED)
    })
}
