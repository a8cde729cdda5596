//! guard itself: what a session may not do to it, whatever the policy says.

use std::fs;
use std::path::Path;

use support::guard::Guarded;
use support::run::Job;
use support::stage::text;

use crate::Check;
use crate::ground::Ground;

pub const CHECKS: &[Check] = &[
    ("self: no session ends guard or looks into it", processes),
    ("self: no session edits the policy", policy),
    ("self: no session takes away what keeps guard standing", pins),
    ("self: no session gets at guard's maps, nor at a link", maps),
    ("self: no session switches off that programs are called", switch),
];

fn processes(ground: &Ground) {
    let [disk, _] = &ground.places;
    let pid = ground.daemon.pid().to_string();
    // Elsewhere nobody would keep it from that.
    if !ground.kernel.asks("kill") {
        return weigh(ground, &pid);
    }
    for (how, words) in [
        ("kill", &["kill"][..]),
        ("limit", &["limit"]),
        ("attach", &["attach"]),
        ("attach", &["attach", "--by", "memory"]),
    ] {
        let event = ground.held("self-process", disk, how, words.iter().copied().chain([pid.as_str()]));
        assert_eq!((&event["target"], text(&event, "/how")), (&ground.daemon.pid().into(), how), "{event}");
    }
    notify(ground, &pid);
    weigh(ground, &pid);
}

/// The kernel signals an event of a descriptor by itself: nobody is refused, and the signal does not come.
fn notify(ground: &Ground, daemon: &str) {
    let [disk, _] = &ground.places;
    let victim = crate::rights::victim(disk);
    for pid in [&victim.pid().to_string(), daemon] {
        let Guarded { done, .. } = ground.attempt(disk, ["notify", pid]);
        assert_eq!(done.code(), 0, "{}", done.err());
    }
    // As this one shows, whom nobody protects.
    let done = victim.wait();
    assert_eq!(done.code(), 128 + 9, "{}", done.err());
}

/// Whom the kernel ends first when memory is short.
fn weigh(ground: &Ground, pid: &str) {
    let [disk, _] = &ground.places;
    let file = format!("/proc/{pid}/oom_score_adj");
    let before = fs::read_to_string(&file).expect("a file");
    let _event = ground.denied("self", disk, ["write", &file, "1000"]);
    assert_eq!(fs::read_to_string(&file).expect("a file"), before);
}

fn policy(ground: &Ground) {
    let [disk, _] = &ground.places;
    let file = ground.policy().to_str().expect("a path of ASCII");
    let before = fs::read_to_string(file).expect("a file");
    let _event = ground.denied("self", disk, ["write", file, "mode = \"audit\""]);
    let _moved = ground.held("self", disk, "rename", ["rename", file, "allowed/policy"]);
    if !ground.kernel.asks("rename") {
        fs::rename(disk.join("allowed/policy"), file).expect("moved back");
    }
    assert_eq!(fs::read_to_string(file).expect("a file"), before);
}

fn pins(ground: &Ground) {
    let [disk, _] = &ground.places;
    let pin = ground.pins().read_dir().expect("a folder").flatten().next().expect("its pins").path().join("on_exec");
    assert!(pin.exists(), "{}", pin.display());
    if !ground.kernel.asks("unlink") {
        return;
    }
    let pin = pin.to_str().expect("a path of ASCII");
    let _event = ground.held("self", disk, "unlink", ["unlink", pin]);
    let bpffs = ground.scratch().join("bpf");
    let bpffs = bpffs.to_str().expect("a path of ASCII");
    let _event = ground.held("self", disk, "unmount", ["unmount", bpffs]);
    // What it enforces by is still there.
    let Guarded { done, .. } = ground.attempt(disk, ["read", "denied/secret"]);
    assert_eq!((done.code() == 0, done.out().as_str()), (false, ""), "{}", done.err());
}

/// Names of maps that nobody but guard has.
const MAPS: [&str; 4] = ["MEMBERS", "ACTIVE", "TABLES", "OWN_MAPS"];

fn maps(ground: &Ground) {
    let [disk, _] = &ground.places;
    let has = |text: &str, map: &str| text.lines().any(|line| line == map);
    let outside = Job::new(disk.join("attempt"), disk).args(["maps"]).run();
    assert_eq!(outside.code(), 0, "{}", outside.err());
    assert!(MAPS.iter().all(|map| has(&outside.out(), map)), "{}", outside.out());
    if !ground.kernel.prevents() {
        return;
    }
    let Guarded { done, events } = ground.attempt(disk, ["maps"]);
    assert_eq!(done.code(), 1, "{}", done.err());
    assert!(!MAPS.iter().any(|map| has(&done.out(), map)), "{}{}", done.out(), done.err());
    let told = events.rule("self-process").inspect(|event| {
        assert_eq!((text(event, "/op"), text(event, "/how")), ("privilege", "bpf"), "{event}");
    });
    assert!(told.count() >= MAPS.len(), "{events}");
    // The maps of others, its own among them, are nobody's business.
    let _event = ground.held("self-process", disk, "bpf", ["detach"]);
    let Guarded { done, .. } = ground.attempt(disk, ["bpf"]);
    assert_eq!(done.code(), 0, "{}", done.err());
}

fn switch(ground: &Ground) {
    let [disk, _] = &ground.places;
    // Should that get through, it is a question for help, in the kernel's log.
    let keys = ["write", "/proc/sysrq-trigger", "h"];
    if Path::new(keys[1]).exists() {
        let _event = ground.denied("self", disk, keys);
    } else {
        // Distributions build it in; what runs only in virtual machines may lack it.
        let Guarded { done, .. } = ground.attempt(disk, keys);
        assert!(done.err().contains("ENOENT"), "{}", done.err());
    }
    let switch = "/proc/sys/kernel/ftrace_enabled";
    let before = fs::read_to_string(switch).expect("a file");
    assert_eq!(before.trim(), "1");
    // The kernel refuses it too, where it says that what is there must stay.
    let _event = ground.denied("self", disk, ["write", switch, "0"]);
    assert_eq!(fs::read_to_string(switch).expect("a file"), before);
}
