//! What `guard top` takes while it shows many sessions that do a lot: a record of them is played, and then there are such
//! sessions, which a daemon tells of. There it is measured too what being looked at costs the daemon.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::guard::binary;
use support::place::Scratch;
use support::run::Job;
use support::tmux::Tmux;

use crate::{policies, worker};

/// Sessions that run at once.
const SESSIONS: u64 = 200;
/// Events a second, of all of them together.
const RATE: u64 = 50_000;
/// How long the record is, in seconds.
const LENGTH: u64 = 20;
/// How long is waited before it is measured, and how long it is measured.
const WARM: Duration = Duration::from_secs(4);
const MEASURED: Duration = Duration::from_secs(12);

/// Files that a session opens, one after the other.
const FILES: u64 = 400;

/// What it took.
pub struct Cost {
    /// Part of a core.
    pub cpu: f64,
    /// Frames a second, as it says itself.
    pub frames: f64,
    /// Events that it had taken in by then, as it says itself.
    pub events: u64,
    /// How many there should have been.
    pub due: u64,
}

/// Plays a record in a terminal of 200x60 with all sessions in view.
pub fn measure(scratch: &Scratch) -> Cost {
    let path = scratch.join("top.jsonl");
    record(&path);
    let job = Job::new(binary(), Path::new("/")).args(["top", "--replay"]).arg(&path).env("LANG", "C.UTF-8");
    let cost = watch(scratch, &job, || {});
    fs::remove_file(path).expect("the record can be removed");
    cost
}

/// What it takes while a daemon tells of sessions that run, and what the daemon takes: without it, and with it.
pub fn live(scratch: &Scratch) -> (Cost, f64, f64) {
    let folder = scratch.join("modules");
    fs::create_dir(&folder).expect("a folder can be made");
    for number in 0..FILES {
        fs::write(folder.join(format!("module{number}.py")), "pass\n").expect("a file can be written");
    }
    let agent = scratch.join("agent");
    // Where more is measured it is there, and runs.
    if !agent.exists() {
        fs::copy(std::env::current_exe().expect("a program knows its own path"), &agent)
            .expect("a program can be copied");
    }
    let socket = scratch.join("top.sock");
    scratch.write("top.toml", policies::agent(scratch.path(), 10));
    let daemon = worker::daemon_at(scratch, &scratch.join("top.toml"), &socket);
    let start = || {
        let mut command = Command::new(&agent);
        command.arg("crowd").arg(&folder).arg((RATE / SESSIONS).to_string()).stdin(Stdio::piped());
        command.spawn().expect("an agent starts")
    };
    let agents: Vec<Child> = (0..SESSIONS).map(|_| start()).collect();
    sleep(WARM);
    let taken = |used: f64, at: Instant| (cpu(daemon.pid()) - used) / at.elapsed().as_secs_f64();
    let (used, at) = (cpu(daemon.pid()), Instant::now());
    sleep(MEASURED);
    let alone = taken(used, at);
    let job = Job::new(binary(), Path::new("/")).args(["top", "--socket"]).arg(&socket).env("LANG", "C.UTF-8");
    let mut from = None;
    let cost = watch(scratch, &job, || from = Some((cpu(daemon.pid()), Instant::now())));
    let (used, at) = from.expect("it was measured");
    let watched = taken(used, at);
    for mut agent in agents {
        drop(agent.stdin.take());
        assert!(agent.wait().expect("a child can be waited for").success());
    }
    daemon.stop();
    fs::remove_dir_all(folder).expect("the files can be removed");
    (cost, alone, watched)
}

/// Opens files, `rate` a second in ten bursts, until standard input ends.
pub fn crowd(folder: &Path, rate: u64) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd as _;
    let (began, mut opened) = (Instant::now(), 0);
    let stdin = std::io::stdin();
    loop {
        let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
        while opened < due {
            let path = folder.join(format!("module{}.py", opened * 7 % FILES));
            drop(File::open(path).expect("the file can be opened"));
            opened += 1;
        }
        let mut ended = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ended, PollTimeout::from(100u8)).is_ok_and(|ended| ended > 0) {
            return;
        }
    }
}

/// Looks at all sessions in a terminal of 200x60; `begins` is called when measuring does.
fn watch(scratch: &Scratch, job: &Job, begins: impl FnOnce()) -> Cost {
    let tmux = Tmux::start(scratch, job, (200, 60), None);
    tmux.wait_for("200 sessions");
    let began = Instant::now();
    sleep(WARM);
    begins();
    let (used, at) = (cpu(tmux.pid()), Instant::now());
    sleep(MEASURED);
    let cpu = (cpu(tmux.pid()) - used) / at.elapsed().as_secs_f64();
    tmux.keys(&["5"]);
    let screen = tmux.wait_for("events taken in");
    let due = (began.elapsed().as_secs_f64() * RATE as f64) as u64;
    let said = |what: &str| -> f64 {
        let line = screen.lines().find(|line| line.contains(what)).expect("it is said");
        let number = line.split(what).nth(1).and_then(|rest| rest.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).unwrap_or(0.0)
    };
    tmux.keys(&["q"]);
    tmux.wait_for_end();
    Cost { cpu, frames: said("frames"), events: said("events taken in") as u64, due }
}

/// Processor time that a process has used, in seconds, to the nanosecond.
fn cpu(pid: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten();
    let used = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    used.sum::<u64>() as f64 / 1e9
}

/// Writes the record.
fn record(path: &PathBuf) {
    let mut out = BufWriter::new(File::create(path).expect("a record can be written"));
    let mut line = String::new();
    for number in 0..SESSIONS {
        line.clear();
        write(&mut line, 0, number, number, Event::Start);
        out.write_all(line.as_bytes()).expect("a record can be written");
    }
    for number in 0..LENGTH * RATE {
        line.clear();
        let (session, step) = (number % SESSIONS, number / SESSIONS);
        let event = match step % 25 {
            0 => Event::Exec,
            5 => Event::Connect,
            7 if step % 500 == 7 => Event::Denied,
            24 => Event::Exit,
            _ => Event::Read,
        };
        write(&mut line, number, session, step, event);
        out.write_all(line.as_bytes()).expect("a record can be written");
    }
    out.flush().expect("a record can be written");
}

#[derive(Clone, Copy)]
enum Event {
    Start,
    Exec,
    Read,
    Denied,
    Connect,
    Exit,
}

/// Adds a line as guard writes it.
fn write(line: &mut String, number: u64, session: u64, step: u64, event: Event) {
    let nanoseconds = number * (1_000_000_000 / RATE);
    let (second, fraction) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    let (run, tree) = (step / 25, 0x6504_a000_0000 + session);
    let (pid, start) = (10_000 + session * 50 + run % 50, 1_000_000_000 + session * 1_000_000 + run);
    let what = match event {
        Event::Start => format!(
            r#""op":"session-start","path":"/usr/bin/codex","repo":"/home/u{session}/repo","home":"/home/u{session}""#
        ),
        Event::Exec => r#""op":"exec","path":"/usr/bin/python3.11","argv":["python3","-m","unittest"]"#.to_owned(),
        Event::Read => format!(
            r#""op":"read","path":"/usr/lib/python3.11/site-packages/package{}/module{}.py","open":{{"read":true,"write":false,"flags":32768,"result":3}}"#,
            step % 40,
            step * 7 % 400
        ),
        Event::Denied => format!(
            r#""op":"read","path":"/home/u{session}/repo/.env","open":{{"read":true,"write":false,"flags":32768}}"#
        ),
        Event::Connect => format!(r#""op":"connect","addr":"203.0.113.{}","port":443,"proto":"tcp""#, step % 250),
        Event::Exit => r#""op":"exit","exit":{"code":0}"#.to_owned(),
    };
    let verdict = match event {
        Event::Start | Event::Exit => "",
        Event::Denied => {
            r#","verdict":{"action":"deny","rule":"secrets","reason":"Secrets stay out of the model.","enforced":true,"backend":"lsm"}"#
        }
        _ => r#","verdict":{"action":"allow","enforced":false}"#,
    };
    let who = match event {
        Event::Start => format!(
            r#""process":{{"pid":{},"ppid":1,"start":{},"exe":"/usr/bin/codex","argv":["codex"],"cwd":"/home/u{session}/repo","uid":1000}}"#,
            1_000 + session,
            session + 1
        ),
        _ => format!(
            r#""session":"019aa1c4-7d3e-7b10-9f52-{session:012}","scope":"tool","call":"call_{}","process":{{"pid":{pid},"ppid":{},"start":{start},"exe":"/usr/bin/python3.11","argv":["python3","-m","unittest","-q","tests.test_price"],"cwd":"/home/u{session}/repo","uid":1000}}"#,
            step / 100,
            1_000 + session
        ),
    };
    let time = format!("2026-11-20T10:{:02}:{:02}.{fraction:09}Z", second / 60, second % 60);
    writeln!(line, r#"{{"time":"{time}",{what},"tree":"{tree:016x}","agent":"codex",{who}{verdict}}}"#)
        .expect("strings take everything");
}
