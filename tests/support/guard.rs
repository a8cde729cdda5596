//! guard itself, run and watched.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::kernel::require_kernel;
use crate::place::{Scratch, built};
use crate::run::{Finished, Job, Running};

/// The `guard` under test.
#[must_use]
pub fn binary() -> PathBuf {
    std::env::var_os("GUARD_BIN").map_or_else(|| built("guard"), PathBuf::from)
}

/// The folder of the policies we ship.
#[must_use]
pub fn policies() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    folder.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

/// The policy we ship for those who choose none.
#[must_use]
pub fn shipped() -> PathBuf {
    policies().join("default.toml")
}

/// A guard with a policy, ready to run things.
#[derive(Clone, Debug)]
pub struct Guard {
    program: PathBuf,
    policy: PathBuf,
    events: PathBuf,
    recorded: bool,
    flags: Vec<OsString>,
    patience: Duration,
    /// Where the daemon's pins go, if there are any.
    pins: Option<PathBuf>,
    /// Whether it is asked before protected files are opened.
    fanotify: bool,
}

impl Guard {
    /// With this policy text.
    #[must_use]
    pub fn new(scratch: &Scratch, policy: &str) -> Self {
        Self::of(scratch, scratch.write(fresh("policy", "toml"), policy))
    }

    /// With the policy we ship for those who choose none.
    #[must_use]
    pub fn shipped(scratch: &Scratch) -> Self {
        Self::of(scratch, shipped())
    }

    /// With the policy in this file. Its own files go to the scratch folder.
    #[must_use]
    pub fn of(scratch: &Scratch, policy: PathBuf) -> Self {
        require_kernel();
        Self {
            program: binary(),
            policy,
            events: scratch.join(fresh("events", "jsonl")),
            recorded: true,
            flags: Vec::new(),
            patience: PATIENCE,
            pins: None,
            fanotify: false,
        }
    }

    /// One more argument of guard's own.
    #[must_use]
    pub fn flag(mut self, flag: impl Into<OsString>) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// Computes every verdict and carries none out.
    #[must_use]
    pub fn audit(self) -> Self {
        self.flag("--audit")
    }

    /// Records no events: there will be too many.
    #[must_use]
    pub fn unrecorded(self) -> Self {
        Self { recorded: false, ..self }
    }

    /// Waits so long for the daemon: the machine is slow, and loading programs is most of what a start takes.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// What the daemon enforces goes on when it is killed, by pins in this folder.
    #[must_use]
    pub fn standing(self, pins: &Path) -> Self {
        Self { pins: Some(pins.to_owned()), ..self }
    }

    /// By this program, which is guard as well.
    #[must_use]
    pub fn by(self, program: &Path) -> Self {
        Self { program: program.to_owned(), ..self }
    }

    /// Is asked before protected files are opened. Without it, what other backends do can be seen by itself.
    #[must_use]
    pub fn fanotify(self) -> Self {
        Self { fanotify: true, ..self }
    }

    /// The same job, under `guard run`.
    #[must_use]
    pub fn job(&self, job: &Job) -> Job {
        job.clone().under(self.command("run").into_iter().chain(["--".into()]))
    }

    /// Runs a job under guard to its end.
    #[must_use]
    pub fn run(&self, job: &Job) -> Guarded {
        let done = self.job(job).run();
        Guarded { done, events: self.events() }
    }

    /// The events that were recorded, once it has run.
    #[must_use]
    pub fn events(&self) -> Events {
        // Without a single event there may be no file; that guard started at all is for the caller to see.
        Events::parse(&fs::read_to_string(&self.events).unwrap_or_default())
    }

    /// Starts the daemon, which watches the whole machine for this policy's agents, and waits until it does.
    #[must_use]
    pub fn daemon(&self) -> Daemon {
        let socket = Socket::new();
        let mut running = self.start_daemon(socket.path());
        let deadline = Instant::now() + self.patience;
        while !running.stderr().contains(READY) {
            let said = running.stderr();
            assert!(!running.ended(), "the daemon ended at once: {said}");
            assert!(Instant::now() < deadline, "the daemon does not get ready: {said}");
            std::thread::sleep(Duration::from_millis(5));
        }
        Daemon { running, events: self.events.clone(), socket }
    }

    /// Starts the daemon with its control API at `socket`, and waits for nothing.
    #[must_use]
    pub fn start_daemon(&self, socket: &Path) -> Running {
        self.daemon_job(socket).start()
    }

    /// The daemon with its control API at `socket`, to be started.
    #[must_use]
    pub fn daemon_job(&self, socket: &Path) -> Job {
        let mut front = self.command("daemon");
        let program = front.remove(0);
        let pins = match &self.pins {
            Some(pins) => vec!["--pins".into(), pins.clone().into_os_string()],
            None => vec!["--no-pins".into()],
        };
        Job::new(program, Path::new("/")).args(front).args(pins).arg("--socket").arg(socket)
    }

    fn command(&self, task: &str) -> Vec<OsString> {
        let mut command: Vec<OsString> = vec![self.program.clone().into(), task.into(), "--policy".into()];
        command.push(self.policy.clone().into());
        if self.recorded {
            command.extend(["--events".into(), self.events.clone().into()]);
        }
        if !self.fanotify {
            command.push("--without-fanotify".into());
        }
        command.extend(self.flags.iter().cloned());
        command
    }
}

/// What the daemon says once everything that starts from then on is seen.
const READY: &str = "guarding";

/// How long the daemon may take to get ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// A file name that no other guard of this process uses.
fn fresh(stem: &str, extension: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{stem}-{}.{extension}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A place for a daemon's socket: short, and where every user may go. Gone with this.
#[derive(Debug)]
pub struct Socket(PathBuf);

impl Socket {
    /// Finds one that nobody else uses.
    #[must_use]
    pub fn new() -> Self {
        let name = fresh(&format!("guard-test-{}", std::process::id()), "sock");
        Self(std::env::temp_dir().join(name))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for Socket {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A daemon that ended well has removed it.
        fs::remove_file(&self.0).unwrap_or_default();
    }
}

/// A daemon that runs; stopped when dropped.
#[derive(Debug)]
pub struct Daemon {
    running: Running,
    events: PathBuf,
    socket: Socket,
}

impl Daemon {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Where its control API is.
    #[must_use]
    pub fn socket(&self) -> &Path {
        self.socket.path()
    }

    /// The file that its events go to.
    #[must_use]
    pub fn events_file(&self) -> &Path {
        &self.events
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Kills it, and gives all its events once it is gone.
    #[must_use]
    pub fn killed(mut self, signal: Signal) -> Guarded {
        self.running.renew_limit();
        self.running.signal(signal);
        let done = self.running.wait();
        Guarded { done, events: events_in(&self.events, 0).0 }
    }

    /// What it has said on standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.running.stderr()
    }

    /// The events it has written so far.
    #[must_use]
    pub fn events(&self) -> Events {
        self.events_since(0).0
    }

    /// The events it has written after `from` bytes of them, and how many bytes there are now.
    #[must_use]
    pub fn events_since(&self, from: usize) -> (Events, usize) {
        events_in(&self.events, from)
    }

    /// Waits for an event, and gives all there are by then.
    ///
    /// # Panics
    /// When it does not come within ten seconds.
    #[must_use]
    pub fn wait_for(&self, what: &str, matches: impl Fn(&Value) -> bool) -> Events {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let events = self.events();
            if events.0.iter().any(&matches) {
                return events;
            }
            assert!(Instant::now() < deadline, "no event: {what}\n{events}\n{}", self.stderr());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to stop, waits until it has, and gives all its events.
    #[must_use]
    pub fn stop(mut self) -> Guarded {
        self.running.renew_limit();
        self.running.signal(Signal::SIGTERM);
        let done = self.running.wait();
        Guarded { done, events: Events::parse(&fs::read_to_string(&self.events).unwrap_or_default()) }
    }
}

/// The events in a file that is being written after `from` bytes, and how many bytes there are now.
fn events_in(file: &Path, from: usize) -> (Events, usize) {
    let bytes = fs::read(file).unwrap_or_default();
    // The last line may be half written.
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(from, |last| last + 1);
    (Events::parse(&String::from_utf8_lossy(&bytes[from..whole])), whole)
}

/// A guard that has run.
#[derive(Clone, Debug)]
pub struct Guarded {
    /// How it ended and what was said, by guard on standard error, by the job on both.
    pub done: Finished,
    /// What it recorded.
    pub events: Events,
}

/// Events, in the order they were written.
#[derive(Clone, Debug, Default)]
pub struct Events(pub Vec<Value>);

impl Events {
    /// Reads JSON lines.
    ///
    /// # Panics
    /// When a line isn't JSON.
    #[must_use]
    pub fn parse(lines: &str) -> Self {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in event {line}"));
        Self(lines.lines().map(parse).collect())
    }

    /// Those of one operation.
    pub fn op<'a>(&'a self, op: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |event| event["op"] == op)
    }

    /// Those that a rule decided.
    pub fn rule<'a>(&'a self, rule: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |event| event["verdict"]["rule"] == rule)
    }

    /// Those that were not let through, or in audit mode would not have been.
    pub fn denials(&self) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(|event| ["deny", "kill"].iter().any(|action| event["verdict"]["action"] == *action))
    }

    /// Fails on events that the kernel could not hand over.
    ///
    /// # Panics
    /// When there are any.
    pub fn none_lost(&self) {
        assert_eq!(self.op("lost").count(), 0, "{self}");
    }
}

/// What a failing test shows: what was not simply allowed, and is not just the end of a process.
impl std::fmt::Display for Events {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut told = self.0.iter().filter(|event| event["verdict"]["action"] != "allow" && event["op"] != "exit");
        told.try_for_each(|event| writeln!(out, "{event}"))
    }
}
