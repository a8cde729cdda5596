//! The JSON schemas for editors: that they are what guard prints, and say what guard says.

use std::fs;
use std::path::{Path, PathBuf};

use guard::policy::{cases, compile, read, schema, source};
use jsonschema::Validator;
use serde_json::Value;
use support::guard::binary;
use support::run::Job;

fn policies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies").canonicalize().expect("the policies are there")
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft7::meta::validate(schema).unwrap_or_else(|error| panic!("{error}"));
    jsonschema::validator_for(schema).expect("a schema")
}

/// What the schema finds wrong with a TOML text.
fn objections(validator: &Validator, text: &str) -> Vec<String> {
    let value: Value = toml::from_str(text).unwrap_or_else(|error| panic!("{error}"));
    validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn what_is_kept_is_what_guard_prints() {
    for (of, file) in [("policy", "policy.schema.json"), ("cases", "cases.schema.json")] {
        let printed = Job::new(binary(), Path::new("/")).args(["policy", "schema", of]).run().succeeded().out();
        let path = policies().join("schema").join(file);
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            printed == kept,
            "policies/schema/{file} is out of date: guard policy schema {of} > policies/schema/{file}"
        );
    }
    let printed = Job::new(binary(), Path::new("/")).args(["policy", "schema"]).run().succeeded().out();
    assert_eq!(serde_json::from_str::<Value>(&printed).expect("JSON"), schema::policy());
}

#[test]
fn every_policy_and_every_case_that_we_ship_is_valid() {
    let (policy, case) = (validator(&schema::policy()), validator(&schema::cases()));
    let mut policies_seen = 0;
    for entry in fs::read_dir(policies()).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.display().to_string();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("text");
        let is_cases = name.ends_with(".cases.toml");
        policies_seen += usize::from(!is_cases);
        let objections = objections(if is_cases { &case } else { &policy }, &text);
        assert!(objections.is_empty(), "{name}: {objections:#?}");
    }
    assert!(policies_seen > 0);
}

/// A policy that has every key there is.
const FULL: &str = r#"
version = 1
mode = "audit"
[agent.codex]
exe = ["**/codex"]
[list]
keys = ["**/*.key", "@more"]
more = ["{home}/.ssh/**"]
[[phase]]
name = "setup"
[[phase]]
name = "work"
marker = ["guard-work"]
[default]
send = "log"
[[rule]]
name = "keys"
on = ["read", "write"]
path = ["@keys", "{repo}/x"]
except = ["**/*.pub"]
scope = "tool"
by = ["/usr/bin/cat"]
phase = ["setup", "work"]
action = "deny"
reason = "Because."
[[rule]]
name = "net"
on = ["connect"]
to = ["10.0.0.0/8:443"]
phase = "work"
action = "kill"
[[rule]]
name = "pipe"
on = ["exec"]
argv = ["sh"]
stdin = "network"
action = "log"
"#;

const CASES: &str = r#"
repo = "/r"
home = "/h"
scope = "harness"
[[case]]
name = "n"
op = ["read", "write"]
path = ["/a", "{repo}/b"]
scope = "tool"
exe = "/usr/bin/cat"
phase = "setup"
repo = "/r"
home = "/h"
expect = "deny"
rule = "default"
[[case]]
op = "exec"
argv = ["a", "b"]
stdin = "network"
expect = "allow"
[[case]]
op = "exec"
argv = "a b"
path = "/usr/bin/a"
expect = "allow"
[[case]]
op = "connect"
to = "10.0.0.1:443"
expect = "kill"
"#;

#[test]
fn what_guard_accepts_the_schemas_accept() {
    compile("full", FULL).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(objections(&validator(&schema::policy()), FULL), [""; 0]);
    cases::read(guard::policy::Source::new("cases", CASES)).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(objections(&validator(&schema::cases()), CASES), [""; 0]);
    // The default policy stands for those that people have.
    let shipped = read(source(&policies().join("default.toml")).expect("a policy")).expect("a policy");
    assert!(!shipped.compiled.rules.is_empty());
}

#[test]
fn what_the_schemas_refuse_guard_refuses() {
    let policy = validator(&schema::policy());
    for (good, bad) in [
        ("version = 1", "version = 2"),
        ("version = 1", "vresion = 1"),
        ("\"audit\"", "\"adit\""),
        ("exe =", "exes ="),
        ("\"**/codex\"", "\"codex\""),
        ("send = \"log\"", "sned = \"log\""),
        ("send = \"log\"", "send = \"refuse\""),
        ("name = \"keys\"", "name = \"My keys\""),
        ("on = [\"read\", \"write\"]", "on = \"read\""),
        ("on = [\"read\", \"write\"]", "on = []"),
        ("on = [\"read\", \"write\"]", "on = [\"raed\"]"),
        ("\"{repo}/x\"", "\".env\""),
        ("scope = \"tool\"", "scope = \"model\""),
        ("stdin = \"network\"", "stdin = \"file\""),
        ("action = \"kill\"\n", ""),
        ("marker =", "markers ="),
        ("reason = \"Because.\"", "reason = 1"),
    ] {
        assert!(FULL.contains(good), "{good}");
        let text = FULL.replacen(good, bad, 1);
        assert!(!objections(&policy, &text).is_empty(), "the schema accepts {bad}");
        assert!(compile("bad", &text).is_err(), "guard accepts {bad}");
    }
    let case = validator(&schema::cases());
    for (good, bad) in [
        ("repo = \"/r\"", "rep = \"/r\""),
        ("op = [\"read\", \"write\"]", "op = [\"raed\"]"),
        ("expect = \"kill\"", ""),
        ("expect = \"kill\"", "expect = \"refuse\""),
        ("argv = [\"a\", \"b\"]", "argv = 1"),
        ("stdin =", "stdn ="),
    ] {
        assert!(CASES.contains(good), "{good}");
        let text = CASES.replacen(good, bad, 1);
        assert!(!objections(&case, &text).is_empty(), "the schema accepts {bad}");
        assert!(cases::read(guard::policy::Source::new("bad", &text)).is_err(), "guard accepts {bad}");
    }
}
