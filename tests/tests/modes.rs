//! One session is switched between `enforce` and `audit`, and no other.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::api::Api;
use support::guard::{Daemon, Guard};
use support::run::{Finished, Job, Running};
use support::stage::{SECRET, Stage, text, until};

/// Connecting is denied too.
const RULES: &str = r#"
    [[rule]]
    name = "nowhere"
    on = ["connect"]
    to = ["127.9.0.0/16"]
    action = "deny"
"#;

/// A session whose shell does what it is told, each by a process of its own.
struct Session {
    folder: PathBuf,
    id: String,
    running: Running,
}

impl Session {
    /// Starts it, and finds its id.
    fn start(stage: &Stage, daemon: &Daemon, name: &str) -> Self {
        let folder = stage.path().join(name);
        fs::create_dir(&folder).expect("a folder");
        // Each order is a file; what has come of it is written beside.
        let script = "n=0; while :; do n=$((n+1)); while ! test -e $folder/$n; do test -e $folder/stop && exit; sleep 0.02; done; \
            sh $folder/$n > $folder/out.$n 2>/dev/null; echo $? > $folder/code; mv $folder/code $folder/code.$n; done";
        let job = Job::new(stage.agent(), stage.path()).args(["in", "fork", "exec", "/bin/sh", "-c", script]);
        let running = job.env("folder", &folder).start();
        let api = Api::at(daemon.socket());
        let of_this = || {
            let sessions = api.json("/v1/sessions")["sessions"].clone();
            let of_this = |one: &&Value| one["pid"] == running.pid();
            sessions.as_array().and_then(|all| all.iter().find(of_this).map(|one| text(one, "/id").to_owned()))
        };
        until("there is a session", || of_this().is_some());
        Self { id: of_this().expect("a session"), folder, running }
    }

    /// Does something; its exit code, and what it has written.
    fn order(&self, number: u32, script: &str) -> (i32, String) {
        let part = self.folder.join("order");
        fs::write(&part, script).expect("written");
        fs::rename(part, self.folder.join(number.to_string())).expect("given");
        let code = self.folder.join(format!("code.{number}"));
        until("it is done", || code.exists());
        let code = fs::read_to_string(code).expect("a code").trim().parse().expect("a number");
        (code, fs::read_to_string(self.folder.join(format!("out.{number}"))).expect("an output"))
    }

    fn stop(self) -> Finished {
        fs::write(self.folder.join("stop"), "").expect("written");
        self.running.wait()
    }
}

fn switch(daemon: &Daemon, session: &str, mode: &str) {
    let body = format!("{{\"mode\":\"{mode}\"}}");
    let answer = Api::at(daemon.socket()).send("PUT", &format!("/v1/sessions/{session}/mode"), &body);
    assert_eq!((answer.status, answer.json()["mode"].as_str()), (200, Some(mode)), "{answer:?}");
}

/// What the API says of a session: its mode, and whether it is its own.
fn mode(daemon: &Daemon, session: &str) -> (String, bool) {
    let one = Api::at(daemon.socket()).json(&format!("/v1/sessions/{session}"));
    (text(&one, "/session/mode").to_owned(), one["session"]["own_mode"] == true)
}

/// Reads the denied file, in a shell's child's child.
const READ: &str = "sh -c 'cat denied/secret; echo $?'";

#[test]
fn one_is_switched_with_all_its_processes_and_no_other() {
    let stage = Stage::new("modes");
    let policy = stage.scratch().write("policy.toml", stage.policy(RULES));
    let daemon = Guard::of(stage.scratch(), policy.clone()).daemon();
    let (one, other) = (Session::start(&stage, &daemon, "one"), Session::start(&stage, &daemon, "other"));
    let attempt = stage.attempt().display().to_string();
    let connect = format!("{attempt} connect tcp:127.9.0.1:9");
    let killed = (0, "137\n".to_owned());
    assert_eq!(one.order(1, READ), killed);
    assert_eq!(mode(&daemon, &one.id), ("enforce".to_owned(), false));

    switch(&daemon, &one.id, "audit");
    assert_eq!(mode(&daemon, &one.id), ("audit".to_owned(), true));
    assert_eq!(mode(&daemon, &other.id), ("enforce".to_owned(), false));
    assert_eq!(one.order(2, READ), (0, format!("{SECRET}0\n")));
    assert_eq!(other.order(1, READ), killed);
    let _nobody_listens = one.order(3, &connect);
    let told = daemon.wait_for("the connection", |event| event["verdict"]["rule"] == "nowhere");
    let event = told.rule("nowhere").next().expect("an event");
    assert_eq!(
        (text(event, "/verdict/action"), &event["verdict"]["enforced"]),
        ("deny", &Value::Bool(false)),
        "{event}"
    );
    // What guard protects itself by is no part of what was switched off.
    let before = fs::read(&policy).expect("a policy");
    let (code, _) = one.order(4, &format!("echo more >> {}", policy.display()));
    assert_ne!(code, 0);
    assert_eq!(fs::read(&policy).expect("a policy"), before);

    switch(&daemon, &one.id, "enforce");
    assert_eq!(mode(&daemon, &one.id), ("enforce".to_owned(), false));
    assert_eq!(one.order(5, READ), killed);
    let _refused = one.order(6, &connect);
    assert_eq!((one.stop().code(), other.stop().code()), (0, 0));

    let events = daemon.stop().events;
    let switched: Vec<_> = events.op("control").filter(|event| event["kind"] == "mode").collect();
    assert_eq!(
        switched.iter().map(|event| text(event, "/mode")).collect::<Vec<_>>(),
        ["audit", "enforce"],
        "{events}"
    );
    assert!(switched.iter().all(|event| event["process"]["uid"] == 0 && event["tree"].is_string()), "{events}");
    let enforced: Vec<_> = events.rule("secrets").map(|event| event["verdict"]["enforced"] == true).collect();
    assert_eq!(enforced, [true, false, true, true], "{events}");
    let enforced: Vec<_> = events.rule("nowhere").map(|event| event["verdict"]["enforced"] == true).collect();
    assert_eq!(enforced, [false, true], "{events}");
    let own: Vec<_> = events.rule("self").map(|event| event["verdict"]["enforced"] == true).collect();
    assert_eq!(own, [true], "{events}");
}

/// One that was switched stays so whatever policy comes, and enforces where no other does; by fanotify too.
#[test]
fn one_enforces_where_the_policy_only_watches() {
    let stage = Stage::new("modes");
    let audit = stage.policy("").replacen("version = 1", "version = 1\nmode = \"audit\"", 1);
    let policy = stage.scratch().write("policy.toml", audit);
    let daemon = Guard::of(stage.scratch(), policy).fanotify().daemon();
    let (one, other) = (Session::start(&stage, &daemon, "one"), Session::start(&stage, &daemon, "other"));
    let machine = || Api::at(daemon.socket()).json("/v1/status")["machine"].clone();
    assert_eq!(machine()["marks"]["files"], 0, "nothing is refused to anybody");
    switch(&daemon, &one.id, "enforce");
    until("it is marked", || machine()["marks"]["searched"] == true && machine()["marks"]["files"] != 0);
    assert_eq!(one.order(1, READ), (0, "1\n".to_owned()), "refused, not killed");
    assert_eq!(other.order(1, READ), (0, format!("{SECRET}0\n")));
    let events = daemon.wait_for("the refusal", |event| event["verdict"]["backend"] == "fanotify");
    assert!(events.rule("secrets").any(|event| event["verdict"]["enforced"] == true), "{events}");
    assert_eq!(mode(&daemon, &one.id), ("enforce".to_owned(), true));
    switch(&daemon, &one.id, "audit");
    until("nothing is marked", || machine()["marks"]["files"] == 0);
    assert_eq!(one.order(2, READ), (0, format!("{SECRET}0\n")));
    assert_eq!((one.stop().code(), other.stop().code()), (0, 0));
}

/// In a session that is only watched, marked files open, and are marked for the others.
#[test]
fn fanotify_lets_pass_what_is_only_watched() {
    let stage = Stage::new("modes");
    let daemon = stage.guard("").fanotify().daemon();
    let (one, other) = (Session::start(&stage, &daemon, "one"), Session::start(&stage, &daemon, "other"));
    let machine = || Api::at(daemon.socket()).json("/v1/status")["machine"].clone();
    until("it is marked", || machine()["marks"]["searched"] == true && machine()["marks"]["files"] != 0);
    switch(&daemon, &one.id, "audit");
    assert_eq!(one.order(1, READ), (0, format!("{SECRET}0\n")));
    assert_eq!(other.order(1, READ), (0, "1\n".to_owned()), "refused, not killed");
    assert_eq!((one.stop().code(), other.stop().code()), (0, 0));
}

#[test]
fn who_may_not_switches_nothing() {
    let stage = Stage::new("modes");
    let daemon = stage.guard("").daemon();
    let session = Session::start(&stage, &daemon, "one");
    let api = Api::at(daemon.socket());
    let path = format!("/v1/sessions/{}/mode", session.id);
    // Root, but guarded.
    let curl = format!(
        "curl -sS --max-time 30 --unix-socket {} -X PUT -d '{{\"mode\":\"audit\"}}' http://guard{path}",
        daemon.socket().display()
    );
    let (_, said) = session.order(1, &curl);
    assert!(said.contains("what is guarded may not change what guards it"), "{said}");
    assert_eq!(session.order(2, READ), (0, "137\n".to_owned()));
    for (path, body, status) in [
        (path.as_str(), "{\"mode\":\"off\"}", 400),
        (&path, "{}", 400),
        (&path, "", 400),
        ("/v1/sessions/00000000000000ff/mode", "{\"mode\":\"audit\"}", 404),
        ("/v1/sessions/nonsense/mode", "{\"mode\":\"audit\"}", 400),
    ] {
        assert_eq!(api.send("PUT", path, body).status, status, "{path} {body}");
    }
    assert_eq!(mode(&daemon, &session.id), ("enforce".to_owned(), false));
    let id = session.id.clone();
    assert_eq!(session.stop().code(), 0);
    until("it is over", || api.get(&format!("/v1/sessions/{id}")).status == 404);
    let gone = api.send("PUT", &format!("/v1/sessions/{id}/mode"), "{\"mode\":\"audit\"}");
    assert_eq!(gone.status, 404, "{gone:?}");

    // Who has asked for nothing to be carried out is not overruled.
    let stage = Stage::new("modes");
    let daemon = stage.guard("").audit().daemon();
    let session = Session::start(&stage, &daemon, "one");
    let path = format!("/v1/sessions/{}/mode", session.id);
    let answer = Api::at(daemon.socket()).send("PUT", &path, "{\"mode\":\"enforce\"}");
    assert!(answer.refused(409).contains("--audit"), "{answer:?}");
    assert_eq!(session.stop().code(), 0);
}

/// A policy that is read anew does not take a session's own mode away.
#[test]
fn it_stays_whatever_policy_comes() {
    let stage = Stage::new("modes");
    let policy: &Path = &stage.scratch().write("policy.toml", stage.policy(""));
    let daemon = Guard::of(stage.scratch(), policy.to_owned()).daemon();
    let session = Session::start(&stage, &daemon, "one");
    switch(&daemon, &session.id, "audit");
    fs::write(policy, stage.policy(RULES)).expect("written");
    until("it is read", || daemon.stderr().contains("read anew"));
    assert_eq!(session.order(1, READ), (0, format!("{SECRET}0\n")));
    assert_eq!(mode(&daemon, &session.id), ("audit".to_owned(), true));
    assert_eq!(session.stop().code(), 0);
}
