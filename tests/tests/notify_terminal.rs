//! A line on the terminal in which the agent works, when something was denied.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, fchown};
use std::path::PathBuf;
use std::process::Stdio;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::signal::Signal;
use support::guard::{Daemon, Guard};
use support::pty::Terminal;
use support::run::Job;
use support::stage::{Stage, until};

/// A stage whose agent is a shell.
struct Place {
    stage: Stage,
    shell: PathBuf,
}

impl Place {
    fn new() -> Self {
        let stage = Stage::new("notify");
        let shell = stage.scratch().program(std::path::Path::new("/bin/bash"), "shell");
        Self { stage, shell }
    }

    fn guard(&self) -> Guard {
        let policy = self.stage.policy("").replace("/agent\"]", "/shell\"]");
        Guard::new(self.stage.scratch(), &policy)
    }

    fn daemon(&self) -> Daemon {
        self.guard().flag("--notify").flag("terminal").daemon()
    }

    fn job(&self, script: &str) -> Job {
        Job::new(&self.shell, self.stage.path()).args(["-c", script])
    }
}

/// How many denials a screen tells of, one by one and summed up.
fn told(screen: &str) -> u64 {
    let more = |line: &str| line.split_once("guard: ")?.1.split_once(" more were stopped")?.0.parse::<u64>().ok();
    screen.lines().map(|line| if line.contains("; rule secrets") { 1 } else { more(line).unwrap_or(0) }).sum()
}

#[test]
fn who_sits_at_the_terminal_is_told_what_was_stopped_and_why() {
    let place = Place::new();
    let daemon = place.daemon();
    let mut terminal = Terminal::start(&place.job("cat denied/secret; read -r x; cat denied/secret; read -r x"));
    terminal.wait_until("it is told", || told(&terminal.screen()) == 1);
    let screen = terminal.screen();
    let line = screen.lines().find(|line| line.contains("guard: ")).expect("a line");
    assert!(line.contains("cat [") && line.contains("reading ") && line.contains("denied/secret"), "{line}");
    assert!(line.contains("; rule secrets: Nobody's business."), "{line}");
    terminal.type_in("\r");
    terminal.wait_until("so is the next", || told(&terminal.screen()) == 2);
    terminal.type_in("\r");
    // The terminal hangs up when its last program ends: guard holds nothing open.
    terminal.wait();
    drop(daemon.wait_for("the session is over", |event| event["op"] == "session-end"));
    assert_eq!(daemon.events().rule("secrets").count(), 2);
}

/// A session that is not asked for, one without a terminal, and one whose terminal is gone.
#[test]
fn nobody_else_is_told() {
    let place = Place::new();
    let silent = place.guard().daemon();
    let mut terminal = Terminal::start(&place.job("cat denied/secret; read -r x"));
    drop(silent.wait_for("it was denied", |event| event["verdict"]["rule"] == "secrets"));
    terminal.type_in("\r");
    terminal.wait();
    assert_eq!(told(&terminal.screen()), 0, "nobody has asked: {}", terminal.screen());
    drop(silent.stop());

    let daemon = place.daemon();
    let done = place.job("cat denied/secret; true").under(["setsid", "--wait"]).run();
    assert!(!done.err().contains("guard: ") && !done.out().contains("guard: "), "{} {}", done.out(), done.err());
    let count = |daemon: &Daemon| daemon.events().rule("secrets").count();
    until("it was denied", || count(&daemon) == 1);

    let wait =
        "trap '' HUP; touch ready; until [ -e go ]; do sleep 0.05; done; cat denied/secret > got 2>&1; sleep 1";
    let terminal = Terminal::start(&place.job(wait));
    let ready = place.stage.path().join("ready");
    terminal.wait_until("it has begun", || ready.exists());
    // Gone with the terminal's other side; the agent stays.
    terminal.hang_up();
    place.stage.scratch().write("go", "");
    until("it was denied", || count(&daemon) == 2);
    assert!(daemon.stop().done.status.success());
}

/// Names are anybody's to give.
#[test]
fn names_play_no_tricks_on_a_terminal() {
    let place = Place::new();
    place.stage.scratch().write("denied/a\u{1b}]0;b\u{7}\rc", "x");
    let daemon = place.daemon();
    let terminal = Terminal::start(&place.job("cat denied/a*; read -r x"));
    terminal.wait_until("it is told", || told(&terminal.screen()) == 1);
    let bytes = terminal.raw();
    let text = String::from_utf8_lossy(&bytes);
    let line = text.split("guard: ").nth(1).and_then(|rest| rest.split("; rule").next()).expect("a line");
    assert!(line.contains("denied/a\\u{1b}]0;b\\u{7}\\rc") && !line.contains(char::is_control), "{line:?}");
    drop(daemon.stop());
}

/// The kernel takes no line while somebody else is writing one: it is written a moment later.
#[test]
fn a_line_comes_through_where_others_write() {
    let place = Place::new();
    let daemon = place.daemon();
    // All that there is room for, all the time.
    let noise = "while :; do printf '%04000d\\n' 0; done & noise=$!; for ((i = 0; i < 4; i++)); do cat denied/secret; done; \
        sleep 0.5; kill $noise; read -r x";
    let terminal = Terminal::start(&place.job(noise));
    terminal.wait_until("all are told", || told(&terminal.screen()) == 4);
    drop(daemon.stop());
}

/// A storm is a few lines and a number, and each denial is in one of them.
#[test]
fn a_storm_is_summed_up() {
    const STORM: u64 = 60;
    let place = Place::new();
    let daemon = place.daemon();
    let script = format!("for ((i = 0; i < {STORM}; i++)); do cat denied/secret; done; read -r x");
    let terminal = Terminal::start(&place.job(&script));
    terminal.wait_until("all are told", || told(&terminal.screen()) == STORM);
    let screen = terminal.screen();
    assert!(screen.matches("more were stopped").count() >= 1, "{screen}");
    assert!(screen.matches("; rule secrets").count() < 20, "{screen}");
    drop(daemon.stop());
}

/// Nobody reads the terminal, and it takes no more: guard does not wait.
#[test]
fn a_terminal_that_is_full_holds_up_nothing() {
    let place = Place::new();
    let daemon = place.daemon();
    let pty = openpty(None, None).expect("a terminal");
    let mut full = File::from(pty.slave.try_clone().expect("a descriptor"));
    fcntl(&full, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("flags");
    let error = loop {
        if let Err(error) = full.write_all(&[b'x'; 1024]) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    // In a session of its own, which no terminal controls.
    let mut command = place.job("cat denied/secret; true").under(["setsid", "--wait"]).command();
    let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().expect("a descriptor"));
    let mut child =
        command.stdin(end(&pty.slave)).stdout(Stdio::null()).stderr(end(&pty.slave)).spawn().expect("runs");
    child.wait().expect("it ends");
    drop(daemon.wait_for("it was denied", |event| event["verdict"]["rule"] == "secrets"));
    drop(daemon.wait_for("and the end is told", |event| event["op"] == "session-end"));
    drop((full, pty));
    assert!(daemon.stop().done.status.success());
}

/// With `guard run` the log may go elsewhere; where it is on the terminal already, nothing is told twice.
#[test]
fn one_command_s_terminal_is_told_once() {
    let place = Place::new();
    let job = place
        .guard()
        .flag("--notify")
        .flag("terminal")
        .job(&Job::new("cat", place.stage.path()).arg("denied/secret"));
    let words: Vec<String> = job.argv().iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let elsewhere = Job::new("sh", place.stage.path()).args(["-c", "exec \"$@\" 2> log", "sh"]).args(&words);
    // The command itself has the terminal as its standard input and output.
    let mut terminal = Terminal::start(&elsewhere);
    terminal.wait();
    assert_eq!(told(&terminal.screen()), 1, "{}", terminal.screen());
    let log = fs::read_to_string(place.stage.path().join("log")).expect("a log");
    assert_eq!(told(&log), 1, "{log}");

    let mut terminal = Terminal::start(&job);
    terminal.wait();
    assert_eq!(told(&terminal.screen()), 1, "{}", terminal.screen());
}

/// Another user's terminal, written to with no more rights than the unit has and docs/notifications.md adds.
#[test]
fn the_unit_s_rights_and_group_tty_are_enough() {
    const NOBODY: u32 = 65534;
    let unit =
        fs::read_to_string(support::guard::policies().join("../deploy/systemd/guard.service")).expect("the unit");
    let bounding = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).expect("capabilities");
    let set: Vec<_> =
        bounding.split(' ').map(|name| format!("+{}", name.trim_start_matches("CAP_").to_lowercase())).collect();
    let group = nix::unistd::Group::from_name("tty").expect("groups").expect("group tty").gid;
    // Where anybody may go, and its agent too.
    let public = tempfile::tempdir().expect("a folder");
    fs::set_permissions(public.path(), fs::Permissions::from_mode(0o755)).expect("a folder of ours");
    let (shell, secret) = (public.path().join("shell"), public.path().join("secret"));
    fs::copy("/bin/bash", &shell).expect("a shell");
    fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).expect("a file of ours");
    fs::write(&secret, "x").expect("written");
    let stage = Stage::new("notify");
    let policy = stage.policy("").replace(&format!("{}/agent", stage.path().display()), &shell.display().to_string());
    let policy = policy.replace(&format!("{}/denied/**", stage.path().display()), &secret.display().to_string());
    let socket = support::guard::Socket::new();
    let guard = Guard::new(stage.scratch(), &policy).unrecorded().flag("--notify").flag("terminal");
    // Without the group the kernel refuses it, and nothing else changes; with it there is a line.
    for groups in ["--clear-groups".to_owned(), format!("--groups={group}")] {
        let rights = [
            "sh".to_owned(),
            "-c".to_owned(),
            "ulimit -l unlimited 2> /dev/null; exec \"$@\"".to_owned(),
            "sh".to_owned(),
            "setpriv".to_owned(),
            format!("--bounding-set=-all,{}", set.join(",")),
            "--no-new-privs".to_owned(),
            groups.clone(),
        ];
        let daemon = guard.daemon_job(socket.path()).under(rights).start();
        until("it guards", || daemon.stderr().contains("guarding"));
        let pty = openpty(None, None).expect("a terminal");
        fchown(&pty.slave, Some(NOBODY), Some(group.as_raw())).expect("their terminal");
        let slave = File::from(pty.slave);
        slave.set_permissions(fs::Permissions::from_mode(0o620)).expect("their terminal");
        let script = format!("cat {}; sleep 1; true", secret.display());
        let job = Job::new(&shell, public.path()).args(["-c", &script]).under([
            "setpriv".to_owned(),
            format!("--reuid={NOBODY}"),
            format!("--regid={NOBODY}"),
            "--clear-groups".to_owned(),
            "setsid".to_owned(),
            "--wait".to_owned(),
        ]);
        let end = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let mut child = job.command().stdin(end()).stdout(end()).stderr(end()).spawn().expect("it starts");
        child.wait().expect("it ends");
        until("it was denied", || daemon.stderr().contains("; rule secrets"));
        let mut master = File::from(pty.master);
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("flags");
        let mut screen = vec![0; 64 << 10];
        let length = master.read(&mut screen).unwrap_or(0);
        let screen = String::from_utf8_lossy(&screen[..length]).into_owned();
        assert_eq!(told(&screen), u64::from(groups.starts_with("--groups")), "{groups}: {screen}");
        daemon.signal(Signal::SIGTERM);
        assert_eq!(daemon.wait().code(), 0);
    }
}
