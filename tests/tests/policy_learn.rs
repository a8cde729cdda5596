//! `guard policy learn`: what it proposes allows what was seen, and little else.

use std::fs;
use std::path::Path;

use guard::policy::{Compiled, Object, Places, compile, default_text, load};
use guard_common::words::{Action, Op, Scope};
use serde_json::{Value, json};
use support::guard::{Events, Guard, binary};
use support::place::Scratch;
use support::run::{Finished, Job};

/// `guard policy learn` with these arguments.
fn learn(scratch: &Scratch, arguments: &[&str]) -> Finished {
    Job::new(binary(), scratch.path()).args(["policy", "learn"]).args(arguments).run()
}

/// An event of a session in /home/u/app, as guard writes it.
fn event(op: &str, scope: &str, more: &Value) -> String {
    let mut event = json!({"time": "2026-11-20T23:48:01.1Z", "op": op, "tree": "1", "scope": scope,
        "process": {"pid": 41, "start": 1}, "verdict": {"action": "allow", "enforced": false}});
    let members = more.as_object().expect("members").clone();
    event.as_object_mut().expect("an object").extend(members);
    event.to_string()
}

fn start() -> String {
    event("session-start", "harness", &json!({"repo": "/home/u/app", "home": "/home/u"}))
}

fn open(op: &str, scope: &str, path: &str) -> String {
    event(
        op,
        scope,
        &json!({"path": path, "open": {"read": op == "read", "write": op == "write", "flags": 0, "result": 3}}),
    )
}

/// What is learned from these events, and what is said about them.
fn learned(scratch: &Scratch, events: &[String], arguments: &[&str]) -> (String, Compiled) {
    scratch.write("events.jsonl", events.join("\n"));
    let done = learn(scratch, &[&["--from", "events.jsonl"], arguments].concat()).succeeded();
    let text = done.out();
    let policy = compile("learned", &text).unwrap_or_else(|failure| panic!("{failure}\n{text}"));
    (text, policy)
}

/// What a policy decides on an event's operations, each with what it is about: one open can be two.
fn decide(policy: &Compiled, event: &Value, repo: &str, home: &str) -> Vec<(Op, Action)> {
    let text = |member: &str| event[member].as_str().unwrap_or_default();
    let op = Op::from_word(text("op")).expect("an operation");
    let scope = Scope::from_word(text("scope")).expect("a scope");
    let places = Places { repo: Some(repo.as_bytes()), home: Some(home.as_bytes()) };
    let path = text("path").as_bytes();
    let words = event["argv"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let argv: Vec<u8> = words.flat_map(|word| word.bytes().chain([0])).collect();
    let both = event["open"]["read"] == true && event["open"]["write"] == true;
    let ops = if both { vec![Op::Read, Op::Write] } else { vec![op] };
    let object = match op {
        Op::Exec => Object::Command { path, argv: &argv },
        Op::Connect | Op::Send if path.is_empty() => Object::Address {
            ip: text("addr").parse().expect("an address"),
            port: event["port"].as_u64().unwrap_or(0) as u16,
        },
        Op::Connect | Op::Send => Object::Socket(path),
        _ => Object::Path(path),
    };
    ops.into_iter().map(|op| (op, policy.tables().decide(op, scope, &object, &places, 0).action)).collect()
}

/// A small job of the usual kinds: a script, git, a compiler, Python, temporary files.
const JOB: &str = r#"
set -e
git init --quiet .
printf '#!/bin/sh\necho built\n' > build.sh
chmod +x build.sh
./build.sh > log
git add . && git -c user.name=a -c user.email=a@b commit --quiet --message=one
git log --oneline | cat > log
python3 -c 'import json, tempfile; f = tempfile.NamedTemporaryFile("w+"); json.dump([1], f); f.seek(0); print(f.read())'
echo 'int main(void) { return 0; }' > main.c
cc main.c -o main
./main
folder=$(mktemp -d)
echo x > "$folder/y"
cat "$folder/y" /proc/self/comm
rm -r "$folder" main .git
"#;

#[test]
fn the_same_work_goes_through_under_what_was_learned_from_it() {
    let scratch = Scratch::new("learn-job");
    let home = scratch.join("home");
    let repo = home.join("src/app");
    fs::create_dir_all(&repo).expect("a folder");
    scratch.write("home/notes.txt", "private");
    let job = |script: &str| Job::new("sh", &repo).args(["-c", script]).env("HOME", &home);
    // The job removes what makes the folder a repository.
    let begin = || fs::create_dir(repo.join(".git")).expect("a folder");

    begin();
    let seen = Guard::shipped(&scratch).run(&job(JOB));
    assert_eq!(seen.done.code(), 0, "{}", seen.done.err());
    seen.events.none_lost();
    let started = seen.events.op("session-start").next().expect("a session");
    assert_eq!((started["repo"].as_str(), started["home"].as_str()), (repo.to_str(), home.to_str()), "{started}");

    let lines: Vec<String> = seen.events.0.iter().map(Value::to_string).collect();
    scratch.write("seen.jsonl", lines.join("\n"));
    let policy = scratch.join("learned.toml");
    let done = learn(&scratch, &["--from", "seen.jsonl", "--output", "learned.toml"]).succeeded();
    assert_eq!((done.out().as_str(), done.err().as_str()), ("", ""));
    replay(&seen.events, &load(&policy).unwrap_or_else(|failure| panic!("{failure}")), &repo, &home);

    begin();
    let guard = Guard::of(&scratch, policy.clone());
    let again = guard.run(&job(JOB));
    let text = fs::read_to_string(&policy).expect("written");
    assert_eq!(again.events.denials().count(), 0, "{}\n{text}", again.events);
    assert_eq!((again.done.code(), again.done.out()), (0, seen.done.out()), "{}", again.done.err());

    begin();
    let foreign = Guard::of(&scratch, policy).run(&job("cat ../../notes.txt"));
    assert_eq!(foreign.done.out(), "", "{text}");
    let denied: Vec<&str> = foreign.events.denials().filter_map(|event| event["path"].as_str()).collect();
    assert_eq!(denied, [home.join("notes.txt").to_str().expect("text")]);
}

/// All that the default policy allows of these events, the learned one allows.
fn replay(events: &Events, learned: &Compiled, repo: &Path, home: &Path) {
    let default = compile("default", default_text()).unwrap_or_else(|failure| panic!("{failure}"));
    let (repo, home) = (repo.to_str().expect("text"), home.to_str().expect("text"));
    let mut allowed = 0;
    for event in ["exec", "read", "write", "connect", "send"].into_iter().flat_map(|op| events.op(op)) {
        for ((op, by_default), (_, now)) in
            decide(&default, event, repo, home).into_iter().zip(decide(learned, event, repo, home))
        {
            if by_default < Action::Deny {
                allowed += 1;
                assert!(now < Action::Deny, "{} {event}", op.word());
            }
        }
    }
    assert!(allowed > 100, "{allowed}");
}

#[test]
fn what_the_default_policy_denies_is_listed_and_stays_denied() {
    let scratch = Scratch::new("learn-denied");
    let secret = open("read", "tool", "/home/u/app/.env");
    let by_rule = event(
        "exec",
        "tool",
        &json!({"path": "/usr/bin/bash", "argv": ["bash"],
        "verdict": {"action": "deny", "rule": "pipe-to-shell", "enforced": true}}),
    );
    let by_default = event(
        "read",
        "tool",
        &json!({"path": "/srv/data",
        "verdict": {"action": "deny", "enforced": false}}),
    );
    let unknown = event("read", "tool", &json!({}));
    let root = open("read", "tool", "/");
    let plain = open("read", "tool", "/home/u/app/main.rs");
    let events = [start(), secret.clone(), secret.clone(), by_rule, by_default, unknown, root, plain];
    let (text, policy) = learned(&scratch, &events, &[]);
    for line in [
        "# - read /home/u/app/.env (2 times): rule secrets\n",
        "# - exec /usr/bin/bash (once): denied then by rule pipe-to-shell\n",
        "# - read something that could not be found out (once): no pattern matches it\n",
        "# - read / (once): no pattern matches it\n",
    ] {
        assert!(text.split_once("# Seen, still denied:\n").expect("the list").1.contains(line), "{line}\n{text}");
    }
    // Its repository was taken as a whole, and yet.
    assert!(text.contains("    \"{repo}/**\", # once, such as /home/u/app/main.rs\n"), "{text}");
    let secret: Value = serde_json::from_str(&secret).expect("JSON");
    assert_eq!(decide(&policy, &secret, "/home/u/app", "/home/u"), [(Op::Read, Action::Deny)]);
    // A closed policy in audit mode is how one learns, so what only its default denies is allowed.
    assert!(text.contains("\"/srv/data\", # once\n"), "{text}");
}

#[test]
fn rules_are_for_the_scope_that_was_seen_and_for_its_operations() {
    let scratch = Scratch::new("learn-scopes");
    let connect = |scope: &str, ip: &str| event("connect", scope, &json!({"addr": ip, "port": 443, "proto": "tcp"}));
    let events = [
        start(),
        open("read", "harness", "/etc/hosts"),
        open("read", "tool", "/etc/hosts"),
        open("read", "tool", "/usr/lib/a"),
        open("read", "harness", "/home/u/.codex/config.toml"),
        event("exec", "tool", &json!({"path": "/usr/bin/git", "argv": ["git", "status"]})),
        connect("harness", "203.0.113.7"),
        event("connect", "tool", &json!({"path": "/run/nscd/socket", "proto": "unix"})),
    ];
    let (text, policy) = learned(&scratch, &events, &[]);
    let decided = |event: &str, scope: &str| {
        let mut event: Value = serde_json::from_str(event).expect("JSON");
        event["scope"] = scope.into();
        decide(&policy, &event, "/home/u/app", "/home/u")[0].1 == Action::Allow
    };
    for (number, harness, tool) in
        [(1, true, true), (3, false, true), (4, true, false), (5, false, true), (6, true, false), (7, false, true)]
    {
        let event = &events[number];
        assert_eq!((decided(event, "harness"), decided(event, "tool")), (harness, tool), "{event}\n{text}");
    }
    assert!(decided(&open("write", "tool", "/anywhere"), "tool"), "nothing was seen of writing");
    assert!(text.ends_with("[default]\nexec = \"deny\"\nread = \"deny\"\nconnect = \"deny\"\n"), "{text}");
}

#[test]
fn files_are_read_as_they_come() {
    let scratch = Scratch::new("learn-files");
    // More than memory is meant to hold, with lines in between that are no events.
    let mut events = vec![start(), "garbage".to_owned(), "{\"op\":1}".to_owned(), "x".repeat(3 << 20), String::new()];
    events.extend((0..20_000).map(|n| open("read", "tool", &format!("/usr/share/doc/{n}"))));
    scratch.write("one.jsonl", events.join("\n"));
    scratch.write("two.jsonl", event("lost", "tool", &json!({"kind": "bulk-ring-full", "count": 7})));
    let done = learn(&scratch, &["--from", "one.jsonl", "--from", "two.jsonl"]).succeeded();
    assert_eq!(done.err(), "guard: 3 lines are no events, and were passed over\n");
    let text = done.out();
    assert!(text.contains("\"/usr/share/**\", # 20000 times, such as /usr/share/doc/0\n"), "{text}");
    assert!(text.contains("# 7 events had been lost") && text.contains("# 3 lines were no events."), "{text}");

    let script = format!("cat two.jsonl | {} policy learn --from - | grep -c lost", binary().display());
    assert_eq!(Job::new("sh", scratch.path()).args(["-c", &script]).run().out(), "1\n");
    scratch.write("empty.jsonl", "nothing\n");
    for (arguments, what) in [
        (&["--from", "empty.jsonl"][..], "no line is an event"),
        (&["--from", "absent.jsonl"], "absent.jsonl cannot be read"),
        (&["--from", "one.jsonl", "--home", "relative"], "relative is not an absolute path"),
    ] {
        let done = learn(&scratch, arguments);
        assert_eq!(done.code(), 125, "{}", done.out());
        assert!(done.err().contains(what), "{}", done.err());
    }
}

#[test]
fn places_can_be_said_where_events_do_not_tell() {
    let scratch = Scratch::new("learn-places");
    let events = [open("read", "tool", "/home/u/app/a"), open("read", "tool", "/home/u/.cache/x/y")];
    let (text, _) = learned(&scratch, &events, &[]);
    assert!(text.contains("\"/home/u/app/a\", # once\n"), "{text}");
    let (text, _) = learned(&scratch, &events, &["--repo", "/home/u/app/", "--home", "/home/u"]);
    assert!(text.contains("\"{repo}/**\"") && text.contains("\"{home}/.cache/x/**\""), "{text}");
    // A repository that holds the home would allow everything in it.
    let (text, _) = learned(&scratch, &events, &["--repo", "/home", "--home", "/home/u"]);
    assert!(!text.contains("\"{repo}/**\", # once"), "{text}");
}
