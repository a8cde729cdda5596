//! Phases: a set-up with the network, then work without.

use support::guard::Guarded;
use support::stage::{Stage, text};

const RULES: &str = r#"
    [[phase]]
    name = "setup"

    [[phase]]
    name = "execution"
    marker = ["{stage}-never", "true setup is done"]

    [[phase]]
    name = "review"

    [[rule]]
    name = "only-then"
    on = ["connect"]
    to = ["loopback"]
    phase = "setup"
    action = "allow"

    [[rule]]
    name = "frozen"
    on = ["write"]
    path = ["{stage}/allowed/**"]
    phase = ["review"]
    action = "deny"

    [[rule]]
    name = "offline"
    on = ["connect", "send"]
    action = "deny"
"#;

/// Runs a script that finds a listener in `$to` and `guard` in `$guard`.
fn run(stage: &Stage, script: &str) -> Guarded {
    let rules = RULES.replace("\"{stage}-never\", ", "");
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let to = format!("tcp:{}", listener.local_addr().expect("an address"));
    let job = stage.script(script).env("to", to).env("guard", support::guard::binary());
    let guarded = stage.guard(&rules).run(&job);
    guarded.events.none_lost();
    guarded
}

fn begun(guarded: &Guarded) -> Vec<&str> {
    guarded.events.op("phase").map(|event| text(event, "/phase")).collect()
}

const CONNECT: &str = "./attempt connect $to 2> /dev/null && echo through || echo refused";

#[test]
fn sessions_begin_in_the_first() {
    let guarded = run(&Stage::new("phase"), CONNECT);
    assert_eq!(guarded.done.out(), "through\n", "{}", guarded.done.err());
    assert_eq!(begun(&guarded), Vec::<&str>::new());
}

#[test]
fn guards_own_command_begins_one() {
    let stage = Stage::new("phase");
    let guarded =
        run(&stage, &format!("{CONNECT}; $guard phase execution 2> /dev/null; {CONNECT}; echo x >> allowed/fine"));
    assert_eq!(guarded.done.out(), "through\nrefused\n", "{}", guarded.done.err());
    assert_eq!(begun(&guarded), ["execution"]);
    assert_eq!(guarded.events.denials().count(), 1, "{}", guarded.events);
    let event = guarded.events.op("phase").next().expect("an event");
    assert_eq!(event["process"]["argv"][1], "phase", "{event}");
    assert!(guarded.done.err().contains("guard: the phase execution has begun"), "{}", guarded.done.err());
}

#[test]
fn a_marker_begins_one_wherever_it_is_run() {
    let stage = Stage::new("phase");
    let guarded =
        run(&stage, &format!("true setup is done; {CONNECT}; (env -i setsid /bin/true setup is done); {CONNECT}"));
    // A shell's own `true` is no command.
    assert_eq!(guarded.done.out(), "through\nrefused\n", "{}", guarded.done.err());
    assert_eq!(begun(&guarded), ["execution"]);
    let guarded = run(&stage, &format!("/bin/true setup is not done; /bin/true; {CONNECT}"));
    assert_eq!(guarded.done.out(), "through\n", "{}", guarded.done.err());
}

#[test]
fn there_is_no_way_back() {
    let stage = Stage::new("phase");
    let guarded = run(
        &stage,
        &format!(
            "$guard phase review; $guard phase execution; $guard phase setup; $guard phase review; {CONNECT}; \
             echo x >> allowed/fine"
        ),
    );
    assert_eq!(begun(&guarded), ["review"], "{}", guarded.events);
    assert_eq!(guarded.events.rule("offline").count(), 1, "{}", guarded.events);
    assert_eq!(guarded.events.rule("frozen").count(), 1, "{}", guarded.events);
}

/// What may not be executed begins nothing.
#[test]
fn a_denied_marker_begins_nothing() {
    let stage = Stage::new("phase");
    let rules = r#"
        [[phase]]
        name = "open"
        [[phase]]
        name = "closed"
        [[rule]]
        name = "no-phases"
        on = ["exec"]
        argv = ["guard phase **"]
        action = "deny"
        [[rule]]
        name = "closed"
        on = ["read"]
        path = ["{stage}/allowed/**"]
        phase = "closed"
        action = "deny"
    "#;
    let job = stage.script("$guard phase closed; cat allowed/fine > /dev/null && echo open");
    let Guarded { done, events } = stage.guard(rules).run(&job.env("guard", support::guard::binary()));
    assert_eq!(done.out(), "open\n", "{}", done.err());
    assert_eq!((events.op("phase").count(), events.rule("no-phases").count()), (0, 1), "{events}");
}

/// Each session has its own.
#[test]
fn sessions_do_not_share_phases() {
    let stage = Stage::new("phase");
    let rules = RULES.replace("\"{stage}-never\", ", "");
    let daemon = stage.guard(&rules).daemon();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let to = format!("tcp:{}", listener.local_addr().expect("an address"));
    let agent = stage.agent();
    let session = |script: &str| {
        support::run::Job::new(&agent, stage.path())
            .args(["in", "fork", "exec", "/bin/sh", "-c", script])
            .env("to", &to)
            .start()
    };
    let done = session(&format!("/bin/true setup is done; {CONNECT}; touch marked; sleep 1")).wait();
    assert!(stage.path().join("marked").exists());
    assert_eq!(done.out(), "refused\n", "{}", done.err());
    assert_eq!(session(CONNECT).wait().out(), "through\n");
    let Guarded { events, .. } = daemon.stop();
    assert_eq!(events.op("phase").count(), 1, "{events}");
}

/// `guard phase`, which asks this daemon.
fn phase<'a>(daemon: &support::guard::Daemon, words: impl IntoIterator<Item = &'a str>) -> support::run::Finished {
    let job = support::run::Job::new(support::guard::binary(), std::path::Path::new("/"));
    job.arg("phase").args(words).arg("--socket").arg(daemon.socket()).run()
}

/// Root sends a session on from outside, by the same command; a guarded process can't.
#[test]
fn a_session_is_sent_on_from_outside() {
    let stage = Stage::new("phase");
    // Its connection to the daemon is no offence here.
    let fine = "[[rule]]\nname = \"daemon\"\non = [\"connect\"]\nto = [\"unix:/**/*.sock\"]\naction = \"allow\"\n";
    let phases = RULES.replace("\"{stage}-never\", ", "");
    let (first, rest) = phases.split_at(phases.find("[[rule]]").expect("rules"));
    let rules = format!("{first}{fine}{rest}");
    let daemon = stage.guard(&rules).daemon();
    assert_eq!(phase(&daemon, []).out(), "phases: setup, execution, review\n");
    let script = "sleep 1; $guard phase review --session '' --socket $socket > said 2>&1; echo $? > code; mv code ready; \
        while ! test -e go; do sleep 0.02; done; echo x >> allowed/fine";
    let job =
        support::run::Job::new(stage.agent(), stage.path()).args(["in", "fork", "exec", "/bin/sh", "-c", script]);
    let session = job.env("guard", support::guard::binary()).env("socket", daemon.socket()).start();
    let folder = stage.path();
    support::stage::until("it has tried", || folder.join("ready").exists());
    let said = || std::fs::read_to_string(folder.join("said")).expect("said");
    assert_eq!(std::fs::read_to_string(folder.join("ready")).expect("a code"), "125\n", "{}", said());
    assert!(said().contains("what is guarded may not change what guards it"), "{}", said());
    let listed = phase(&daemon, []).out();
    let id =
        listed.lines().find_map(|line| line.strip_prefix("session ")?.strip_suffix(": setup")).expect("it is listed");

    let short = &id[8..];
    let done = phase(&daemon, ["review", "--session", short]).succeeded();
    assert!(done.err().contains(&format!("the session {id} is in the phase `review`")), "{}", done.err());
    assert!(phase(&daemon, []).out().contains(&format!("session {id}: review")));
    for (words, why) in [
        (["execution", "--session", id], "sessions only go forward"),
        (["nonsense", "--session", id], "no phase `nonsense`"),
        (["review", "--session", "ffffffffffffffff"], "there is no session ffffffffffffffff"),
    ] {
        let refused = phase(&daemon, words);
        assert_eq!(refused.code(), 125, "{words:?}");
        assert!(refused.err().contains(why), "{words:?}: {}", refused.err());
    }
    std::fs::write(folder.join("go"), "").expect("written");
    assert_ne!(session.wait().code(), 0, "it is in review");
    let events = daemon.stop().events;
    let begun: Vec<_> =
        events.op("phase").map(|event| (text(event, "/phase"), text(event, "/process/exe"))).collect();
    assert_eq!(begun.len(), 1, "{events}");
    assert!(begun[0].0 == "review" && begun[0].1.ends_with("guard"), "{begun:?}");
}
