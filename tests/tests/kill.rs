//! `deny` stops one process, `kill` the whole call, `--audit` nobody.

use std::time::{Duration, Instant};

use support::guard::Guarded;
use support::run::Job;
use support::stage::{SECRET, Stage, text, until};

const KILL: &str = r#"
    [[rule]]
    name = "fatal"
    on = ["read", "write"]
    path = ["{stage}/denied/secret"]
    action = "kill"
    reason = "That was too much."
"#;

/// Two background processes that write as long as they live (and no longer than a test takes), one of them with a parent
/// of its own; then the denied file at the start of a pipe; then more.
const SCRIPT: &str = r"
    beat() { i=0; while test $i -lt 500; do i=$((i + 1)); echo >> $1; sleep 0.02; done; }
    beat lives & one=$!
    (beat deep; true) & two=$!
    while ! test -s lives || ! test -s deep; do sleep 0.01; done
    cat denied/secret | cat
    touch went-on
    kill $one $two
    wait
    true
";

/// Whether somebody still writes to these.
fn quiet(stage: &Stage, files: &[&str]) -> bool {
    let sizes = || -> Vec<u64> {
        files.iter().map(|file| stage.path().join(file).metadata().map_or(0, |file| file.len())).collect()
    };
    let before = sizes();
    std::thread::sleep(Duration::from_millis(200));
    before == sizes()
}

#[test]
fn kill_ends_the_whole_call() {
    let stage = Stage::new("kill");
    let Guarded { done, events } = stage.guard(KILL).run(&stage.script(SCRIPT));
    assert_eq!((done.code(), done.out().as_str()), (137, ""), "{}", done.err());
    assert!(!stage.path().join("went-on").exists(), "the script went on");
    assert!(quiet(&stage, &["lives", "deep"]), "background processes live on");
    events.none_lost();
    let event = events.rule("fatal").next().expect("an event");
    assert_eq!((text(event, "/verdict/action"), text(event, "/verdict/backend")), ("kill", "signal"), "{event}");
    assert_eq!(event["verdict"]["enforced"], true, "{event}");
    assert_eq!(text(event, "/verdict/reason"), "That was too much.");
    // All its shells have ended by the signal. What only waited for one of those may have got away with an end of its own.
    let shells: Vec<_> = events.op("exit").filter(|event| text(event, "/process/argv/0") == "sh").collect();
    assert!(shells.len() >= 3, "{events}");
    assert!(shells.iter().all(|event| event["exit"]["signal"] == 9), "{shells:#?}");
}

#[test]
fn deny_stops_only_the_process() {
    let stage = Stage::new("kill");
    let Guarded { done, events } = stage.guard("").run(&stage.script(SCRIPT));
    assert_eq!((done.code(), done.out().as_str()), (0, ""), "{}", done.err());
    assert!(stage.path().join("went-on").exists());
    assert_eq!(events.rule("secrets").count(), 1, "{events}");
    assert!(quiet(&stage, &["lives", "deep"]), "the script itself has ended them");
}

/// One call is ended, the agent and its other calls go on.
#[test]
fn kill_spares_the_agent_and_its_other_calls() {
    let stage = Stage::new("kill");
    let agent = stage.agent().display().to_string();
    let start = |call: &str, script: &str| {
        format!("{agent} in fork exec /usr/bin/env CODEX_TOOL_CALL_ID={call} /bin/sh -c '{script}'")
    };
    // The shell in front is the agent's own: it has no call.
    let agent_script = format!(
        "{} & {}; echo agent-lives; wait $!; echo other-ended $ended",
        start("call_other", "touch other-began; while ! test -e stop; do sleep 0.01; done; echo other-lives"),
        start(
            "call_bad",
            "while ! test -e other-began; do sleep 0.01; done; \
             setsid sh -c \"echo \\$\\$ > daemon; exec sleep 20\" & while ! test -s daemon; do sleep 0.01; done; \
             ./attempt read denied/secret; echo went-on",
        ),
    )
    // Its daemon is gone before guard is.
    .replace(
        "wait $!",
        "touch stop; wait $!; ended=$?; for i in $(seq 500); do kill -0 $(cat daemon) || break; sleep 0.01; done 2> /dev/null",
    );
    // What `guard run` starts is one call unless it is an agent, so a copy of the shell is one here.
    let shell = stage.scratch().program("/bin/bash".as_ref(), "agent-shell");
    let policy = stage.policy(KILL).replace(r#"/agent"]"#, r#"/agent", "{}/agent-shell"]"#);
    let policy = policy.replace("{}", &stage.path().display().to_string());
    let guard = support::guard::Guard::new(stage.scratch(), &policy);
    let Guarded { done, events } = guard.run(&Job::new(shell, stage.path()).args(["-c", &agent_script]));
    assert_eq!(done.out(), "agent-lives\nother-lives\nother-ended 0\n", "{}\n{events}", done.err());
    let killed: Vec<_> = events.op("exit").filter(|event| event["exit"]["signal"] == 9).collect();
    assert!(killed.len() >= 3, "the command's shell, its sleep, and the attempt: {killed:#?}");
    assert!(killed.iter().all(|event| text(event, "/call") == "call_bad"), "{killed:#?}");
}

/// Processes of the call that have left its session and its parents die with it, soon.
#[test]
fn kill_reaches_daemons_of_the_call() {
    let stage = Stage::new("kill");
    let script = r"
        ./attempt in daemon sleep 20000 &
        setsid sh -c 'echo $$ > daemon; exec sleep 20' &
        while ! test -s daemon; do sleep 0.01; done
        ./attempt read denied/secret
        touch went-on
    ";
    let began = Instant::now();
    let Guarded { done, events } = stage.guard(KILL).run(&stage.script(script));
    assert_eq!(done.code(), 137, "{}", done.err());
    assert!(began.elapsed() < Duration::from_secs(10), "nobody waited for the daemons");
    assert!(!stage.path().join("went-on").exists());
    let pid = std::fs::read_to_string(stage.path().join("daemon")).expect("its id");
    until("the daemon is gone", || !std::path::Path::new("/proc").join(pid.trim()).exists());
    assert_eq!(events.op("outlive").count(), 0, "nothing was left to outlive the session: {events}");
}

#[test]
fn audit_reports_and_carries_nothing_out() {
    let stage = Stage::new("kill");
    for rule in ["", KILL] {
        let Guarded { done, events } =
            stage.guard(rule).audit().run(&stage.script("cat denied/secret; echo went-on"));
        assert_eq!((done.code(), done.out()), (0, format!("{SECRET}went-on\n")), "{}", done.err());
        let event = events.denials().next().expect("a verdict");
        assert_eq!(text(event, "/verdict/action"), if rule.is_empty() { "deny" } else { "kill" }, "{event}");
        assert_eq!(event["verdict"]["enforced"], false, "{event}");
        assert!(event["verdict"].get("backend").is_none(), "{event}");
        assert!(done.err().contains("would"), "{}", done.err());
    }
}

/// The policy can say so itself.
#[test]
fn audit_as_the_mode_of_a_policy() {
    let stage = Stage::new("kill");
    let policy = stage.policy("").replacen("version = 1", "version = 1\nmode = \"audit\"", 1);
    let guard = support::guard::Guard::new(stage.scratch(), &policy);
    let Guarded { done, events } = guard.run(&stage.job(["read", "denied/secret"]));
    assert_eq!((done.code(), done.out().as_str()), (0, SECRET), "{}", done.err());
    assert_eq!(events.denials().filter(|event| event["verdict"]["enforced"] == false).count(), 1, "{events}");
}

/// `log` is told and happens.
#[test]
fn log_lets_it_happen() {
    let stage = Stage::new("kill");
    let rule = KILL.replace("\"kill\"", "\"log\"");
    let Guarded { done, events } = stage.guard(&rule).run(&stage.job(["read", "denied/secret"]));
    assert_eq!((done.code(), done.out().as_str()), (0, SECRET), "{}", done.err());
    let event = events.rule("fatal").next().expect("an event");
    assert_eq!((text(event, "/verdict/action"), &event["verdict"]["enforced"]), ("log", &false.into()), "{event}");
    assert!(done.err().contains("noted"), "{}", done.err());
}
