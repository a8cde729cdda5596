//! The run: each way first without guard, where it must work, then under guard.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde_json::Value;
use support::guard::{Daemon, Guard};
use support::place::{Scratch, built};
use support::run::{Finished, Job, Running};

use crate::place::{Place, fresh_word};
use crate::way::{Class, Column, Outcome, Part, Way};
use crate::ways;

/// How long guard may take to start: the machine may be emulated.
const LOADING: Duration = Duration::from_mins(5);
/// How long an attempt may take; one that takes longer has failed.
const LIMIT: Duration = Duration::from_mins(1);
/// How long whoever takes part from outside may take to get ready.
const READY: Duration = Duration::from_secs(10);
/// How long something that got out may take to show.
const GRACE: Duration = Duration::from_millis(400);
/// The same, where it is expected to get out.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often a race is run that is not won.
const ROUNDS: u32 = 5;
/// The last kernel known that does not show the results of `io_uring`; 6.18 does.
const BLIND: (u32, u32) = (6, 12);

/// Rules about what ways are gone by: they may decide before one gets to what it is after.
const MEANS: [&str; 3] = ["powers", "changes", "devices"];

/// What came of a way.
#[derive(Clone, Debug)]
pub enum Found {
    /// How it ended.
    Ended(Outcome),
    /// This machine has not what it takes.
    NotTried(String),
    /// Neither got through nor was stopped by guard, or it does not work without guard either: no finding at all.
    Nothing(String),
}

/// A daemon, and the places that its policy is about.
#[derive(Debug)]
pub struct Suite {
    scratch: Scratch,
    daemon: Daemon,
    tail: Tail,
    column: Column,
}

impl Suite {
    /// Finds out what guard can do here, and starts it, to look on only if `audit`. Call it in a network of one's own.
    pub fn start(audit: bool) -> io::Result<Self> {
        // What the ways mount, and what they say to each other, stays theirs.
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS)?;
        let private = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
        nix::mount::mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
        // Whatever a way leaves behind becomes this process's child, and can be found and ended.
        // SAFETY: no pointers.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
        let scratch = Scratch::new("evasion");
        for (program, name) in [("guard-evasion", "agent"), ("guard-evasion", "plain"), ("attempt", "attempt")] {
            let _path = scratch.program(&built(program), name);
        }
        for way in ways::all().filter(|way| way.apart) {
            let place = scratch.join(way.name);
            fs::create_dir(&place)?;
            let flags = nix::mount::MsFlags::empty();
            nix::mount::mount(Some("none"), &place, Some("tmpfs"), flags, Some("mode=755"))?;
        }
        let fill = |text: &str| text.replace("{arena}", &scratch.path().display().to_string());
        let policy = fill(include_str!("policy.toml"));
        let column = column(&scratch, &policy)?;
        let events = scratch.join("seen.jsonl");
        let guard = Guard::new(&scratch, &policy).patient(LOADING).unrecorded().flag("--events").flag(&events);
        let guard = guard.flag("--verdict-ring").flag((16 << 20).to_string());
        let daemon = if audit { guard.audit() } else { guard }.daemon();
        Ok(Self { tail: Tail::new(events), scratch, daemon, column })
    }

    /// What guard can do here.
    pub fn column(&self) -> Column {
        self.column
    }

    /// Tries a way.
    pub fn try_out(&mut self, way: &Way) -> Found {
        if let Some(missing) = way.needs.iter().find_map(|need| need.missing()) {
            return Found::NotTried(missing);
        }
        let mut rounds = 1;
        loop {
            match self.once(way, "plain") {
                Ok(tried) if tried.reached => break,
                // Who is faster is chance, and where one thread runs at a time hardly ever the second.
                Ok(_) if way.is_raced() && rounds < ROUNDS => rounds += 1,
                Ok(_) if way.is_raced() => return Found::NotTried("the second thread is never faster".to_owned()),
                Ok(tried) => return Found::Nothing(format!("it does not work without guard: {}", tried.said())),
                Err(error) => return Found::Nothing(format!("without guard: {error}")),
            }
        }
        match self.once(way, "agent") {
            Ok(tried) => self.judge(way, &tried),
            Err(error) => Found::Nothing(error.to_string()),
        }
    }

    /// Makes one attempt, by the agent or by a program that nobody guards.
    fn once(&mut self, way: &Way, who: &str) -> io::Result<Tried> {
        let place = Place::at(self.scratch.join(way.name));
        let secret = fresh_word();
        place.furnish(&secret)?;
        let part = |part: &str, who: &str| {
            let job = Job::new(self.scratch.join(who), place.path()).args(["part", part, way.name]).arg(place.path());
            job.env("attempt", self.scratch.join("attempt")).limit(LIMIT * 2)
        };
        if !matches!(way.before, Part::Nothing) {
            let done = part("before", "plain").run();
            if !done.status.success() {
                return Err(io::Error::other(format!("what was to be done before failed: {}", done.err())));
            }
        }
        let outsider = (!matches!(way.beside, Part::Nothing)).then(|| part("beside", "plain").start());
        self.wait_until_ready(outsider.as_ref(), &place)?;
        let (before, others) = (place.protected(), children_of(std::process::id()));

        let mut attempt = part("attempt", who).under(["unshare", "--mount", "--propagation", "private"]);
        if way.class != Class::Read {
            attempt = attempt.env("word", &secret);
        }
        if let Some(file) = way.inherits {
            let open = "if test -d \"$0\"; then exec 9<\"$0\"; else exec 9<>\"$0\"; fi; exec \"$@\"";
            attempt = attempt.under(["sh".into(), "-c".into(), open.into(), place.join(file).into_os_string()]);
        }
        let attempt = attempt.start();
        let pid = attempt.pid();
        let done = self.finish(attempt, &others)?;
        let said = |done: &Finished| done.stdout.windows(secret.len()).any(|bytes| bytes == secret.as_bytes());
        let reached = || match way.class {
            Class::Write => place.protected() != before,
            Class::Read | Class::Exec => said(&done) || place.got_out(),
            Class::Connect | Class::Escape => place.got_out(),
        };
        let expected = who == "plain" || [Outcome::Open, Outcome::Seen].contains(&way.ends.on(self.column));
        let deadline = Instant::now() + if expected { PATIENCE } else { GRACE };
        // Without anybody else there is nobody who could still be about to do something.
        while outsider.is_some() && !reached() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        let reached = reached();
        drop(outsider);
        self.sweep(&[]);
        unmount_below(place.path())?;
        if way.apart {
            clear(place.path())?;
        } else {
            fs::remove_dir_all(place.path())?;
        }
        Ok(Tried { pid, reached, done })
    }

    fn wait_until_ready(&self, outsider: Option<&Running>, place: &Place) -> io::Result<()> {
        let Some(outsider) = outsider else { return Ok(()) };
        let deadline = Instant::now() + READY;
        while !place.is_ready() {
            if Instant::now() > deadline {
                self.sweep(&[outsider.pid()]);
                return Err(io::Error::other(format!("who is outside did not get ready: {}", outsider.stderr())));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Waits for its end, and ends all that it left behind, which may hold its pipes open, but not the others.
    fn finish(&self, mut running: Running, others: &[u32]) -> io::Result<Finished> {
        let deadline = Instant::now() + LIMIT;
        while !running.ended() {
            if Instant::now() > deadline {
                running.signal(Signal::SIGKILL);
                return Err(io::Error::other(format!("it did not end: {}", running.stderr())));
            }
            thread::sleep(Duration::from_millis(2));
        }
        self.sweep(others);
        Ok(running.wait())
    }

    /// Ends what ways have left behind: all children of this process but the daemon and those.
    fn sweep(&self, spared: &[u32]) {
        let me = std::process::id();
        loop {
            let children =
                children_of(me).into_iter().filter(|pid| *pid != self.daemon.pid() && !spared.contains(pid));
            let mut left = false;
            for pid in children {
                left = true;
                let pid = Pid::from_raw(pid as i32);
                // One that is gone already is what is wanted.
                kill(pid, Signal::SIGKILL).unwrap_or_default();
                waitpid(pid, Some(WaitPidFlag::__WALL)).map(drop).unwrap_or_default();
            }
            if !left {
                return;
            }
        }
    }

    /// Makes a finding of an attempt under guard.
    fn judge(&mut self, way: &Way, tried: &Tried) -> Found {
        let events = match self.tail.until_exit(tried.pid) {
            Ok(events) => events,
            Err(error) => return Found::Nothing(error.to_string()),
        };
        let told: Vec<&Value> = events.iter().filter(|event| event["verdict"]["rule"].is_string()).collect();
        // What can't be found out is denied by the first rule that denies anything of the kind.
        let meant = |event: &&&Value| {
            let rule = event["verdict"]["rule"].as_str().unwrap_or_default();
            // A move is held against all that the name means, whatever the way is after.
            let moves = event["new_path"].is_string();
            rule == way.rule || moves || MEANS.contains(&rule) || event["path"].is_null() && event["addr"].is_null()
        };
        if let Some(other) = told.first().filter(|_| !told.iter().any(|event| meant(&event))) {
            return Found::Nothing(format!("decided by another rule than {}: {other}", way.rule));
        }
        let backends: Vec<&str> = told.iter().filter_map(|event| event["verdict"]["backend"].as_str()).collect();
        match (tried.reached, backends.is_empty(), told.is_empty()) {
            (true, _, true) => Found::Ended(Outcome::Open),
            (true, _, false) => Found::Ended(Outcome::Seen),
            (false, true, _) => Found::Nothing(format!("guard did nothing, and yet it failed: {}", tried.said())),
            (false, false, _) if backends.contains(&"signal") => Found::Ended(Outcome::Contained),
            (false, false, _) => Found::Ended(Outcome::Prevented),
        }
    }

    /// Stops guard, which must have lost nothing.
    pub fn stop(self) -> Result<(), String> {
        let Self { scratch, daemon, mut tail, .. } = self;
        let done = daemon.stop().done;
        let rest = tail.read().map_err(|error| error.to_string())?;
        for way in ways::all().filter(|way| way.apart) {
            let detach = nix::mount::MntFlags::MNT_DETACH;
            nix::mount::umount2(&scratch.join(way.name), detach).map_err(|error| format!("{}: {error}", way.name))?;
        }
        drop(scratch);
        let lost =
            rest.iter().chain(&tail.kept).find(|event| event["op"] == "lost" && event["kind"] != "bulk-ring-full");
        match lost {
            Some(event) => Err(format!("guard has lost something: {event}")),
            None if done.status.success() => Ok(()),
            None => Err(format!("guard ended badly: {}", done.err())),
        }
    }
}

/// An attempt that was made.
struct Tried {
    pid: u32,
    reached: bool,
    done: Finished,
}

impl Tried {
    fn said(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().chars().take(300).collect::<String>();
        format!("{}; {} {}", self.done.status, text(&self.done.stdout), text(&self.done.stderr))
    }
}

/// What guard can do here: it is asked by an attempt, and says by what means it stopped that.
fn column(scratch: &Scratch, policy: &str) -> io::Result<Column> {
    let place = Place::at(scratch.join("asked"));
    place.furnish(&fresh_word())?;
    let guarded = Guard::new(scratch, policy).run(&Job::new("cat", place.path()).arg(place.secret()).limit(LOADING));
    let denial = guarded.events.denials().next().map(|event| event["verdict"]["backend"].clone());
    match denial.as_ref().and_then(Value::as_str) {
        Some("signal") if kernel() <= BLIND => Ok(Column::Older),
        Some("signal") => Ok(Column::Signal),
        Some("lsm") => Ok(Column::Lsm),
        other => Err(io::Error::other(format!("no expectations for backend {other:?}: {}", guarded.done.err()))),
    }
}

/// Version of the running kernel, as far as it matters.
fn kernel() -> (u32, u32) {
    let name =
        nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let mut numbers = name.split(|byte: char| !byte.is_ascii_digit()).map(|text| text.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Empties a folder.
fn clear(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    Ok(())
}

/// Ends the mounts in a place, in this thread's mount namespace, but not the one that it is.
fn unmount_below(place: &Path) -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo")?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    for point in points.filter(|point| point.starts_with(place) && *point != place) {
        nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH)?;
    }
    Ok(())
}

/// The children of a process.
fn children_of(parent: u32) -> Vec<u32> {
    let is_child = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the name, which may hold anything: state, then parent.
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok()) == Some(parent)
    };
    let names = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.to_str()?.parse().ok()).filter(|pid| is_child(*pid)).collect()
}

/// The end of the file of events, as it grows.
#[derive(Debug)]
struct Tail {
    path: PathBuf,
    file: Option<File>,
    text: String,
    /// Losses among what was read.
    kept: Vec<Value>,
}

impl Tail {
    fn new(path: PathBuf) -> Self {
        Self { path, file: None, text: String::new(), kept: Vec::new() }
    }

    /// What is new.
    fn read(&mut self) -> io::Result<Vec<Value>> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::open(&self.path)?),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        self.text += &String::from_utf8_lossy(&bytes);
        let Some((whole, rest)) = self.text.rsplit_once('\n') else { return Ok(Vec::new()) };
        let events = whole.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        self.text = rest.to_owned();
        self.kept.extend(events.iter().filter(|event| event["op"] == "lost").cloned());
        Ok(events)
    }

    /// The events of the tree of this agent, up to its exit.
    fn until_exit(&mut self, pid: u32) -> io::Result<Vec<Value>> {
        let deadline = Instant::now() + READY;
        let mut events = Vec::new();
        loop {
            events.extend(self.read()?);
            let ended = |event: &&Value| event["op"] == "exit" && event["process"]["pid"] == pid;
            if let Some(tree) = events.iter().find(ended).map(|event| event["tree"].clone()) {
                return Ok(events.into_iter().filter(|event| event["tree"] == tree).collect());
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("guard did not tell of the agent's end"));
            }
            thread::sleep(Duration::from_millis(3));
        }
    }
}
