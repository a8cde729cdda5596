//! Rules that ask which program acts.

use std::fs;

use support::guard::Guarded;
use support::run::Job;
use support::stage::{SECRET, Stage, text};

/// Only `cat` may read, and `{program}` may not go on the network.
const RULES: &str = r#"
    [[rule]]
    name = "cat-may"
    on = ["read"]
    path = ["{stage}/denied/**"]
    by = ["/usr/bin/cat", "{home}/bin/reader"]
    action = "allow"
"#;

/// Runs a script under guard; what came out of the denied file, and the rules that denied.
fn run(stage: &Stage, script: &str) -> (String, Vec<String>) {
    let Guarded { done, events } = stage.guard(RULES).run(&stage.script(script));
    events.none_lost();
    (done.out(), events.denials().map(|event| text(event, "/verdict/rule").to_owned()).collect())
}

#[test]
fn what_one_program_may_another_may_not() {
    let stage = Stage::new("by");
    assert_eq!(run(&stage, "cat denied/secret"), (SECRET.to_owned(), vec![]));
    assert_eq!(run(&stage, "head -1 denied/secret; :"), (String::new(), vec!["secrets".to_owned()]));
    // The script's own shell is no cat, and its child is none until it executes it.
    assert_eq!(run(&stage, "read line < denied/secret; echo $line"), (String::new(), vec!["secrets".to_owned()]));
    assert_eq!(run(&stage, "(exec cat denied/secret); (exec cat) < allowed/fine > /dev/null").0, SECRET);
}

/// It is the executable's true path that counts: no name, no link, no copy, no argv.
#[test]
fn nobody_else_passes_for_it() {
    let stage = Stage::new("by");
    for script in [
        "cp /usr/bin/head cat; ./cat -1 denied/secret; :",
        "ln -s /usr/bin/head cat; ./cat -1 denied/secret; :",
        "bash -c 'exec -a /usr/bin/cat head -1 denied/secret'; :",
        "cp /usr/bin/cat other; ./other denied/secret; :",
        // The one that executes cat has itself opened the file, before.
        "exec 3< denied/secret; cat <&3; :",
    ] {
        let (out, denied) = run(&stage, script);
        assert_eq!((out.as_str(), denied.as_slice()), ("", ["secrets".to_owned()].as_slice()), "{script}");
    }
    assert_eq!(run(&stage, "ln -s /usr/bin/cat link; ./link denied/secret").0, SECRET);
}

/// What a process executed before keeps nothing for what it executes after.
#[test]
fn another_exec_is_another_program() {
    let stage = Stage::new("by");
    let (out, denied) = run(&stage, "env cat denied/secret; env head -1 denied/secret; :");
    assert_eq!((out.as_str(), denied.len()), (SECRET, 1));
}

/// The kernel's copy of the address is judged by who connects.
#[test]
fn connections_by_program() {
    let stage = Stage::new("by");
    let rules = r#"
        [[rule]]
        name = "only-the-agent"
        on = ["connect"]
        to = ["loopback"]
        by = ["{stage}/agent"]
        action = "allow"

        [[rule]]
        name = "nobody"
        on = ["connect", "send"]
        action = "deny"
    "#;
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let to = format!("tcp:{}", listener.local_addr().expect("an address"));
    let agent = stage.agent();
    let connect = |program: &std::path::Path, to: &str| {
        stage.guard(rules).run(&Job::new(program, stage.path()).args(["connect", to])).done
    };
    assert_eq!(connect(&agent, &to).code(), 0);
    let refused = connect(stage.attempt(), &to);
    assert_eq!((refused.code(), refused.err().contains("EPERM")), (1, true), "{}", refused.err());
    assert_eq!(connect(&agent, "tcp:198.51.100.1:9").code(), 1, "elsewhere not even the agent");
}

/// Who executes is judged by what it ran before.
#[test]
fn execs_by_program() {
    let stage = Stage::new("by");
    let rules = r#"
        [[rule]]
        name = "env-starts-nothing"
        on = ["exec"]
        by = ["/usr/bin/env"]
        action = "deny"
    "#;
    let Guarded { done, events } =
        stage.guard(rules).run(&stage.script("env true; echo env $?; true; /bin/true; echo sh $?"));
    assert_eq!(done.out(), "env 137\nsh 0\n", "{}", done.err());
    assert_eq!(events.rule("env-starts-nothing").count(), 1, "{events}");
}

/// A program that runs already is known by its executable, and known again by a policy that comes later.
#[test]
fn programs_that_run_already() {
    let stage = Stage::new("by");
    let rules = RULES.replace("/usr/bin/cat", "{stage}/agent");
    let plain = stage.policy(&rules.replace("by = ", "# by = ").replace("\"allow\"", "\"deny\""));
    let policy = stage.scratch().write("policy.toml", stage.policy(&rules));
    let start = |go: &str| Job::new(stage.agent(), stage.path()).args(["after", go, "read", "denied/secret"]).start();
    let stranger = |go: &str| {
        let exec = format!("exec {}", stage.attempt().display());
        let script = format!("{exec} after {go} read denied/secret");
        Job::new(stage.agent(), stage.path()).args(["exec", "/bin/sh", "-c", &script]).start()
    };
    let before = start("first");
    let daemon = support::guard::Guard::of(stage.scratch(), policy.clone()).daemon();
    let (now, other, other_later) = (start("second"), stranger("first"), stranger("second"));
    let _known = daemon.wait_for("all are entered", |event| event["op"] == "exec");
    fs::write(stage.path().join("first"), "").expect("written");
    assert_eq!(before.wait().out(), SECRET, "seeded");
    assert_eq!(other.wait().code(), 137);

    // A policy without classes, then the first again: what runs is classed anew.
    for (number, text) in [&plain, &stage.policy(&rules)].into_iter().enumerate() {
        fs::write(&policy, text).expect("written");
        support::stage::until("it is read", || daemon.stderr().matches("read anew").count() > number);
    }
    fs::write(stage.path().join("second"), "").expect("written");
    assert_eq!(now.wait().out(), SECRET, "classed anew");
    assert_eq!(other_later.wait().code(), 137);
}
