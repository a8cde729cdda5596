//! Runs a program with nothing of the caller's environment, and collects what it said, within a time limit.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Long enough for anything here on a slow machine; a test that gets here has hung.
const LIMIT: Duration = Duration::from_mins(2);
/// Where programs are found, on any machine.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program to run: what, where, with which environment.
#[derive(Clone, Debug)]
pub struct Job {
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: PathBuf,
    limit: Duration,
}

impl Job {
    /// Runs in `cwd`, with `PATH` and no more in its environment.
    #[must_use]
    pub fn new(program: impl AsRef<OsStr>, cwd: &Path) -> Self {
        Self {
            argv: vec![program.as_ref().to_owned()],
            env: vec![("PATH".into(), PATH.into())],
            cwd: cwd.to_owned(),
            limit: LIMIT,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.argv.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.argv.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// One more variable; a later one wins.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Another time limit.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The same, with another program and its arguments in front: `guard run --`, for one.
    #[must_use]
    pub fn under<S: AsRef<OsStr>>(mut self, front: impl IntoIterator<Item = S>) -> Self {
        self.argv.splice(0..0, front.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// The program and its arguments.
    #[must_use]
    pub fn argv(&self) -> &[OsString] {
        &self.argv
    }

    /// As a command of the standard library's, for those who want to start it themselves.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).env_clear().envs(self.env.iter().cloned()).current_dir(&self.cwd);
        command
    }

    /// Another program with this job's environment and folder.
    #[must_use]
    pub fn command_of(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(self.env.iter().cloned()).current_dir(&self.cwd);
        command
    }

    /// Starts it, without an input.
    #[must_use]
    pub fn start(&self) -> Running {
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", self.argv));
        let stdout = Tap::new(child.stdout.take().expect("a pipe"));
        let stderr = Tap::new(child.stderr.take().expect("a pipe"));
        Running { child, stdout, stderr, started, limit: self.limit, argv: self.argv.clone() }
    }

    /// Runs it to its end.
    #[must_use]
    pub fn run(&self) -> Finished {
        self.start().wait()
    }
}

/// A program that runs; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Tap,
    stderr: Tap,
    started: Instant,
    limit: Duration,
    argv: Vec<OsString>,
}

impl Running {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout.so_far()).into_owned()
    }

    /// What it has written to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.so_far()).into_owned()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid() as i32), signal).expect("it takes signals");
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// Starts its time limit anew: it has run for as long as it was meant to.
    pub fn renew_limit(&mut self) {
        self.limit += self.started.elapsed();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it takes longer than its limit.
    #[must_use]
    pub fn wait(mut self) -> Finished {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            if self.started.elapsed() > self.limit {
                let argv = self.argv.clone();
                let (stdout, stderr) = (self.stdout(), self.stderr());
                drop(self);
                panic!("{argv:?} did not end in time\nstdout: {stdout}\nstderr: {stderr}");
            }
            thread::sleep(Duration::from_millis(2));
        };
        let took = self.started.elapsed();
        // A descendant that lives on may hold the pipes open: what it writes is not waited for.
        let deadline = Instant::now() + Duration::from_secs(2);
        Finished { status, stdout: self.stdout.drain(deadline), stderr: self.stderr.drain(deadline), took }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone is what is wanted.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

/// Reads a pipe as it fills, so that nobody ever blocks on it.
#[derive(Debug)]
struct Tap {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Tap {
    fn new(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut buffer = [0; 16 << 10];
            while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..length]);
            }
        });
        Self { bytes, reader }
    }

    fn so_far(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn drain(&self, deadline: Instant) -> Vec<u8> {
        while !self.reader.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        self.so_far()
    }
}

/// A program that has run.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All it wrote to standard output.
    pub stdout: Vec<u8>,
    /// All it wrote to standard error.
    pub stderr: Vec<u8>,
    /// How long it took.
    pub took: Duration,
}

impl Finished {
    /// Standard output as text.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The exit code, or 128 and the signal's number, as a shell has it.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().or_else(|| self.status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
    }

    /// Itself, when it ended well.
    ///
    /// # Panics
    /// When it did not, with all it said.
    #[must_use]
    pub fn succeeded(self) -> Self {
        assert!(self.status.success(), "{}\nstdout: {}\nstderr: {}", self.status, self.out(), self.err());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Job {
        Job::new("sh", Path::new("/")).args(["-c", script])
    }

    #[test]
    fn output_and_end_are_collected() {
        let done = sh("echo out; echo err >&2; exit 3").run();
        assert_eq!((done.code(), done.out().as_str(), done.err().as_str()), (3, "out\n", "err\n"));
        assert_eq!(sh("kill -9 $$").run().code(), 137);
        assert_eq!(sh("echo $1").args(["x"]).env("A", "b").under(["env"]).env("A", "c").run().out(), "\n");
    }

    #[test]
    fn who_lives_on_is_not_waited_for() {
        let done = sh("sleep 30 & echo started").run();
        assert_eq!(done.out(), "started\n");
        assert!(done.took < Duration::from_secs(2));
    }

    #[test]
    #[should_panic(expected = "did not end in time")]
    fn who_hangs_is_killed() {
        drop(sh("exec sleep 30").limit(Duration::from_millis(50)).run());
    }
}
