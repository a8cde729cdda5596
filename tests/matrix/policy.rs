//! Rules with conditions, and policies that change.

use std::fs;

use serde_json::Value;
use support::api::Api;
use support::guard::Guarded;
use support::http::{Response, Server};
use support::stage::{SECRET, text};

use crate::ground::{Ground, RELOADED, shell};
use crate::{Check, execs, rights};

pub const CHECKS: &[Check] = &[
    ("policy: what one program may another may not", by),
    ("policy: a phase ends what was allowed before", phase),
    ("policy: nothing runs straight from the network", pipe_to_shell),
    ("policy: another one is in force at once and whole", reload),
    ("policy: one session is only watched, and guard protects itself from it all the same", watched),
    ("policy: a program in memory alone may do nothing that one may not", in_memory),
];

fn by(ground: &Ground) {
    for place in &ground.places {
        let reader = place.join("reader").display().to_string();
        assert_eq!(ground.allowed(place, ["exec", &reader, "read", "by/secret"]), SECRET);
        ground.denied("others", place, ["read", "by/secret"]);
    }
}

fn phase(ground: &Ground) {
    for place in &ground.places {
        let script = "./attempt read phase/secret; /bin/true setup is done; ./attempt read phase/secret; exit 3";
        let Guarded { done, events } = ground.run(&shell(place, script));
        assert_eq!((done.code(), done.out().as_str()), (3, SECRET), "{}\n{events}", done.err());
        assert_eq!((events.op("phase").count(), events.rule("phase").count()), (1, 1), "{events}");
    }
}

/// In whichever order the two ends get ready.
fn pipe_to_shell(ground: &Ground) {
    let [disk, _] = &ground.places;
    let ran = disk.join("ran");
    let text = format!("touch {}\n", ran.display());
    let server = Server::start(0, move |_| Response::ok("text/x-shellscript", text.clone())).expect("a server");
    let get = r"exec 5<>/dev/tcp/127.0.0.1/$port; printf 'GET /x HTTP/1.0\r\n\r\n' >&5; sed '1,/^\r$/d' <&5";
    let port = server.addr().port().to_string();
    for script in [
        format!("{{ {get}; }} | {{ while ! test -e connected; do :; done; exec sh; }}")
            .replace("; sed", "; touch connected; sed"),
        format!("{{ sleep 1; {get}; }} | sh"),
        format!("bash <({get})"),
    ] {
        let Guarded { done, events } = ground.run(&shell(disk, &script).env("port", &port));
        assert!(!ran.exists(), "{script}: it ran\n{}\n{events}", done.err());
        assert!(events.rule("pipe-to-shell").count() >= 1, "{script}: nothing told\n{}\n{events}", done.err());
    }
    let fine = ground.run(&shell(disk, "echo 'touch ran' | sh"));
    assert!(fs::exists(&ran).expect("a look"), "{}\n{}", fine.done.err(), fine.events);
}

fn reload(ground: &Ground) {
    let [first, second] = RELOADED;
    judged(ground, first, second);
    ground.reload(second);
    judged(ground, second, first);
    ground.reload(first);
    judged(ground, first, second);
}

fn judged(ground: &Ground, denied: &str, free: &str) {
    for place in &ground.places {
        ground.denied("reloaded", place, ["read", &format!("{denied}/secret")]);
        assert_eq!(ground.allowed(place, ["read", &format!("{free}/secret")]), SECRET);
    }
}

/// The others are held as ever.
fn watched(ground: &Ground) {
    let [disk, _] = &ground.places;
    let api = Api::at(ground.daemon.socket());
    let go = disk.join("go");
    let script = "while ! test -e go; do sleep 0.1; done; ./attempt read by/secret; ./attempt write $policy more; echo $?; rm go";
    let running = shell(disk, script).env("policy", ground.policy()).start();
    let pid = running.pid();
    let start = ground.told("its start", |event| event["op"] == "session-start" && event["process"]["pid"] == pid);
    let path = format!("/v1/sessions/{}/mode", text(&start, "/tree"));
    let answer = api.send("PUT", &path, "{\"mode\":\"audit\"}");
    assert_eq!(answer.status, 200, "{answer:?}");
    ground.denied("others", disk, ["read", "by/secret"]);
    let before = fs::read(ground.policy()).expect("a policy");
    fs::write(&go, "").expect("written");
    let done = running.wait();
    let stopped = if ground.kernel.prevents() { 1 } else { 137 };
    assert_eq!(done.out(), format!("{SECRET}{stopped}\n"), "{}", done.err());
    assert_eq!(fs::read(ground.policy()).expect("a policy"), before);
    let of_it = |rule: &str| {
        let of_it = |event: &Value| event["tree"] == start["tree"] && event["verdict"]["rule"] == rule;
        ground.told(rule, of_it)["verdict"]["enforced"].clone()
    };
    assert_eq!((of_it("others"), of_it("self")), (false.into(), true.into()));
}

/// It could call itself anything, so it is taken for what the rules name: who does something, and whom it is done to. The first
/// such rule decides, which may be one of guard's own.
fn in_memory(ground: &Ground) {
    let [disk, _] = &ground.places;
    if !execs::without_a_name(ground, disk) {
        return;
    }
    ground.free_programs();
    let in_memory = ["exec", "--by", "memfd", "./attempt"];
    for (how, rule, words) in [
        ("user-namespace", "self", &["user-namespace"][..]),
        ("setuid", "rights", &["become-root"]),
        ("bpf", "rights", &["bpf"]),
    ] {
        // As a program with a path it may.
        ground.allowed(disk, ["exec", "./attempt"].iter().chain(words));
        let words = in_memory.iter().chain(words);
        let event = if how == "setuid" {
            ground.held_if_asked(rule, disk, how, words)
        } else {
            Some(ground.held(rule, disk, how, words))
        };
        unknown(event.as_ref());
    }
    for (how, words) in [("kill", &["kill"][..]), ("attach", &["attach"])] {
        let victim = rights::victim_in_memory(disk);
        let pid = victim.pid().to_string();
        unknown(Some(&ground.held("self-process", disk, how, words.iter().copied().chain([pid.as_str()]))));
    }
    ground.reload(RELOADED[0]);
}

/// Its path is not told, for it has none.
fn unknown(event: Option<&Value>) {
    assert!(event.is_none_or(|event| event.get("path").is_none()), "{event:?}");
}
