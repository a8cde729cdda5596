//! The Debian package, installed for real, its daemon run, upgraded, removed and purged; on this machine's own files with all
//! changes kept apart. And the tarball.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::dist::packed;
use support::overlay::{Overlay, changes};
use support::place::{Scratch, built};
use support::run::{Finished, Job, Running};
use support::stage::{FINE, SECRET};

/// dpkg, without anybody to ask.
fn dpkg(overlay: &Overlay, arguments: &[&str]) -> Finished {
    overlay.job("dpkg").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").run().succeeded()
}

fn version(overlay: &Overlay) -> String {
    overlay.job("dpkg-query").args(["--show", "--showformat=${Version} ${Status}", "guard"]).run().out()
}

/// A folder with an agent, a file that the policy denies it, and one that it doesn't.
struct Work(Scratch);

impl Work {
    fn new() -> Self {
        let scratch = Scratch::new("package");
        scratch.write("denied/secret", SECRET);
        scratch.write("allowed/fine", FINE);
        drop(scratch.program(&built("attempt"), "agent"));
        Self(scratch)
    }

    fn policy(&self) -> String {
        let folder = self.0.path().display();
        format!(
            "version = 1\n[agent.tester]\nexe = [\"{folder}/agent\"]\n[[rule]]\nname = \"secrets\"\non = [\"read\"]\n\
             path = [\"{folder}/denied/**\"]\naction = \"deny\"\n"
        )
    }

    /// How the agent ends that reads a file, and what it got of it. It is in there: here no guard is installed.
    fn read(&self, overlay: &Overlay, file: &str) -> (i32, String) {
        let done = overlay.job(self.0.join("agent")).arg("read").arg(self.0.join(file)).run();
        (done.code(), done.out())
    }

    /// The daemon stops what the policy denies, and nothing else.
    fn is_guarded(&self, overlay: &Overlay) {
        assert_eq!(self.read(overlay, "denied/secret"), (137, String::new()));
        assert_eq!(self.read(overlay, "allowed/fine"), (0, FINE.to_owned()));
    }
}

/// The daemon, started as the unit says, in the folders that systemd would have made. Back when it enforces.
fn start(overlay: &Overlay) -> Running {
    let unit = fs::read_to_string(overlay.path("/usr/lib/systemd/system/guard.service")).expect("an installed unit");
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    let folder = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).expect("a folder").to_owned();
    for folder in [
        format!("/run/{}", folder("RuntimeDirectory=")),
        format!("/var/log/{}", folder("LogsDirectory=")),
        format!("/var/lib/{}", folder("StateDirectory=")),
    ] {
        fs::create_dir_all(overlay.path(&folder)).expect("a folder");
    }
    let words: Vec<_> = command.split(' ').collect();
    let mut daemon = overlay.job(words[0]).args(&words[1..]).start();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !daemon.stderr().contains("guarding") {
        assert!(!daemon.ended() && Instant::now() < deadline, "{}", daemon.stderr());
        std::thread::sleep(Duration::from_millis(5));
    }
    daemon
}

fn stop(daemon: Running) {
    daemon.signal(Signal::SIGTERM);
    let done = daemon.wait();
    assert_eq!(done.code(), 0, "{}", done.err());
}

#[test]
fn the_package_is_installed_run_upgraded_removed_and_purged() {
    let (first, newer) = (packed("guard_", "-1_amd64.deb"), packed("guard_", "+newer_amd64.deb"));
    let path = |path: &PathBuf| path.display().to_string();
    let overlay = Overlay::new("package");
    let before = overlay.listing();
    assert!(!before.keys().any(|path| path.ends_with("/guard.service")), "guard is installed on this machine");

    drop(dpkg(&overlay, &["--install", &path(&first)]));
    assert!(version(&overlay).ends_with("-1 install ok installed"), "{}", version(&overlay));
    let there = |path: &str| fs::symlink_metadata(overlay.path(path)).is_ok();
    for part in [
        "/usr/bin/guard",
        "/etc/guard/policy.toml",
        "/etc/logrotate.d/guard",
        "/usr/share/bash-completion/completions/guard",
        "/usr/share/man/man1/guard-daemon.1.gz",
        "/usr/share/doc/guard/THIRD-PARTY.txt",
        "/usr/share/guard/policies/strict.toml",
        "/etc/systemd/system/multi-user.target.wants/guard.service",
    ] {
        assert!(there(part), "{part} is not there: {:#?}", changes(&before, &overlay.listing()));
    }
    assert!(overlay.job("getent").args(["group", "guard"]).run().status.success(), "no group guard");
    drop(overlay.job("guard").args(["policy", "check", "/etc/guard/policy.toml"]).run().succeeded());

    // It runs, from where it was installed, with a policy of one's own.
    let work = Work::new();
    fs::write(overlay.path("/etc/guard/policy.toml"), work.policy()).expect("written");
    let daemon = start(&overlay);
    assert_eq!(fs::read_link(format!("/proc/{}/exe", daemon.pid())).expect("it runs"), Path::new("/usr/bin/guard"));
    work.is_guarded(&overlay);
    let status = overlay.job("guard").args(["service", "status"]).run();
    assert_eq!(status.code(), 0, "{}{}", status.out(), status.err());
    assert!(status.out().contains("policy    /etc/guard/policy.toml, rules 1,"), "{}", status.out());

    // Upgraded while it runs: it guards on, and the policy stays.
    drop(dpkg(&overlay, &["--install", &path(&newer)]));
    assert!(version(&overlay).ends_with("+newer install ok installed"), "{}", version(&overlay));
    work.is_guarded(&overlay);
    assert_eq!(fs::read_to_string(overlay.path("/etc/guard/policy.toml")).expect("a policy"), work.policy());
    stop(daemon);
    assert_eq!(work.read(&overlay, "denied/secret"), (0, SECRET.to_owned()));
    let daemon = start(&overlay);
    work.is_guarded(&overlay);
    stop(daemon);
    let events = fs::read_to_string(overlay.path("/var/log/guard/events.jsonl")).expect("events");
    assert_eq!(events.matches("\"rule\":\"secrets\"").count(), 3, "{events}");

    // Removed: what people wrote stays, the program does not.
    drop(dpkg(&overlay, &["--remove", "guard"]));
    assert!(there("/etc/guard/policy.toml") && there("/var/log/guard/events.jsonl"));
    assert!(!there("/usr/bin/guard") && !there("/usr/lib/systemd/system/guard.service"));

    // Purged: nothing stays. The folder of the socket is systemd's, which removes it when the daemon ends.
    drop(dpkg(&overlay, &["--purge", "guard"]));
    fs::remove_dir(overlay.path("/run/guard")).expect("the daemon has left nothing in it");
    let left = changes(&before, &overlay.listing());
    assert!(left.is_empty(), "{left:#?}");
}

/// Both would bring a unit, and one would hide the other.
#[test]
fn the_package_does_not_mix_with_guard_service_install() {
    let overlay = Overlay::new("package");
    drop(overlay.job(support::guard::binary()).args(["service", "install", "--offline"]).run().succeeded());
    let package = packed("guard_", "-1_amd64.deb");
    let refused = overlay.job("dpkg").arg("--install").arg(package).run();
    assert_ne!(refused.code(), 0, "{}", refused.out());
    assert!(refused.err().contains("guard service uninstall"), "{}", refused.err());
}

#[test]
fn the_tarball_holds_what_it_takes() {
    let tarball = packed("guard-", "-linux.tar.gz");
    let scratch = Scratch::new("tarball");
    drop(
        Job::new("tar", scratch.path())
            .args(["--extract", "--strip-components=1", "--file"])
            .arg(&tarball)
            .run()
            .succeeded(),
    );
    for part in [
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "THIRD-PARTY.txt",
        "README.md",
        "docs/install.md",
        "deploy/systemd/guard.service",
        "deploy/logrotate/guard",
        "policies/default.toml",
        "completions/_guard",
        "man/guard.1.gz",
    ] {
        assert!(scratch.join(part).is_file(), "{part} is not in {}", tarball.display());
    }
    let notices = fs::read_to_string(scratch.join("THIRD-PARTY.txt")).expect("notices");
    for word in ["aya ", "tokio ", "aya-ebpf ", "Permission is hereby granted"] {
        assert!(notices.contains(word), "{word} is not in the notices");
    }
    let done = Job::new(scratch.join("bin/guard"), scratch.path()).args(["policy", "check", "policies/default.toml"]);
    drop(done.run().succeeded());
}
