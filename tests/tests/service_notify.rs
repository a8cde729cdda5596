//! What the daemon tells the service manager, read from a real socket as systemd would, and the file of its events that
//! somebody rotates.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::guard::{Events, Socket, binary};
use support::require_kernel;
use support::run::{Job, Running};
use support::stage::{Stage, until};

/// The service manager's end, and the daemon that it started.
struct Service {
    manager: UnixDatagram,
    daemon: Running,
    stage: Stage,
    /// Of the manager's socket.
    path: PathBuf,
    _socket: Socket,
}

impl Drop for Service {
    fn drop(&mut self) {
        fs::remove_file(&self.path).unwrap_or_default();
    }
}

impl Service {
    /// Starts the daemon as systemd would. It is waited for by what it tells.
    fn start(watchdog: Option<Duration>) -> Self {
        require_kernel();
        let stage = Stage::new("notify");
        let policy = stage.scratch().write("policy.toml", stage.policy(""));
        // A socket's path is short.
        let socket = Socket::new();
        let path = socket.path().with_extension("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        let mut job = Job::new(binary(), stage.path())
            .args(["daemon", "--no-pins", "--without-fanotify", "--events", "events.jsonl", "--policy"])
            .arg(policy)
            .arg("--socket")
            .arg(socket.path())
            .env("NOTIFY_SOCKET", &path);
        if let Some(watchdog) = watchdog {
            job = job.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        let daemon = job.start();
        Self { manager, daemon, stage, path, _socket: socket }
    }

    /// The next that is told within this time.
    fn next(&self, patience: Duration) -> Option<String> {
        let mut told = [0; 4096];
        self.manager.set_read_timeout(Some(patience)).expect("a time limit");
        let length = self.manager.recv(&mut told).ok()?;
        Some(String::from_utf8_lossy(&told[..length]).into_owned())
    }

    /// Waits for something to be told.
    fn hear(&self, what: &str, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        while let Some(told) =
            self.next(deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)))
        {
            if told.lines().any(|line| line.starts_with(what)) {
                return told;
            }
        }
        panic!("not told: {what}\n{}", self.daemon.stderr());
    }

    fn read_secret(&self) -> i32 {
        Job::new(self.stage.agent(), self.stage.path()).args(["read", "denied/secret"]).run().code()
    }

    fn events(&self, name: &str) -> Events {
        Events::parse(&fs::read_to_string(self.stage.path().join(name)).unwrap_or_default())
    }
}

const SOON: Duration = Duration::from_secs(10);

#[test]
fn it_is_ready_when_it_enforces_and_tells_of_reloads_and_its_end() {
    let service = Service::start(None);
    let ready = service.hear("READY=1", Duration::from_secs(30));
    assert!(ready.contains("\nSTATUS=mode enforce, by "), "{ready}");
    // Not a moment later.
    assert_eq!(service.read_secret(), 137, "{}", service.daemon.stderr());

    service.daemon.signal(Signal::SIGHUP);
    let reloading = service.hear("RELOADING=1", SOON);
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    service.hear("READY=1", SOON);
    until("it says so", || service.daemon.stderr().contains("read anew"));

    // A policy that is refused: what was in force stays, and so does the service.
    service.stage.scratch().write("policy.toml", "version = 7\n");
    service.daemon.signal(Signal::SIGHUP);
    service.hear("RELOADING=1", SOON);
    service.hear("READY=1", SOON);
    assert_eq!(service.read_secret(), 137, "{}", service.daemon.stderr());

    service.daemon.signal(Signal::SIGTERM);
    service.hear("STOPPING=1", SOON);
    until("it ends", || fs::metadata(format!("/proc/{}/exe", service.daemon.pid())).is_err());
}

#[test]
fn it_is_alive_as_long_as_it_works_and_only_if_asked() {
    let limit = Duration::from_secs(1);
    let service = Service::start(Some(limit));
    service.hear("READY=1", Duration::from_secs(30));
    for _ in 0..5 {
        service.hear("WATCHDOG=1", SOON);
    }
    // One that hangs says nothing, and systemd would end it.
    service.daemon.signal(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_millis(100));
    while service.next(Duration::from_millis(1)).is_some() {}
    assert_eq!(service.next(limit * 2), None);
    service.daemon.signal(Signal::SIGCONT);
    service.hear("WATCHDOG=1", SOON);
    drop(service);

    let service = Service::start(None);
    service.hear("READY=1", Duration::from_secs(30));
    assert_eq!(service.next(limit), None);
}

/// By rename and SIGUSR1, as logrotate is told to in deploy/: every event is in one of the files, none in both.
#[test]
fn the_events_file_is_rotated_without_a_loss() {
    let service = Service::start(None);
    service.hear("READY=1", Duration::from_secs(30));
    assert_eq!(service.read_secret(), 137);
    let path = |name: &str| service.stage.path().join(name);
    until("the first is written", || service.events("events.jsonl").rule("secrets").count() == 1);
    fs::rename(path("events.jsonl"), path("events.jsonl.1")).expect("rotated");
    // Between the two it goes where it went.
    assert_eq!(service.read_secret(), 137);
    service.daemon.signal(Signal::SIGUSR1);
    until("the file is opened anew", || path("events.jsonl").exists());
    assert_eq!(service.read_secret(), 137);
    until("the third is written", || service.events("events.jsonl").rule("secrets").count() >= 1);
    service.daemon.signal(Signal::SIGTERM);
    until("it ends", || fs::metadata(format!("/proc/{}/exe", service.daemon.pid())).is_err());
    let counts = ["events.jsonl.1", "events.jsonl"].map(|name| service.events(name).rule("secrets").count());
    assert_eq!(counts.iter().sum::<usize>(), 3, "{counts:?}");
    // The signal may be handled before or after what was told just before it.
    assert!(counts[0] >= 1 && counts[1] >= 1, "{counts:?}");
}
