//! `guard policy test`, as those use it who keep a policy in git.

use serde_json::{Value, json};
use support::guard::binary;
use support::place::Scratch;
use support::run::{Finished, Job};

const POLICY: &str = r#"version = 1
[[rule]]
name = "own"
on = ["read"]
path = ["{home}/.ssh/id"]
scope = "harness"
action = "allow"
[[rule]]
name = "keys"
on = ["read", "write"]
path = ["**/*.key", "{home}/.ssh/**"]
action = "deny"
[[rule]]
name = "push"
on = ["exec"]
argv = ["git push *"]
action = "log"
[[rule]]
name = "pipe"
on = ["exec"]
path = ["/usr/bin/dash"]
stdin = "network"
action = "kill"
[[rule]]
name = "net"
on = ["connect", "send"]
to = ["10.0.0.0/8:443", "unix:{home}/s"]
action = "deny"
[default]
outlive = "log"
"#;

/// Tries the policy on these cases.
fn test(scratch: &Scratch, flags: &[&str], cases: &str) -> Finished {
    scratch.write("policy.toml", POLICY);
    scratch.write("cases.toml", cases);
    Job::new(binary(), scratch.path()).args(["policy", "test", "policy.toml", "cases.toml"]).args(flags).run()
}

const GOOD: &str = r#"
[[case]]
op = ["read", "write"]
path = ["/x/a.key", "{home}/.ssh/id", "{repo}/a.key"]
expect = "deny"
rule = "keys"

[[case]]
name = "the agent signs in"
op = "read"
path = "{home}/.ssh/id"
scope = "harness"
expect = "allow"
rule = "own"

[[case]]
op = "exec"
argv = "git push 'a b'"
expect = "log"
rule = "push"

[[case]]
op = "exec"
path = "/opt/git"
argv = ["other", "push"]
expect = "log"

[[case]]
op = "exec"
path = "/usr/bin/dash"
argv = "sh -s"
stdin = "network"
expect = "kill"
rule = "pipe"

[[case]]
op = "exec"
argv = "dash"
expect = "allow"
rule = "default"

[[case]]
op = ["connect", "send"]
to = ["10.0.0.1:443", "unix:{home}/s"]
expect = "deny"
rule = "net"

[[case]]
op = "connect"
to = "[::1]:80"
expect = "allow"

[[case]]
op = "outlive"
expect = "log"
"#;

#[test]
fn cases_that_hold() {
    let scratch = Scratch::new("cases-good");
    let done = test(&scratch, &[], GOOD).succeeded();
    assert_eq!(done.out(), "17 cases, none failed\n");
    let done = test(&scratch, &["--coverage"], GOOD).succeeded();
    assert_eq!(done.out(), "17 cases, none failed, 5 of 5 rules covered\n");
    // Two files are two times the cases.
    let twice = test(&scratch, &["cases.toml"], GOOD).succeeded();
    assert_eq!(twice.out(), "34 cases, none failed\n");
}

#[test]
fn cases_that_do_not() {
    let scratch = Scratch::new("cases-bad");
    let cases = "[[case]]\nname = \"keys may be read\"\nop = \"read\"\npath = \"{repo}/a.key\"\nexpect = \"allow\"\n\
                 [[case]]\nop = \"exec\"\nargv = \"git push x\"\nexpect = \"log\"\nrule = \"default\"\n\
                 [[case]]\nop = \"read\"\npath = \"/x\"\nexpect = \"deny\"\nrule = \"keys\"\n\
                 [[case]]\nop = \"read\"\npath = \"/y\"\nexpect = \"allow\"\n";
    let done = test(&scratch, &[], cases);
    assert_eq!(
        (done.code(), done.out().as_str()),
        (
            1,
            "cases.toml:1: keys may be read: read of /home/user/project/a.key in scope tool: expected allow, decided deny by keys
cases.toml:6: exec of /usr/bin/git as `git push x` in scope tool: expected log by default, decided log by push
cases.toml:11: read of /x in scope tool: expected deny by keys, decided allow by default
4 cases, 3 failed
"
        )
    );
    let done = test(&scratch, &["--json"], cases);
    let told: Value = serde_json::from_str(&done.out()).expect("JSON");
    assert_eq!((done.code(), told["cases"].as_u64(), told.get("uncovered")), (1, Some(4), None));
    assert_eq!(
        told["failed"][0],
        json!({
            "file": "cases.toml", "line": 1, "name": "keys may be read", "op": "read",
            "object": "/home/user/project/a.key", "scope": "tool",
            "expected": {"action": "allow"}, "decided": {"action": "deny", "rule": "keys"},
        })
    );
    assert_eq!(told["failed"].as_array().map(Vec::len), Some(3));
}

#[test]
fn places_and_scope_can_be_set_for_all() {
    let scratch = Scratch::new("cases-places");
    let cases = "home = \"/root\"\nrepo = \"/w\"\nscope = \"harness\"\n\
                 [[case]]\nop = \"read\"\npath = \"/root/.ssh/id\"\nexpect = \"allow\"\nrule = \"own\"\n\
                 [[case]]\nop = \"read\"\nhome = \"/h\"\npath = \"/root/.ssh/id\"\nexpect = \"allow\"\nrule = \"default\"\n\
                 [[case]]\nop = \"read\"\nscope = \"tool\"\npath = \"{home}/.ssh/id\"\nexpect = \"deny\"\n";
    assert_eq!(test(&scratch, &[], cases).succeeded().out(), "3 cases, none failed\n");
}

#[test]
fn who_acts_and_in_which_phase() {
    let scratch = Scratch::new("cases-who");
    let policy = "version = 1\n[[phase]]\nname = \"setup\"\n[[phase]]\nname = \"work\"\nmarker = [\"done\"]\n\
                  [[rule]]\nname = \"git\"\non = [\"read\"]\npath = [\"**/.netrc\"]\nby = [\"/usr/bin/git\", \"{home}/bin/git\"]\naction = \"log\"\n\
                  [[rule]]\nname = \"late\"\non = [\"read\"]\npath = [\"**/.netrc\"]\nphase = \"work\"\naction = \"deny\"\n";
    scratch.write("who.toml", policy);
    let case = |more: &str| format!("[[case]]\nop = \"read\"\npath = \"{{home}}/.netrc\"\n{more}\n");
    let try_cases = |cases: &str| {
        scratch.write("cases.toml", cases);
        Job::new(binary(), scratch.path()).args(["policy", "test", "who.toml", "cases.toml"]).run()
    };
    let cases = [
        "expect = \"allow\"",
        "expect = \"log\"\nexe = \"/usr/bin/git\"",
        "expect = \"log\"\nexe = \"{home}/bin/git\"\nphase = \"work\"",
        "expect = \"allow\"\nexe = \"/usr/bin/got\"\nphase = \"setup\"",
        "expect = \"deny\"\nphase = \"work\"",
    ];
    let all: String = cases.iter().map(|more| case(more)).collect();
    assert_eq!(try_cases(&all).succeeded().out(), "5 cases, none failed\n");
    let unknown = try_cases(&case("expect = \"deny\"\nphase = \"wrok\""));
    assert_eq!(unknown.code(), 1);
    assert!(unknown.out().contains("the policy has no phase `wrok`\n --> cases.toml:5:9\n"), "{}", unknown.out());
    assert!(unknown.out().contains("did you mean `work`?"), "{}", unknown.out());
}

#[test]
fn rules_that_no_case_covers() {
    let scratch = Scratch::new("cases-coverage");
    let cases = "[[case]]\nop = \"read\"\npath = \"/a.key\"\nexpect = \"deny\"\n";
    let done = test(&scratch, &["--coverage"], cases).succeeded();
    assert!(
        done.out().starts_with("warning: no case is decided by the rule `own`\n --> policy.toml:3:8\n"),
        "{}",
        done.out()
    );
    assert!(done.out().ends_with("1 case, none failed, 1 of 5 rules covered\n"), "{}", done.out());
    let done = test(&scratch, &["--coverage", "--json"], cases).succeeded();
    let told: Value = serde_json::from_str(&done.out()).expect("JSON");
    let rules: Vec<&str> = told["uncovered"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["rule"].as_str().expect("a name"))
        .collect();
    assert_eq!(rules, ["own", "push", "pipe", "net"]);
}

/// What is said of these cases: the first line, the place, and the help.
fn told(cases: &str) -> Vec<String> {
    let scratch = Scratch::new("cases-told");
    let done = test(&scratch, &[], cases);
    assert_eq!(done.code(), 1, "{}", done.out());
    let lines = done.out();
    let lines = lines.lines().map(str::trim_start);
    lines
        .filter(|line| ["error: ", "--> ", "= help"].iter().any(|start| line.starts_with(start)))
        .map(str::to_owned)
        .collect()
}

#[test]
fn mistakes_are_told_with_their_places() {
    assert_eq!(
        told("[[case]]\nop = \"raed\"\npth = \"/x\"\nexpect = \"deny\"\n"),
        [
            "error: unknown operation `raed`",
            "--> cases.toml:2:6",
            "= help: did you mean `read`?",
            "error: unknown key `pth`",
            "--> cases.toml:3:1",
            "= help: did you mean `path`?"
        ]
    );
    assert_eq!(
        told("[[case]]\nop = \"read\"\npath = \"a/b\"\nexpect = \"deny\"\n"),
        ["error: `a/b` is no true path", "--> cases.toml:3:8"]
    );
    assert_eq!(
        told("[[case]]\nop = \"read\"\n"),
        [
            "error: the case has no `expect`",
            "--> cases.toml:1:1",
            "error: the case does not say on what `read` is tried",
            "--> cases.toml:1:1",
            "= help: give it `path`",
        ]
    );
    assert_eq!(
        told("[[case]]\nop = \"exec\"\nexpect = \"log\"\nto = \"10.0.0.1:1\"\n"),
        [
            "error: the case does not say on what `exec` is tried",
            "--> cases.toml:1:1",
            "= help: give it `argv` or `path`",
            "error: `to` means nothing to `exec`",
            "--> cases.toml:4:1",
        ]
    );
    assert_eq!(
        told("[[case]]\nop = [\"read\", \"connect\"]\npath = \"/x\"\nexpect = \"log\"\n"),
        [
            "error: `read` and `connect` are not tried on the same things",
            "--> cases.toml:2:6",
            "= help: make two cases of it"
        ]
    );
    assert_eq!(
        told("[[case]]\nop = \"read\"\npath = \"/x\"\nexpect = \"log\"\nrule = \"kyes\"\n"),
        ["error: the policy has no rule `kyes`", "--> cases.toml:5:8", "= help: did you mean `keys`?"]
    );
    assert_eq!(
        told("[[case]]\nop = \"connect\"\nto = [\"host:80\"]\nexpect = \"log\"\n")[1..],
        ["--> cases.toml:3:7"]
    );
    assert_eq!(told("home = \"user\"\n")[1..], ["--> cases.toml:1:8"]);
    assert_eq!(told("[case]\nop = \"read\"\n")[0], "error: `case` has the wrong type");
    assert_eq!(told("[[case]\n")[1..], ["--> cases.toml:1:8"]);
}

#[test]
fn the_example_in_the_documentation_can_be_tried() {
    let scratch = Scratch::new("cases-docs");
    let docs = include_str!("../../docs/policy.md");
    let example =
        docs.split("```toml\n").filter_map(|rest| rest.split("```").next()).find(|text| text.contains("[[case]]"));
    let policy = "version = 1\n[[rule]]\nname = \"secrets\"\non = [\"read\", \"write\"]\npath = [\"**/.env\", \"{home}/.ssh/**\"]\naction = \"deny\"\n\
                  [[rule]]\nname = \"push\"\non = [\"exec\"]\nargv = [\"git push *\"]\naction = \"log\"\n";
    scratch.write("policy.toml", policy);
    scratch.write("cases.toml", example.expect("an example"));
    let done =
        Job::new(binary(), scratch.path()).args(["policy", "test", "--coverage", "policy.toml", "cases.toml"]).run();
    assert_eq!(done.succeeded().out(), "5 cases, none failed, 2 of 2 rules covered\n");
}

#[test]
fn a_bad_policy_and_absent_cases() {
    let scratch = Scratch::new("cases-policy");
    scratch.write("policy.toml", "version = 2\n");
    scratch.write("cases.toml", "");
    let run = |arguments: &[&str]| Job::new(binary(), scratch.path()).args(["policy", "test"]).args(arguments).run();
    let bad = run(&["policy.toml", "cases.toml"]);
    assert_eq!(bad.code(), 1);
    assert!(bad.out().contains("policy.toml:1:11"), "{}", bad.out());
    let told: Value = serde_json::from_str(&run(&["policy.toml", "cases.toml", "--json"]).out()).expect("JSON");
    assert_eq!((told[0]["file"].as_str(), told[0]["severity"].as_str()), (Some("policy.toml"), Some("error")));
    scratch.write("policy.toml", "version = 1\n");
    let absent = run(&["policy.toml", "absent.toml"]);
    assert_eq!(absent.code(), 1);
    assert!(absent.out().contains("absent.toml"), "{}", absent.out());
    assert_eq!(run(&["policy.toml"]).code(), 2);
    assert_eq!(run(&["policy.toml", "cases.toml"]).succeeded().out(), "0 cases, none failed\n");
}
