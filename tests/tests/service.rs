//! `guard service`, on this machine's own files with all changes kept apart, and the unit as systemd judges it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::guard::{Socket, binary, policies};
use support::overlay::{Overlay, changes};
use support::place::Scratch;
use support::run::{Finished, Job};
use support::stage::{Stage, until};

/// What is claimed in docs/install.md; `systemd-analyze security`, of Debian 12.
const EXPOSURE: f64 = 3.0;

fn deployed(name: &str) -> String {
    let path = policies().join("../deploy").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn systemd_finds_the_unit_right_and_little_exposed() {
    let overlay = Overlay::new("unit");
    fs::copy(binary(), overlay.path("/usr/bin/guard")).expect("a program for the unit to name");
    fs::write(overlay.path("/etc/systemd/system/guard.service"), deployed("systemd/guard.service")).expect("written");
    // Manual pages that packages install may be missing here; nothing else may be said of the unit.
    let verified = overlay.job("systemd-analyze").args(["verify", "--man=no", "guard.service"]).run();
    let said: Vec<_> = verified.err().lines().filter(|line| line.contains("guard")).map(str::to_owned).collect();
    assert!(verified.status.success() && said.is_empty(), "{}\n{}", verified.status, verified.err());

    let judged =
        overlay.job("systemd-analyze").args(["security", "--offline=true", "--no-pager", "guard.service"]).run();
    let out = judged.out();
    let figure = out.lines().find_map(|line| line.split_once("Overall exposure level for guard.service: "));
    let figure: f64 =
        figure.and_then(|(_, rest)| rest.split(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("{out}"));
    assert!(figure <= EXPOSURE, "{figure} is more than what is claimed, {EXPOSURE}\n{out}");
    // What the docs say is what is so.
    let docs = fs::read_to_string(policies().join("../docs/install.md")).expect("docs/install.md");
    assert!(docs.contains(&format!("{EXPOSURE} ")), "docs/install.md doesn't give the figure {EXPOSURE}");
}

/// The daemon, with the unit's capabilities and no others, does its work.
#[test]
fn the_unit_s_capabilities_are_enough() {
    let unit = deployed("systemd/guard.service");
    let bounding = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).expect("capabilities");
    let set: Vec<_> =
        bounding.split(' ').map(|name| format!("+{}", name.trim_start_matches("CAP_").to_lowercase())).collect();
    // A home that only its owner may enter, with a repository in it: the daemon finds its top.
    let scratch = Scratch::new("capabilities");
    let agent = scratch.program(Path::new("/bin/bash"), "agent");
    let policy = format!(
        "version = 1\n[agent.tester]\nexe = [\"{}\"]\n[[rule]]\nname = \"kept\"\non = [\"read\"]\npath = [\"{{repo}}/kept\"]\naction = \"deny\"\n",
        agent.display()
    );
    let policy = scratch.write("policy.toml", policy);
    scratch.write("home/repo/.git/HEAD", "ref: refs/heads/main\n");
    scratch.write("home/repo/kept", "x");
    scratch.write("home/repo/below/plain", "x");
    drop(Job::new("chown", scratch.path()).args(["-R", "65534", "home"]).run().succeeded());
    fs::set_permissions(scratch.join("home"), fs::Permissions::from_mode(0o700)).expect("a home");
    let socket = Socket::new();
    // With its limit on locked memory too, where that can be raised: 5.10, which counts maps, refuses them else.
    assert!(unit.contains("\nLimitMEMLOCK=infinity\n"));
    let mut daemon = Job::new("sh", Path::new("/"))
        .args(["-c", "ulimit -l unlimited 2> /dev/null; exec \"$@\"", "sh", "setpriv"])
        .arg(format!("--bounding-set=-all,{}", set.join(",")))
        .arg("--no-new-privs")
        .arg(binary())
        .args(["daemon", "--no-pins", "--policy"])
        .arg(policy)
        .arg("--socket")
        .arg(socket.path())
        .start();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !daemon.stderr().contains("guarding") {
        assert!(!daemon.ended() && Instant::now() < deadline, "{}", daemon.stderr());
        std::thread::sleep(Duration::from_millis(5));
    }
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).expect("a mask");
    assert_eq!(u64::from_str_radix(effective, 16).expect("a mask").count_ones() as usize, set.len(), "{effective}");

    let below = scratch.join("home/repo/below");
    let tries =
        Job::new(&agent, &below).args(["-c", "for try in {1..100}; do cat ../kept || exit 9; sleep 0.1; done"]);
    let done = tries.run();
    assert_eq!(done.code(), 9, "the repository is not found\n{}\n{}", done.err(), daemon.stderr());
    daemon.signal(Signal::SIGTERM);
    let done = daemon.wait();
    assert_eq!(done.code(), 0, "{}", done.err());
}

fn service(overlay: &Overlay, program: &Path, arguments: &[&str]) -> Finished {
    overlay.job(program).arg("service").args(arguments).run()
}

/// All that install makes is there, and all of it is gone after uninstall, but for what people changed.
#[test]
fn install_and_uninstall_leave_the_machine_as_it_was() {
    let overlay = Overlay::new("service");
    // What a package does here is looked at elsewhere.
    assert!(!overlay.path("/etc/guard").exists(), "guard is installed on this machine");
    // logrotate is there, and has nothing to do with it but its folder.
    fs::create_dir_all(overlay.path("/etc/logrotate.d")).expect("a folder");
    let before = overlay.listing();
    let guard = binary();

    let done = service(&overlay, &guard, &["install", "--offline"]).succeeded();
    for made in [
        "group guard",
        "/usr/local/bin/guard",
        "/etc/guard/policy.toml",
        "/etc/logrotate.d/guard",
        "/etc/systemd/system/guard.service",
    ] {
        assert!(done.out().contains(&format!("made    {made}")), "{made}\n{}", done.out());
    }
    let there = |path: &str| overlay.path(path).exists() || fs::symlink_metadata(overlay.path(path)).is_ok();
    let unit = fs::read_to_string(overlay.path("/etc/systemd/system/guard.service")).expect("a unit");
    assert!(unit.contains("\nExecStart=/usr/local/bin/guard daemon "), "{unit}");
    assert!(there("/etc/systemd/system/multi-user.target.wants/guard.service"), "it does not start at boot");
    assert!(overlay.job("getent").args(["group", "guard"]).run().status.success());
    // The installed program, with the installed policy.
    drop(overlay.job("/usr/local/bin/guard").args(["policy", "check", "/etc/guard/policy.toml"]).run().succeeded());

    // Again, by the installed one: nothing is there twice, and a policy of one's own stays.
    let policy = overlay.path("/etc/guard/policy.toml");
    let own = fs::read_to_string(&policy).expect("a policy") + "# ours\n";
    fs::write(&policy, &own).expect("written");
    let again = service(&overlay, Path::new("/usr/local/bin/guard"), &["install", "--offline"]).succeeded();
    assert!(again.out().contains("kept    /etc/guard/policy.toml"), "{}", again.out());
    assert!(!again.out().contains("group"), "{}", again.out());

    let gone = service(&overlay, &guard, &["uninstall", "--offline"]).succeeded();
    assert!(gone.out().contains("stays   /etc/guard/policy.toml, which was changed"), "{}", gone.out());
    let left = changes(&before, &overlay.listing());
    assert_eq!(left, ["+ /etc/guard", "+ /etc/guard/policy.toml"], "{}", gone.out());
    assert_eq!(fs::read_to_string(&policy).expect("still there"), own);

    // Once more from there: the policy that was kept is nobody's to remove; without it, nothing is left.
    drop(service(&overlay, &guard, &["install", "--offline"]).succeeded());
    drop(service(&overlay, &guard, &["uninstall", "--offline"]).succeeded());
    assert_eq!(fs::read_to_string(&policy).expect("still there"), own);
    fs::remove_dir_all(overlay.path("/etc/guard")).expect("removed");
    drop(service(&overlay, &guard, &["install", "--offline"]).succeeded());
    drop(service(&overlay, &guard, &["uninstall", "--offline"]).succeeded());
    let left = changes(&before, &overlay.listing());
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn what_is_not_guard_s_is_not_touched() {
    let overlay = Overlay::new("service");
    let guard = binary();
    let unit = overlay.path("/etc/systemd/system/guard.service");
    fs::write(&unit, "[Unit]\n").expect("written");
    let before = overlay.listing();
    let refused = service(&overlay, &guard, &["install", "--offline"]);
    assert_eq!(refused.code(), 125, "{}", refused.out());
    assert!(refused.err().contains("/etc/systemd/system/guard.service is there"), "{}", refused.err());
    assert!(refused.err().contains("Move it away first"), "{}", refused.err());
    let nothing = service(&overlay, &guard, &["uninstall", "--offline"]);
    assert_eq!(nothing.code(), 125, "{}", nothing.out());
    assert!(nothing.err().contains("installed nothing here"), "{}", nothing.err());
    assert!(changes(&before, &overlay.listing()).is_empty());

    fs::remove_file(&unit).expect("removed");
    fs::create_dir_all(overlay.path("/usr/lib/systemd/system")).expect("a folder");
    fs::write(overlay.path("/usr/lib/systemd/system/guard.service"), "[Unit]\n").expect("written");
    let refused = service(&overlay, &guard, &["install", "--offline"]);
    assert!(refused.err().contains("a package has installed guard already"), "{}", refused.err());
}

/// In there /run is empty, so by systemd's own mark no systemd runs.
#[test]
fn without_systemd_or_root_it_says_so() {
    let overlay = Overlay::new("service");
    let guard = binary();
    for task in ["install", "uninstall"] {
        let done = service(&overlay, &guard, &[task]);
        assert_eq!(done.code(), 125, "{}", done.out());
        for part in ["systemd does not run this machine", &format!("guard service {task} --offline")] {
            assert!(done.err().contains(part), "{part}: {}", done.err());
        }
        fs::copy(&guard, overlay.path("/tmp/guard")).expect("a copy that everybody may run");
        let done = overlay
            .job("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "/tmp/guard", "service", task])
            .run();
        assert_eq!(done.code(), 125, "{}", done.out());
        assert!(done.err().contains(&format!("sudo guard service {task}")), "{}", done.err());
    }
    // A machine without systemctl.
    let done = overlay.job("env").arg("PATH=/nowhere").arg(&guard).args(["service", "install"]).run();
    assert!(done.err().contains("no systemctl"), "{}", done.err());
}

#[test]
fn status_says_what_is_so() {
    let stage = Stage::new("status");
    let status =
        |socket: &Path| Job::new(binary(), stage.path()).args(["service", "status", "--socket"]).arg(socket).run();
    let none = status(Path::new("/nonexistent/guard.sock"));
    assert_eq!(none.code(), 3, "{}", none.out());
    assert!(
        none.out().contains("enforcing no\n") && none.out().contains("/nonexistent/guard.sock"),
        "{}",
        none.out()
    );

    let daemon = stage.guard("").daemon();
    let done = status(daemon.socket());
    assert_eq!(done.code(), 0, "{}", done.out());
    for part in [
        "unit      ",
        &format!("daemon    process {}, guard ", daemon.pid()),
        "enforcing yes, by ",
        "rules 1, agents tester, since 2",
        "sessions  0\n",
    ] {
        assert!(done.out().contains(part), "{part}\n{}", done.out());
    }
    let mut running = Job::new(stage.agent(), stage.path()).args(["after", "go", "read", "allowed/fine"]).start();
    let _events = daemon.wait_for("the agent", |event| event["op"] == "session-start");
    until("the session is counted", || status(daemon.socket()).out().contains("sessions  1\n"));
    assert!(!running.ended());
    drop(daemon);
    drop(running);

    let daemon = stage.guard("").audit().daemon();
    let done = status(daemon.socket());
    assert_eq!(done.code(), 1, "{}", done.out());
    assert!(done.out().contains("enforcing no: mode audit, by "), "{}", done.out());
}
