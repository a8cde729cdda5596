//! The worker where it is wanted: alone on the machine, beside a daemon, or inside a tree.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::guard::binary;
use support::place::Scratch;

/// How long anything may take to start or to answer.
const LIMIT: Duration = Duration::from_mins(1);

/// Where the worker works.
pub enum Place {
    /// On a machine without guard.
    Alone,
    /// On a machine with a daemon of this policy, which does not guard it.
    Outside(&'static str),
    /// In a tree of this policy.
    Inside(&'static str),
}

impl Place {
    /// For people.
    pub fn name(&self) -> String {
        match self {
            Self::Alone => "without guard".to_owned(),
            Self::Outside(_) => "outside".to_owned(),
            Self::Inside(policy) => format!("inside, {}", policy.trim_end_matches(".toml")),
        }
    }
}

/// A guard that runs, and what it says on standard error.
pub struct Guard {
    child: Child,
    said: PathBuf,
}

impl Guard {
    fn start(scratch: &Scratch, command: &mut Command) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let said = scratch.join(format!("said-{}.txt", COUNT.fetch_add(1, Ordering::Relaxed)));
        command.stderr(File::create(&said).expect("a file can be made"));
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, said }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).expect("it takes signals");
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// Waits until it has said something.
    pub fn wait_until(&mut self, enough: impl Fn(&str) -> bool) {
        let began = Instant::now();
        while !enough(&self.said()) {
            let ended = self.child.try_wait().expect("a child can be waited for").is_some();
            assert!(!ended && began.elapsed() < LIMIT, "guard fails: {}", self.said());
            sleep(Duration::from_millis(1));
        }
    }

    /// Waits for its end; how many events of the bulk it says it has lost.
    pub fn wait(mut self) -> u64 {
        let status = self.child.wait().expect("a child can be waited for");
        let said = self.said();
        assert!(status.success(), "{status}: {said}");
        fs::remove_file(&self.said).expect("a file can be removed");
        let lost =
            |line: &str| line.strip_prefix("guard: lost: ")?.strip_suffix(" x bulk-ring-full")?.parse::<u64>().ok();
        said.lines().filter_map(lost).sum()
    }

    /// Ends a daemon.
    pub fn stop(self) {
        self.signal(Signal::SIGTERM);
        self.wait();
    }
}

/// Starts a daemon and waits until it guards.
pub fn daemon(scratch: &Scratch, policy: &str, json: bool) -> Guard {
    daemon_with(scratch, &scratch.join(policy), json)
}

/// The same, with a policy from anywhere.
pub fn daemon_with(scratch: &Scratch, policy: &Path, json: bool) -> Guard {
    let mut command = Command::new(binary());
    command.args(["daemon", "--no-pins"]).args(json.then_some("--json")).arg("--policy").arg(policy);
    start_daemon(scratch, command)
}

/// The same, with its control API at `socket`; no files are marked.
pub fn daemon_at(scratch: &Scratch, policy: &Path, socket: &Path) -> Guard {
    let mut command = Command::new(binary());
    command.args(["daemon", "--no-pins", "--without-fanotify", "--policy"]).arg(policy).arg("--socket").arg(socket);
    start_daemon(scratch, command)
}

fn start_daemon(scratch: &Scratch, mut command: Command) -> Guard {
    command.stdin(Stdio::null());
    let mut guard = Guard::start(scratch, &mut command);
    guard.wait_until(|said| said.contains("guarding"));
    guard
}

/// `guard run`, up to and with its `--`.
pub fn run(scratch: &Scratch, policy: &str) -> Command {
    let mut command = Command::new(binary());
    // Looking for files to be marked would take a part of what is measured; that has its own measure.
    command.args(["run", "--without-fanotify", "--policy"]).arg(scratch.join(policy));
    command
}

/// This program as a worker.
fn work(front: Option<Command>, folder: &Path) -> Command {
    let me = std::env::current_exe().expect("a program knows its own path");
    let mut command = match front {
        Some(mut front) => {
            front.arg("--").arg(me);
            front
        }
        None => Command::new(me),
    };
    command.arg("work").arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// A worker, and the guard it works under or beside.
pub struct Worker {
    guard: Option<Guard>,
    alone: Option<Child>,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts it and waits until it is ready.
    pub fn start(scratch: &Scratch, place: &Place) -> Self {
        match place {
            Place::Alone => Self::beside(scratch, None),
            Place::Outside(policy) => Self::beside(scratch, Some(daemon(scratch, policy, false))),
            Place::Inside(policy) => Self::under(scratch, run(scratch, policy)),
        }
    }

    fn beside(scratch: &Scratch, guard: Option<Guard>) -> Self {
        let mut alone = work(None, scratch.path()).spawn().expect("a worker starts");
        let (orders, answers) = (alone.stdin.take().expect("a pipe"), alone.stdout.take().expect("a pipe"));
        Self { guard, alone: Some(alone), orders, answers: BufReader::new(answers) }.ready()
    }

    /// Starts this program by another path, for a daemon that runs.
    pub fn of(scratch: &Scratch, program: &Path) -> Self {
        let mut command = Command::new(program);
        command.arg("work").arg(scratch.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut alone = command.spawn().expect("a worker starts");
        let (orders, answers) = (alone.stdin.take().expect("a pipe"), alone.stdout.take().expect("a pipe"));
        Self { guard: None, alone: Some(alone), orders, answers: BufReader::new(answers) }.ready()
    }

    /// Starts it under the guard that `front` begins.
    pub fn under(scratch: &Scratch, front: Command) -> Self {
        let mut guard = Guard::start(scratch, &mut work(Some(front), scratch.path()));
        let (orders, answers) =
            (guard.child.stdin.take().expect("a pipe"), guard.child.stdout.take().expect("a pipe"));
        Self { guard: Some(guard), alone: None, orders, answers: BufReader::new(answers) }.ready()
    }

    fn ready(mut self) -> Self {
        assert_eq!(self.answer(), "ready");
        self
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        let said = self.guard.as_ref().map(Guard::said).unwrap_or_default();
        assert!(!line.is_empty(), "the worker is gone: {said}");
        line.trim_end().to_owned()
    }

    /// Gives an order; its answer's two numbers.
    pub fn order(&mut self, order: &str) -> (f64, f64) {
        writeln!(self.orders, "{order}").expect("the worker listens");
        let answer = self.answer();
        let mut numbers = answer.split(' ').map(|word| word.parse().expect("a number"));
        (numbers.next().expect("a number"), numbers.next().expect("another"))
    }

    /// Has a loop run; nanoseconds an operation, and how many there were.
    pub fn run(&mut self, what: &str, time: Duration) -> (f64, f64) {
        self.order(&format!("{what} {}", time.as_millis()))
    }

    /// The guard's process id.
    pub fn guard(&self) -> u32 {
        self.guard.as_ref().expect("there is a guard").pid()
    }

    /// Lets it end; how many events of the bulk guard has lost.
    pub fn stop(self) -> u64 {
        let Self { guard, alone, orders, answers } = self;
        drop((orders, answers));
        if let Some(mut alone) = alone {
            assert!(alone.wait().expect("a child can be waited for").success(), "the worker failed");
            if let Some(daemon) = guard {
                daemon.stop();
            }
            return 0;
        }
        guard.map_or(0, Guard::wait)
    }
}
