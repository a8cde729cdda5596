//! What is done to other processes, to mounts and to one's own rights.

use std::ffi::CString;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use serde_json::Value;
use support::group::Group;
use support::guard::Guarded;
use support::run::{Job, Running};
use support::stage::text;

use crate::Check;
use crate::ground::Ground;

pub const CHECKS: &[Check] = &[
    ("rights: no signal reaches another's process", signals),
    ("rights: nobody else's process is limited, nor moved to another control group", reins),
    ("rights: nobody's memory is seen, nor descriptors taken", memory),
    ("rights: a process does as it likes with its own children", own),
    ("rights: nothing is mounted where it may not be", mounts),
    ("rights: nobody gains rights who may not", gains),
    ("rights: a policy that denies what is not seen is refused", refused_unseen),
];

/// A process outside of every tree, waiting.
pub fn victim(place: &Path) -> Running {
    Job::new(place.join("victim"), place).args(["sleep", "60000"]).start()
}

/// The same, of a program in memory alone.
pub fn victim_in_memory(place: &Path) -> Running {
    let victim = Job::new(place.join("attempt"), place);
    let victim = victim.args(["exec", "--by", "memfd", "./victim", "sleep", "60000"]).start();
    let exe = format!("/proc/{}/exe", victim.pid());
    support::stage::until("it runs from memory", || {
        fs::read_link(&exe).is_ok_and(|exe| exe.starts_with("/memfd:copy (deleted)"))
    });
    victim
}

/// Denies the attempt on another's process; the event.
fn against(ground: &Ground, place: &Path, how: &str, words: &[&str]) -> Value {
    let victim = victim(place);
    let pid = victim.pid().to_string();
    // Calls that name it by a number do not show what it runs: then the first rule decides that denies anything of the kind.
    let known = ground.kernel.asks(how) || !["memory", "limit"].iter().any(|word| words.contains(word));
    let rule = if known { "processes" } else { "self-process" };
    let event = ground.held(rule, place, how, words.iter().copied().chain([pid.as_str()]));
    assert_eq!(event["target"], victim.pid(), "{event}");
    let path = place.join("victim").display().to_string();
    assert_eq!(event["path"], if known { Value::from(path) } else { Value::Null }, "{event}");
    event
}

fn signals(ground: &Ground) {
    let [disk, _] = &ground.places;
    let event = against(ground, disk, "kill", &["kill"]);
    assert_eq!((text(&event, "/op"), &event["signal"]), ("signal", &15.into()), "{event}");
}

/// By limits that it exceeds, and in a group that is halted or killed, a process ends as by a signal.
fn reins(ground: &Ground) {
    let [disk, _] = &ground.places;
    let event = against(ground, disk, "limit", &["limit"]);
    assert_eq!((text(&event, "/op"), &event["signal"]), ("signal", &Value::Null), "{event}");
    let group = Group::new();
    let folder = group.folder().display().to_string();
    let victim = victim(disk);
    let event = ground.contained("processes", disk, ["regroup", &victim.pid().to_string(), &folder]);
    assert_eq!((text(&event, "/how"), &event["target"]), ("regroup", &victim.pid().into()), "{event}");
    let own =
        format!("./victim sleep 60000 & ./attempt regroup $! {folder} && ./attempt limit $!; a=$?; kill $!; exit $a");
    let Guarded { done, events } = ground.run(&crate::ground::shell(disk, &own));
    assert_eq!((done.code(), events.denials().count()), (0, 0), "{}\n{events}", done.err());
}

fn memory(ground: &Ground) {
    let [disk, _] = &ground.places;
    for by in ["ptrace", "memory"] {
        let event = against(ground, disk, "attach", &["attach", "--by", by]);
        assert_eq!(text(&event, "/op"), "ptrace", "{by}: {event}");
    }
    let victim = victim(disk);
    let pid = victim.pid().to_string();
    ground.held_if_asked("processes", disk, "attach", ["attach", "--by", "descriptor", &pid]);
    // Of this the kernel makes another error.
    let Guarded { done, events } = ground.attempt(disk, ["attach", "--by", "proc-mem", &pid]);
    let refused = ground.kernel.asks("attach");
    assert_eq!(
        (done.code() == 1, events.rule("processes").count() == 1),
        (refused, refused),
        "{}\n{events}",
        done.err()
    );
}

/// By the same rule's path, for the children are the very program that it names.
fn own(ground: &Ground) {
    let [disk, _] = &ground.places;
    for act in ["kill $!", "./attempt kill $!", "./attempt attach $! && kill $!"] {
        let script = format!("./victim sleep 60000 & {act}; wait $!; test $? = 143");
        let job = crate::ground::shell(disk, &script);
        let Guarded { done, events } = ground.run(&job);
        assert_eq!((done.code(), events.denials().count()), (0, 0), "{act}: {}\n{events}", done.err());
    }
}

fn mounts(ground: &Ground) {
    let [disk, _] = &ground.places;
    for folder in ["kept/mount", "open/shown"] {
        fs::create_dir_all(disk.join(folder)).expect("a folder");
    }
    ground.allowed(disk, ["mount", "open"]);
    for (words, how) in [(&["mount", "kept/mount"][..], "mount"), (&["bind", "open/shown", "kept/mount"], "bind")] {
        let event = ground.held("kept", disk, how, words);
        assert_eq!((text(&event, "/op"), text(&event, "/how")), ("mount", how), "{event}");
    }
    careful(ground, "user-namespace", "mount", &["user-namespace"]);
}

/// Denies what is attempted by the agent as a program that may not; it is told by its own path.
fn careful(ground: &Ground, how: &str, op: &str, words: &[&str]) {
    let [disk, _] = &ground.places;
    let words = ["exec", "./careful"].iter().chain(words);
    let event = if how == "setuid" {
        // Who the process was before is not known after the call.
        let Some(event) = ground.held_if_asked("rights", disk, how, words) else { return };
        event
    } else {
        ground.held("rights", disk, how, words)
    };
    assert_eq!((text(&event, "/op"), text(&event, "/how")), (op, how), "{event}");
    assert_eq!(event["path"], disk.join("careful").to_str().expect("a path of ASCII"), "{event}");
}

fn gains(ground: &Ground) {
    let [disk, _] = &ground.places;
    careful(ground, "setuid", "privilege", &["become-root"]);
    careful(ground, "bpf", "privilege", &["bpf"]);
    let program = disk.join("tools/set-id");
    chown(&program, Some(1), Some(1)).expect("given away");
    fs::set_permissions(&program, Permissions::from_mode(0o4755)).expect("set");
    let event = ground.held("rights", disk, "set-id-program", ["exec", "tools/set-id", "sleep", "1"]);
    assert_eq!((text(&event, "/op"), text(&event, "/how")), ("privilege", "set-id-program"), "{event}");
    capabilities(ground);
    if ground.kernel.prevents() {
        // Elsewhere the kernel has its own word on what is no module.
        careful(ground, "module", "privilege", &["module"]);
    }
}

/// A user with no capabilities executes a program whose file brings one. Refused where the module that computes them has been
/// asked before guard, else the process is killed before the program's first instruction.
fn capabilities(ground: &Ground) {
    let [disk, _] = &ground.places;
    let program = disk.join("tools/set-id");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("set");
    give_capability(&program);
    // It keeps its capabilities up to the next exec.
    let script = "exec setpriv --reuid=65534 --clear-groups /bin/sh -c 'exec tools/set-id sleep 1'";
    let Guarded { done, events } = ground.run(&crate::ground::shell(disk, script));
    let denials: Vec<&Value> = events.denials().collect();
    if !ground.kernel.prevents() {
        assert_eq!((done.code(), denials.len()), (0, 0), "{}\n{events}", done.err());
        return;
    }
    assert_eq!(denials.len(), 1, "{}\n{events}", done.err());
    let (op, how) = (text(denials[0], "/op"), text(denials[0], "/how"));
    assert_eq!((op, how), ("privilege", "set-id-program"), "{events}");
    let late = ground.kernel.asks_first();
    let backend = if late { "signal" } else { "lsm" };
    let verdict = &denials[0]["verdict"];
    assert_eq!((text(verdict, "/backend"), &verdict["enforced"]), (backend, &true.into()), "{events}");
    assert!(if late { done.code() == 137 } else { done.err().contains("not permitted") }, "{}", done.err());
}

/// Lets everybody who executes it open raw sockets.
fn give_capability(program: &Path) {
    const CAP_NET_RAW: u32 = 13;
    // `struct vfs_cap_data` of revision 2, with the bit by which they are effective at once (`include/uapi/linux/capability.h`).
    let words = [0x0200_0001, 1 << CAP_NET_RAW, 0, 0, 0];
    let value: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
    let path = CString::new(program.as_os_str().as_bytes()).expect("no zeroes in it");
    // SAFETY: two terminated strings, and as many bytes as it is told.
    let set = unsafe {
        libc::setxattr(path.as_ptr(), c"security.capability".as_ptr(), value.as_ptr().cast(), value.len(), 0)
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// Where it is not seen, whoever denies it has to know.
fn refused_unseen(ground: &Ground) {
    let [disk, _] = &ground.places;
    let policy = "version = 1\n[[rule]]\nname = \"gone\"\non = [\"delete\"]\naction = \"deny\"\n";
    let policy = ground.scratch().write("unseen.toml", policy);
    let run = |flag: &[&str]| {
        let job = Job::new(support::guard::binary(), disk).arg("run").arg("--policy").arg(&policy);
        job.args(flag).args(["--", "true"]).limit(crate::ground::LOADING).run()
    };
    let blind = ["--without-hooks", "--without-calls"];
    let done = run(&blind);
    assert_eq!(done.code(), 125, "{}", done.err());
    for part in ["`delete`", "`gone`", "--degrade", "guard doctor"] {
        assert!(done.err().contains(part), "{part}: {}", done.err());
    }
    let done = run(&[&blind[..], &["--degrade"]].concat());
    assert_eq!(done.code(), 0, "{}", done.err());
    assert!(done.err().contains("`delete`"), "{}", done.err());
}
