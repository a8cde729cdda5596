//! `guard run -- CMD`: one tree, from its first instruction to its end.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use guard_common::tree::{Id, MEMBER_AGENT, MEMBER_RUN, Member, NO_AGENT, id_of};
use guard_common::words::{Mode, Scope};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::screen::Screen;
use super::user::Caller;
use super::webhook::WebhookOptions;
use super::{Common, LogOptions};
use crate::alert::Alerts;
use crate::kernel;
use crate::policy::Own;
use crate::session::repo;
use crate::watch::{Watch, ticks};

/// Exit code where CMD could not be found, as shells have it.
const NOT_FOUND: u8 = 127;
/// Exit code where CMD could not be executed.
const NOT_EXECUTABLE: u8 = 126;
/// How long the end of the tree is waited for once CMD has ended.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// Run a command under guard, to its end.
///
/// Runs CMD as the calling user, follows it and all that descends from it, and returns its exit code (128 and the
/// signal's number, if a signal ended it). guard's own failures have exit code 125, a CMD that is not found 127.
///
/// A line on standard error tells of each verdict that is not `allow`, and one at the end sums up.
#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    common: Common,
    /// Tell of verdicts as lines of JSON instead of sentences
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    webhook: WebhookOptions,
    /// The command, and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Run {
    /// What it logs, and how.
    pub(super) fn log(&self) -> &LogOptions {
        &self.common.log
    }

    /// Does it.
    ///
    /// # Errors
    /// Whatever keeps guard from guarding; CMD has not been started then.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let policy = self.common.load_policy(&Own::default())?;
        kernel::check_requirements()?;
        let caller = Caller::find()?;
        let screen = Screen::new(self.json, &self.common.log);
        let webhook = self.webhook.start()?;
        let sink = self.common.sink()?;
        let settings = self.common.settings(false);
        let alerts = RefCell::new(Alerts::by(&self.common.notify));
        let mut watch = Watch::load(&settings, policy, self.common.audit, sink, |event| {
            alerts.borrow_mut().tell(event);
            screen.show(event);
        })?;
        if let Some(webhook) = webhook {
            watch.send_to(webhook);
        }
        watch.attach()?;

        // The person's Ctrl-C is for the command; guard stays until it has ended.
        let mut interrupts = [signal(SignalKind::interrupt())?, signal(SignalKind::quit())?];
        let mut forwarded =
            [(signal(SignalKind::terminate())?, libc::SIGTERM), (signal(SignalKind::hangup())?, libc::SIGHUP)];
        let (mut child, tree) = match self.start(&mut watch, &caller)? {
            Started::Running(child, tree) => (child, tree),
            Started::Failed(code) => return Ok(ExitCode::from(code)),
        };
        let mut ended = signal(SignalKind::child())?;
        let mut tick = ticks();
        let status = loop {
            if let Some(status) = child.try_wait().context("the command can't be waited for")? {
                break status;
            }
            let [interrupt, quit] = &mut interrupts;
            tokio::select! {
                result = watch.step() => result?,
                _ = tick.tick() => {
                    watch.tick();
                    alerts.borrow_mut().tick();
                }
                _ = ended.recv() => {}
                _ = interrupt.recv() => {}
                _ = quit.recv() => {}
                number = next_of(&mut forwarded) => send(&child, number),
            }
        };
        // The last records are on their way, and what was left behind is to be judged.
        let deadline = tokio::time::Instant::now() + END_TIMEOUT;
        watch.tick();
        while !watch.ended(tree) && tokio::time::Instant::now() < deadline {
            tokio::select! {
                result = watch.step() => result?,
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
            watch.tick();
        }
        watch.stop_preventing();
        watch.tick();
        let audit = watch.mode() == Mode::Audit;
        screen.summary(watch.totals(), audit);
        Ok(ExitCode::from(code_of(status)))
    }

    /// Starts CMD as a member of a tree: the child waits before its exec until it was entered.
    fn start(&self, watch: &mut Watch<'_>, caller: &Caller) -> anyhow::Result<Started> {
        let [program, arguments @ ..] = self.command.as_slice() else {
            anyhow::bail!("there is no command to run");
        };
        let (mut pid_in, pid_out) = std::io::pipe().context("no pipe")?;
        let (go_in, mut go_out) = std::io::pipe().context("no pipe")?;
        let mut command = Command::new(program);
        command.args(arguments).envs(caller.variables.iter().map(|(name, value)| (name, value)));
        let (tell, wait) = (pid_out.as_raw_fd(), go_in.as_raw_fd());
        let them = Caller::find()?;
        // SAFETY: between fork and exec only system calls are made: getpid, write, read, and those that change the
        // user; all memory they use was allocated before.
        unsafe {
            command.pre_exec(move || {
                let pid = libc::getpid();
                let bytes = pid.to_ne_bytes();
                if libc::write(tell, bytes.as_ptr().cast(), bytes.len()) != bytes.len() as isize {
                    return Err(std::io::Error::last_os_error());
                }
                let mut go = 0u8;
                // Without guard's word nothing is executed.
                if libc::read(wait, (&raw mut go).cast(), 1) != 1 {
                    return Err(std::io::Error::from_raw_os_error(libc::ECANCELED));
                }
                them.become_them().map_err(std::io::Error::from)
            });
        }
        // `spawn` returns once the exec has happened, which waits for us: so it runs beside.
        let spawning = std::thread::spawn(move || command.spawn());
        let mut pid = [0; 4];
        pid_in.read_exact(&mut pid).context("the command's process did not start")?;
        let pid = u32::from_ne_bytes(pid);
        let tree = enter(watch, pid, caller)?;
        go_out.write_all(&[1]).context("the command's process ended before its time")?;
        drop((pid_out, go_in));
        match spawning.join() {
            Ok(Ok(child)) => Ok(Started::Running(child, tree)),
            Ok(Err(error)) => {
                let name = program.to_string_lossy();
                let code = if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
                tracing::error!("{name}: {error}");
                Ok(Started::Failed(code))
            }
            Err(_) => anyhow::bail!("the thread that starts the command failed"),
        }
    }
}

/// How starting CMD went.
enum Started {
    Running(Child, Id),
    Failed(u8),
}

/// Enters the process that will be CMD as the root of a tree.
fn enter(watch: &mut Watch<'_>, pid: u32, caller: &Caller) -> anyhow::Result<Id> {
    let stat = procfs::process::Process::new(pid as i32)
        .and_then(|process| process.stat())
        .context("the command's process is gone")?;
    let start = stat.starttime * (1_000_000_000 / procfs::ticks_per_second());
    let tree = id_of(pid, start);
    let member = Member {
        tree,
        call: 0,
        start,
        agent: NO_AGENT,
        scope: Scope::Harness as u8,
        flags: MEMBER_AGENT | MEMBER_RUN,
        image: tree,
        ..Member::default()
    };
    let cwd = std::env::current_dir().unwrap_or_default();
    let top = repo::top_level(&cwd);
    watch.enter_root(pid, member, top.as_os_str().as_bytes(), &caller.home)?;
    Ok(tree)
}

/// The next of these signals to arrive.
async fn next_of(signals: &mut [(Signal, i32); 2]) -> i32 {
    let [(first, first_number), (second, second_number)] = signals;
    tokio::select! {
        _ = first.recv() => *first_number,
        _ = second.recv() => *second_number,
    }
}

/// Passes a signal on to the command.
fn send(child: &Child, number: i32) {
    // SAFETY: no pointers; the child has not been waited for, so its id is its own.
    unsafe { libc::kill(child.id() as i32, number) };
}

/// The exit code that stands for how a command ended.
fn code_of(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code as u8,
        (None, Some(signal)) => 128 + signal as u8,
        (None, None) => super::FAILED,
    }
}
