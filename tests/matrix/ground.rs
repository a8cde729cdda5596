//! Where attempts are made and what watches them: two folders, a policy, and one daemon.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use serde_json::Value;
use support::group::Group;
use support::guard::{Daemon, Events, Guard, Guarded};
use support::place::{Scratch, built};
use support::run::Job;
use support::stage::{FINE, SECRET, text};

use crate::kernel::Kernel;

/// The longest that loading may take, in a machine that is emulated.
pub const LOADING: Duration = Duration::from_mins(5);
/// The longest that an event may take, likewise.
const TELLING: Duration = Duration::from_secs(30);
/// The policy.
const POLICY: &str = include_str!("policy.toml");
/// The one after it.
const FREE_PROGRAMS: &str = include_str!("free-programs.toml");
/// The folder that is denied at first, and the one after a reload.
pub const RELOADED: [&str; 2] = ["first", "second"];

/// All of it.
pub struct Ground {
    /// The kernel under test.
    pub kernel: Kernel,
    /// How long the daemon took to get ready.
    pub loading: Duration,
    guard: Guard,
    /// The daemon.
    pub daemon: Daemon,
    /// Where attempts are made: on the disk, or what lies over it, and in memory.
    pub places: [PathBuf; 2],
    /// A control group that is guarded as a whole.
    pub group: Group,
    policy: PathBuf,
    log: RefCell<Log>,
    memory: Mounted<2>,
    scratch: Scratch,
}

/// The events so far, and how many bytes of the file they were.
#[derive(Default)]
struct Log {
    events: Vec<Value>,
    read: usize,
}

impl Ground {
    /// Prepares it, and waits until the daemon guards.
    pub fn new() -> Self {
        let scratch = Scratch::new("matrix");
        let memory = Mounted::new(&scratch, [("memory", "tmpfs"), ("bpf", "bpf")]);
        let places = ["disk", "memory"].map(|name| scratch.join(name));
        for place in &places {
            prepare(place);
        }
        let group = Group::new();
        let policy = scratch.write("policy.toml", policy(&scratch, &group, POLICY, RELOADED[0]));
        let started = Instant::now();
        let kernel = Kernel::this();
        let guard = Guard::of(&scratch, policy.clone()).patient(LOADING);
        let guard = guard.standing(&scratch.join("bpf/guard"));
        let daemon = guard.daemon();
        let loading = started.elapsed();
        Self { kernel, loading, guard, daemon, places, group, policy, log: RefCell::default(), memory, scratch }
    }

    /// Runs a job to its end; the events are those from its start until its process's end was told. What is allowed is
    /// told by another way, and may come later.
    pub fn run(&self, job: &Job) -> Guarded {
        let from = self.read();
        let running = job.start();
        let pid = running.pid();
        let done = running.wait();
        self.told("the end of an attempt", |event| event["op"] == "exit" && event["process"]["pid"] == pid);
        let events = Events(self.log.borrow().events[from..].to_vec());
        Guarded { done, events }
    }

    /// Makes an attempt by an agent in this folder.
    pub fn attempt<S: AsRef<OsStr>>(&self, place: &Path, words: impl IntoIterator<Item = S>) -> Guarded {
        self.run(&job(place, words))
    }

    /// An attempt on a file, a program's path or a unix socket that this rule denies; the event.
    pub fn denied<S: AsRef<OsStr>>(&self, rule: &str, place: &Path, words: impl IntoIterator<Item = S>) -> Value {
        self.denied_job(rule, &job(place, words))
    }

    /// The same of any job that ends as the attempt in it.
    pub fn denied_job(&self, rule: &str, job: &Job) -> Value {
        self.stopped(rule, job, self.kernel.prevents())
    }

    /// An attempt on a name, a process or on rights that this rule denies: refused where the kernel asks before, else contained;
    /// the event.
    pub fn held<S: AsRef<OsStr>>(
        &self,
        rule: &str,
        place: &Path,
        how: &str,
        words: impl IntoIterator<Item = S>,
    ) -> Value {
        self.stopped(rule, &job(place, words), self.kernel.asks(how))
    }

    /// The same of one that a call's end does not show: where the kernel does not ask before, it is neither hindered nor told.
    /// The event, where there is one.
    pub fn held_if_asked<S: AsRef<OsStr>>(
        &self,
        rule: &str,
        place: &Path,
        how: &str,
        words: impl IntoIterator<Item = S>,
    ) -> Option<Value> {
        let job = job(place, words);
        if self.kernel.asks(how) {
            return Some(self.stopped(rule, &job, true));
        }
        let Guarded { done, events } = self.run(&job);
        assert_eq!(done.code(), 0, "{:?}: {}\n{events}", job.argv(), done.err());
        assert_eq!(events.denials().count(), 0, "{:?}: {events}", job.argv());
        None
    }

    /// An attempt that this rule denies and no kernel prevents.
    pub fn contained<S: AsRef<OsStr>>(&self, rule: &str, place: &Path, words: impl IntoIterator<Item = S>) -> Value {
        self.contained_job(rule, &job(place, words))
    }

    /// The same of any job that ends as the attempt in it.
    pub fn contained_job(&self, rule: &str, job: &Job) -> Value {
        self.stopped(rule, job, false)
    }

    /// What a denial comes to. Prevented, it fails with EPERM, and the process lives to say so; contained, the process is
    /// killed. Neither way a byte of a file is out.
    fn stopped(&self, rule: &str, job: &Job, prevented: bool) -> Value {
        let Guarded { done, events } = self.run(job);
        let what = job.argv();
        let (code, backend) = if prevented { (1, "lsm") } else { (137, "signal") };
        assert_eq!((done.code(), done.out().as_str()), (code, ""), "{what:?}: {}\n{events}", done.err());
        assert!(!prevented || done.err().contains("refused: EPERM\n"), "{what:?}: {}", done.err());
        let denials: Vec<&Value> = events.denials().collect();
        assert_eq!(denials.len(), 1, "{what:?}: {events}");
        let verdict = &denials[0]["verdict"];
        assert_eq!((text(verdict, "/rule"), text(verdict, "/backend")), (rule, backend), "{what:?}: {events}");
        assert_eq!(verdict["enforced"], true, "{what:?}: {events}");
        denials[0].clone()
    }

    /// An attempt that nothing is to be said against; what it wrote to standard output.
    pub fn allowed<S: AsRef<OsStr>>(&self, place: &Path, words: impl IntoIterator<Item = S>) -> String {
        let job = job(place, words);
        let Guarded { done, events } = self.run(&job);
        assert_eq!(done.code(), 0, "{:?}: {}\n{events}", job.argv(), done.err());
        assert_eq!(events.denials().count(), 0, "{:?}: {events}", job.argv());
        done.out()
    }

    /// Waits for an event, from the very first on.
    pub fn told(&self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + TELLING;
        let mut looked = 0;
        loop {
            self.read();
            let log = self.log.borrow();
            if let Some(event) = log.events[looked..].iter().find(|event| matches(event)) {
                return event.clone();
            }
            looked = log.events.len();
            drop(log);
            assert!(Instant::now() < deadline, "never told: {what}\n{}", self.daemon.stderr());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Puts another policy in force, by SIGHUP.
    pub fn reload(&self, denied: &str) {
        self.enforce(&policy(&self.scratch, &self.group, POLICY, denied));
    }

    /// Puts one in force that is not about programs, so that all may be executed.
    pub fn free_programs(&self) {
        self.enforce(&policy(&self.scratch, &self.group, FREE_PROGRAMS, RELOADED[0]));
    }

    fn enforce(&self, policy: &str) {
        let before = self.daemon.stderr().matches("read anew").count();
        fs::write(&self.policy, policy).expect("written");
        self.daemon.signal(Signal::SIGHUP);
        // Now and then it is read twice: because of the signal, and because the file has changed.
        support::stage::until("the policy is read", || self.daemon.stderr().matches("read anew").count() > before);
    }

    /// Another guard's own files go to this folder.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The policy's file.
    pub fn policy(&self) -> &Path {
        &self.policy
    }

    /// Where the daemon's pins are.
    pub fn pins(&self) -> PathBuf {
        self.scratch.join("bpf/guard")
    }

    /// Kills the daemon: it has lost nothing, and what it enforces goes on. Another takes over and tells of it. That one is
    /// stopped, and from then on nobody is guarded.
    pub fn end(self) {
        let Self { kernel, guard, daemon, places, memory, scratch, .. } = self;
        let before = daemon.killed(Signal::SIGKILL).events;
        before.none_lost();
        let read = |place: &Path| Job::new(place.join("agent"), place).args(["read", "denied/secret"]).run();
        let code = if kernel.prevents() { 1 } else { 137 };
        let denied = |place: &Path| {
            let done = read(place);
            assert_eq!((done.code(), done.out().as_str()), (code, ""), "{}", done.err());
        };
        let mut attempts = 2 * places.len() as u64;
        for place in &places {
            denied(place);
            if kernel.prevents() {
                // Far more than the ring buffer holds that nobody reads now.
                attempts += insist(place);
            }
        }
        let daemon = guard.daemon();
        for place in &places {
            denied(place);
        }
        // Both write to the same file. Sessions that were over when the first was killed end with the second too.
        let new = |events: Events| Events(events.0[before.0.len()..].to_vec());
        let deadline = Instant::now() + TELLING;
        while new(daemon.events()).op("session-end").count() < 4 {
            assert!(Instant::now() < deadline, "not all is told: {}", new(daemon.events()));
            std::thread::sleep(Duration::from_millis(100));
        }
        let Guarded { done, events } = daemon.stop();
        assert_eq!(done.code(), 0, "{}", done.err());
        let events = new(events);
        let lost: u64 = events.op("lost").filter_map(|event| event["count"].as_u64()).sum();
        let told = events.rule("secrets").count() as u64;
        let count = |op: &str| events.op(op).count();
        assert_eq!(count("gap"), 1, "{events}");
        if attempts == 4 {
            assert_eq!((lost, told, count("session-start")), (0, 4, 4), "{events}");
        } else {
            // Among the lost are the ends of a few processes.
            assert!(
                (attempts..attempts + 100).contains(&(told + lost)),
                "{attempts} attempts, {told} told, {lost} lost"
            );
        }
        for place in &places {
            let done = read(place);
            assert_eq!(done.out(), SECRET, "{}", done.err());
        }
        // The scratch folder can't be removed while something is mounted in it.
        drop(memory);
        drop(scratch);
    }

    /// Takes in what was written; how many events there were before.
    fn read(&self) -> usize {
        let mut log = self.log.borrow_mut();
        let before = log.events.len();
        let (new, read) = self.daemon.events_since(log.read);
        log.events.extend(new.0);
        log.read = read;
        before
    }
}

/// Tries to read what is denied, in four threads at once: it stays so, and no byte is read. How often.
fn insist(place: &Path) -> u64 {
    let done = job(place, ["insist", "4", "12500", "denied/secret"]).run();
    assert_eq!(done.code(), 0, "{}", done.err());
    assert!(done.err().contains(r#"{"refused":50000,"bytes":0}"#), "{}", done.err());
    50_000
}

/// An attempt by the agent in a folder, not made yet.
pub fn job<S: AsRef<OsStr>>(place: &Path, words: impl IntoIterator<Item = S>) -> Job {
    Job::new(place.join("agent"), place).args(words).env("place", place)
}

/// A shell script that the agent becomes, not run yet. It finds `attempt` in its folder.
pub fn shell(place: &Path, script: &str) -> Job {
    job(place, ["exec", "/bin/bash", "-c", script])
}

/// A shell script that the agent starts as its model's, in a call of this name.
pub fn tool(place: &Path, call: &str, script: &str) -> Job {
    let label = format!("CODEX_TOOL_CALL_ID={call}");
    job(place, ["in", "fork", "exec", "/usr/bin/env", &label, "/bin/bash", "-c", script])
}

/// What is in each folder.
fn prepare(place: &Path) {
    for folder in ["allowed", "denied", "fatal", "by", "tool", "phase", "tools", RELOADED[0], RELOADED[1]] {
        fs::create_dir_all(place.join(folder)).expect("a folder can be made");
    }
    for folder in ["denied", "fatal", "by", "tool", "phase", RELOADED[0], RELOADED[1]] {
        fs::write(place.join(folder).join("secret"), SECRET).expect("written");
    }
    fs::write(place.join("allowed/fine"), FINE).expect("written");
    for program in ["agent", "attempt", "careful", "reader", "victim", "tools/forbidden", "tools/set-id"] {
        fs::copy(built("attempt"), place.join(program)).expect("a copy");
    }
}

fn policy(scratch: &Scratch, group: &Group, text: &str, denied: &str) -> String {
    let place = format!("{}/{{disk,memory}}", scratch.path().display());
    text.replace("{place}", &place).replace("{group}", &group.path()).replace("{reloaded}", denied)
}

/// Filesystems for this process and its children alone.
struct Mounted<const N: usize>([PathBuf; N]);

impl<const N: usize> Mounted<N> {
    /// Each of a kind, in a folder.
    fn new(scratch: &Scratch, kinds: [(&str, &str); N]) -> Self {
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS).expect("mounts of one's own take root");
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("mounts can be made private");
        Self(kinds.map(|(name, kind)| {
            let path = scratch.join(name);
            fs::create_dir_all(&path).expect("a folder can be made");
            mount(Some(kind), &path, Some(kind), MsFlags::empty(), none).expect("it can be mounted");
            path
        }))
    }
}

impl<const N: usize> Drop for Mounted<N> {
    fn drop(&mut self) {
        for path in &self.0 {
            if let Err(error) = umount2(path, MntFlags::MNT_DETACH) {
                eprintln!("{} could not be unmounted: {error}", path.display());
            }
        }
    }
}
