//! The policies that guard ships: each is accepted, decides what its cases say, and agrees with the others.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use guard::policy::{SHIPPED, cases, load, source};
use guard_common::words::Action;
use serde_json::Value;
use support::guard::{binary, policies};
use support::place::Scratch;
use support::require_kernel;
use support::run::Job;

/// Names of the policies, without `.toml`.
fn names() -> Vec<String> {
    let entries = fs::read_dir(policies()).expect("the folder can be read").flatten();
    let names = entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".toml").map(str::to_owned));
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn policy_of(name: &str) -> PathBuf {
    policies().join(name).with_extension("toml")
}

fn cases_of(name: &str) -> PathBuf {
    policies().join("cases").join(name).with_extension("toml")
}

fn document(name: &str) -> Value {
    let text = fs::read_to_string(policy_of(name)).expect("a policy");
    toml::from_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn they_are_all_there() {
    assert_eq!(names(), ["audit", "default", "isolated", "local-model", "strict", "supply-chain"]);
}

/// And built in, to be chosen by name.
#[test]
fn guard_has_them_all_with_it() {
    let built_in: Vec<(&str, String)> = SHIPPED.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
    let names = names();
    let files = names.iter().map(|name| (name.as_str(), fs::read_to_string(policy_of(name)).expect("a policy")));
    assert_eq!(built_in, files.collect::<Vec<_>>());
}

#[test]
fn a_name_chooses_one_and_a_path_a_file() {
    let scratch = Scratch::new("by-name");
    let check = |policy: &str| Job::new(binary(), scratch.path()).args(["policy", "check", policy]).run();
    assert!(check("strict").succeeded().out().contains("the policy `strict` that guard ships: "));
    let done = check("strcit");
    assert!(done.code() == 1 && done.out().contains("did you mean `strict`?"), "{}", done.out());
    assert_eq!(check("./strict").code(), 1);
    scratch.write("strict", "version = 1\n");
    assert!(check("./strict").succeeded().out().contains("./strict: nothing to object to"));
    let cases = cases_of("strict");
    let test = Job::new(binary(), scratch.path()).args(["policy", "test", "strict"]).arg(cases).run().succeeded();
    assert!(test.out().contains("none failed"), "{}", test.out());
    for (name, _) in SHIPPED {
        let help = Job::new(binary(), scratch.path()).args(["run", "--help"]).run().succeeded().out();
        assert!(help.contains(name), "{help}");
    }
}

#[test]
fn one_is_in_force_by_its_name() {
    require_kernel();
    let scratch = Scratch::new("by-name");
    let run = |policy: &str| {
        let guard = ["run", "--policy", policy, "--", "sh", "-c", "echo layout python >> .envrc"];
        Job::new(binary(), scratch.path()).args(guard).run()
    };
    assert_eq!(run("audit").code(), 0);
    let done = run("strict");
    assert_ne!(done.code(), 0, "{}", done.err());
    assert!(done.err().contains("; rule run-later: "), "{}", done.err());
}

/// Neither an error nor a warning.
#[test]
fn they_are_accepted_without_objection() {
    for name in names() {
        let job = Job::new(binary(), Path::new("/")).args(["policy", "check", "--strict"]).arg(policy_of(&name));
        let done = job.run();
        assert_eq!(done.code(), 0, "{}", done.out());
    }
}

#[test]
fn each_decides_what_its_cases_say_and_each_rule_has_one() {
    for name in names() {
        let job = Job::new(binary(), Path::new("/")).args(["policy", "test", "--coverage", "--json"]);
        let done = job.arg(policy_of(&name)).arg(cases_of(&name)).run();
        let result: Value =
            serde_json::from_str(&done.out()).unwrap_or_else(|error| panic!("{error}: {}", done.out()));
        assert_eq!(result["failed"], serde_json::json!([]), "{name}: {result:#}");
        assert_eq!(result["uncovered"], serde_json::json!([]), "{name}: {result:#}");
        assert!(result["cases"].as_u64().is_some_and(|cases| cases > 50), "{name}: {result:#}");
    }
}

/// Who is refused is told what to do instead, and who reads a report why something is in it.
#[test]
fn every_rule_that_does_not_simply_allow_has_a_reason() {
    for name in names() {
        let policy = load(&policy_of(&name)).unwrap_or_else(|failure| panic!("{failure}"));
        for rule in policy.rules.iter().filter(|rule| !rule.agent && rule.action != Action::Allow) {
            assert!(rule.reason.is_some(), "{name}: {} has no reason", rule.name);
        }
    }
}

/// What has the same name in two of them is the same, so that a correction of one is not forgotten in the other. What is
/// done about it may differ, and when.
#[test]
fn what_is_called_the_same_is_the_same() {
    let mut lists: BTreeMap<String, (String, Value)> = BTreeMap::new();
    let mut rules: BTreeMap<String, (String, Value)> = BTreeMap::new();
    let mut shared = 0;
    let mut hold = |known: &mut BTreeMap<String, (String, Value)>, policy: &str, name: &str, value: Value| {
        let (first, same) = known.entry(name.to_owned()).or_insert_with(|| (policy.to_owned(), value.clone()));
        assert_eq!(*same, value, "`{name}` in {policy} is not what it is in {first}");
        shared += usize::from(first != policy);
    };
    for policy in names() {
        let document = document(&policy);
        for (name, list) in document["list"].as_object().into_iter().flatten() {
            hold(&mut lists, &policy, name, list.clone());
        }
        for rule in document["rule"].as_array().into_iter().flatten() {
            let mut rule = rule.as_object().expect("a table").clone();
            rule.remove("action");
            rule.remove("phase");
            let name = rule["name"].as_str().expect("a name").to_owned();
            hold(&mut rules, &policy, &name, Value::Object(rule));
        }
    }
    assert!(shared > 50, "{shared}");
}

/// Audit is for finding out what a policy would do here: it tells of all that any of them would stop, by its cases.
#[test]
fn audit_tells_what_the_others_would_stop() {
    let audit = load(&policy_of("audit")).unwrap_or_else(|failure| panic!("{failure}"));
    let mut tables = audit.tables();
    let mut stopped = 0;
    for name in names() {
        let cases = source(&cases_of(&name)).and_then(cases::read).unwrap_or_else(|failure| panic!("{failure}"));
        for case in cases.cases.iter().filter(|case| case.expect >= Action::Deny) {
            let decided = case.question.decide(&mut tables).action;
            assert!(decided > Action::Allow, "{name}: {:?}", case.question);
            stopped += 1;
        }
    }
    assert!(stopped > 200, "{stopped}");
}
