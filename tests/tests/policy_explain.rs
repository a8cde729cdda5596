//! `guard policy explain`, as someone uses it who wonders.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use support::guard::{binary, shipped};
use support::place::Scratch;
use support::run::{Finished, Job};

const POLICY: &str = r#"version = 1
[list]
keys = ["**/*.key", "{home}/.ssh/**"]
[[rule]]
name = "own"
on = ["read"]
path = ["{home}/.ssh/id"]
scope = "harness"
action = "allow"
[[rule]]
name = "keys"
on = ["read", "write"]
path = ["@keys", "/srv/**"]
except = ["**/public/**"]
action = "deny"
reason = "Keys stay here."
[[rule]]
name = "repo"
on = ["read"]
path = ["{repo}/**"]
action = "log"
[[rule]]
name = "shell"
on = ["exec"]
path = ["**/dash"]
argv = ["sh", "sh -s *"]
stdin = "network"
action = "kill"
[[rule]]
name = "net"
on = ["connect", "send"]
to = ["10.0.0.0/8:443", "unix:/run/x/*", "unix:@x*"]
action = "deny"
[default]
send = "log"
"#;

/// Explains by that policy, with repository and home.
fn explain(scratch: &Scratch, arguments: &[&str]) -> Finished {
    let policy = scratch.write("policy.toml", POLICY);
    Job::new(binary(), scratch.path())
        .args(["policy", "explain"])
        .arg(policy.file_name().expect("a name"))
        .args(["--repo", "/w/repo", "--home", "/h"])
        .args(arguments)
        .run()
}

/// The answer in JSON.
fn told(arguments: &[&str]) -> Value {
    let scratch = Scratch::new("explain-told");
    let done = explain(&scratch, &[&["--json"], arguments].concat()).succeeded();
    serde_json::from_str(&done.out()).expect("JSON")
}

/// The action, and the rules that match.
fn decided(arguments: &[&str]) -> (String, Vec<String>) {
    let told = told(arguments);
    let rules = told["matched"].as_array().expect("a list").iter();
    let name = |value: &Value| value.as_str().expect("a word").to_owned();
    (name(&told["action"]), rules.map(|rule| name(&rule["rule"])).collect())
}

fn is(action: &str, rules: &[&str]) -> (String, Vec<String>) {
    (action.to_owned(), rules.iter().map(|&rule| rule.to_owned()).collect())
}

#[test]
fn for_people() {
    let scratch = Scratch::new("explain-people");
    let done = explain(&scratch, &["--op", "read", "--path", "/w/repo/a.key"]).succeeded();
    assert_eq!(
        done.out(),
        "read of /w/repo/a.key
  scope tool, repo /w/repo, home /h
deny, by the rule `keys`: Keys stay here.
  at policy.toml:11
  path `**/*.key` at policy.toml:3, in the list `keys`
these match too, and would decide in this order if those before them were not there:
log, by the rule `repo`
  at policy.toml:18
  path `{repo}/**` at policy.toml:20
"
    );
    let done = explain(&scratch, &["--op", "read", "--path", "/srv/public/a", "--all"]).succeeded();
    assert_eq!(
        done.out(),
        "read of /srv/public/a
  scope tool, repo /w/repo, home /h
allow, by default: no rule matches
these are about the operation too, and do not match:
  `keys` at policy.toml:11: it is excepted
    except `**/public/**` at policy.toml:14
  `repo` at policy.toml:18: no pattern of `path` matches
"
    );
}

#[test]
fn for_programs() {
    assert_eq!(
        told(&["--op", "read", "--path", "/h/.ssh/id", "--scope", "harness", "--all"]),
        json!({
            "op": "read", "object": "/h/.ssh/id", "scope": "harness", "repo": "/w/repo", "home": "/h",
            "action": "allow",
            "matched": [
                {"rule": "own", "line": 5, "action": "allow", "patterns": [{"key": "path", "pattern": "{home}/.ssh/id", "line": 7}]},
                {
                    "rule": "keys", "line": 11, "action": "deny", "reason": "Keys stay here.",
                    "patterns": [{"key": "path", "pattern": "{home}/.ssh/**", "line": 3, "list": "keys"}],
                },
            ],
            "passed": [{"rule": "repo", "line": 18, "missed": ["path"], "excepted": []}],
            "notes": [],
        })
    );
}

#[test]
fn every_operation_can_be_asked_about() {
    assert_eq!(decided(&["--op", "write", "--path", "/srv/x"]), is("deny", &["keys"]));
    assert_eq!(decided(&["--op", "connect", "--to", "10.1.2.3:443"]), is("deny", &["net"]));
    assert_eq!(decided(&["--op", "connect", "--to", "10.1.2.3:444"]), is("allow", &[]));
    assert_eq!(decided(&["--op", "send", "--to", "[::1]:443"]), is("log", &[]));
    assert_eq!(decided(&["--op", "connect", "--to", "unix:/run/x/y"]), is("deny", &["net"]));
    assert_eq!(decided(&["--op", "connect", "--to", "unix:@xy"]), is("deny", &["net"]));
    assert_eq!(decided(&["--op", "outlive"]), is("allow", &[]));
    let dash = ["--op", "exec", "--path", "/no/such/dash"];
    let network = ["--stdin", "network"];
    assert_eq!(decided(&[&dash[..], &network, &["--", "sh", "-s", "x"]].concat()), is("kill", &["shell"]));
    assert_eq!(decided(&[&dash[..], &network, &["--argv", "sh -s 'x y'"]].concat()), is("kill", &["shell"]));
    assert_eq!(decided(&[&dash[..], &network, &["--argv", "sh -c x"]].concat()), is("allow", &[]));
    assert_eq!(decided(&[&dash[..], &["--argv", "sh -s"]].concat()), is("allow", &[]));
    let told = told(&[&dash[..], &["--argv", "sh -c x", "--all"]].concat());
    assert_eq!(told["passed"][0]["missed"], json!(["argv", "stdin"]));
}

#[test]
fn what_is_on_this_machine_is_taken_by_its_true_path() {
    let scratch = Scratch::new("explain-true");
    let base = scratch.path().canonicalize().expect("it is there");
    fs::write(base.join("a.key"), "").expect("a file");
    symlink("a.key", base.join("link")).expect("a link");
    fs::create_dir(base.join("folder")).expect("a folder");
    for path in ["link", "./a.key", "folder/../link"] {
        let done = explain(&scratch, &["--op", "read", "--path", path]).succeeded();
        let truth = format!("{}/a.key", base.display());
        assert!(done.out().starts_with(&format!("read of {truth}\n")), "{}", done.out());
        assert!(done.out().contains(&format!("note: the true path of {path} is {truth}\n")), "{}", done.out());
        assert!(done.out().contains("deny, by the rule `keys`"), "{}", done.out());
    }
    // A program is found as a shell finds it.
    let bin = base.join("bin");
    fs::create_dir(&bin).expect("a folder");
    fs::copy("/bin/true", bin.join("dash")).expect("a program");
    symlink("dash", bin.join("guard-sh")).expect("a link");
    scratch.write("policy.toml", POLICY);
    let done = Job::new(binary(), scratch.path())
        .env("PATH", &bin)
        .args(["policy", "explain", "policy.toml", "--op", "exec", "--stdin", "network", "--", "guard-sh"])
        .run()
        .succeeded();
    assert!(
        done.out().starts_with(&format!("exec of {}/bin/dash as `guard-sh`\n", base.display())),
        "{}",
        done.out()
    );
}

#[test]
fn places_are_those_of_who_asks() {
    let scratch = Scratch::new("explain-places");
    let top = scratch.path().canonicalize().expect("it is there");
    fs::create_dir_all(top.join(".git")).expect("a folder");
    fs::create_dir_all(top.join("a/b")).expect("a folder");
    scratch.write("policy.toml", POLICY);
    let done = Job::new(binary(), &top.join("a/b"))
        .env("HOME", "/h/me")
        .args(["policy", "explain", "../../policy.toml", "--op", "read", "--path", "x", "--json"])
        .run()
        .succeeded();
    let told: Value = serde_json::from_str(&done.out()).expect("JSON");
    assert_eq!((told["repo"].as_str(), told["home"].as_str()), (top.to_str(), Some("/h/me")));
    assert_eq!(told["matched"][0]["rule"], "repo");
}

#[test]
fn who_acts_and_in_which_phase() {
    let scratch = Scratch::new("explain-who");
    let text = "version = 1\n[[phase]]\nname = \"setup\"\n[[phase]]\nname = \"work\"\nmarker = [\"done\"]\n\
                [[rule]]\nname = \"git\"\non = [\"read\"]\npath = [\"**/.netrc\"]\nby = [\"/opt/{x,y}/git\"]\naction = \"log\"\n\
                [[rule]]\nname = \"late\"\non = [\"read\"]\npath = [\"**/.netrc\"]\nphase = \"work\"\naction = \"deny\"\n";
    scratch.write("who.toml", text);
    let ask = |more: &[&str]| {
        let job = Job::new(binary(), scratch.path());
        job.args(["policy", "explain", "who.toml", "--op", "read", "--path", "/h/.netrc", "--all", "--json"])
            .args(more)
            .run()
    };
    let told = |more: &[&str]| serde_json::from_str::<Value>(&ask(more).succeeded().out()).expect("JSON");
    let first = told(&[]);
    assert_eq!((&first["action"], &first["phase"]), (&json!("allow"), &json!("setup")));
    let missed = |number: usize| &first["passed"][number]["missed"];
    assert_eq!((missed(0), missed(1)), (&json!(["by"]), &json!(["phase"])));
    let git = told(&["--exe", "/opt/x/git", "--phase", "work"]);
    assert_eq!((&git["action"], &git["phase"], &git["exe"]), (&json!("log"), &json!("work"), &json!("/opt/x/git")));
    assert_eq!(git["matched"][0]["patterns"][1], json!({"key": "by", "pattern": "/opt/{x,y}/git", "line": 11}));
    assert_eq!(git["matched"][1]["rule"], "late");
    let unknown = ask(&["--phase", "wrok"]);
    assert_eq!(unknown.code(), 2);
    assert!(unknown.err().contains("--phase: expected setup or work"), "{}", unknown.err());
}

#[test]
fn exit_codes() {
    let scratch = Scratch::new("explain-codes");
    let code = |arguments: &[&str]| explain(&scratch, arguments).code();
    assert_eq!(code(&["--op", "read", "--path", "/srv/x"]), 0);
    assert_eq!(code(&["--op", "read", "--path", "/srv/x", "--expect", "deny"]), 0);
    assert_eq!(code(&["--op", "read", "--path", "/srv/x", "--expect", "allow"]), 1);
    for (wrong, says) in [
        (&["--op", "raed", "--path", "/x"][..], "expected exec, read, write, create, "),
        (&["--op", "read"], "--op read needs --path"),
        (&["--op", "read", "--to", "1.2.3.4:5"], "--to means nothing to --op read"),
        (&["--op", "connect", "--to", "host:5"], "`host:5` is no address"),
        (&["--op", "connect", "--to", "unix:x"], "after `unix:` its true path is expected"),
        (&["--op", "exec"], "--op exec needs a command line, or --path"),
        (&["--op", "exec", "--argv", "a 'b"], "a quote is never closed"),
        (&["--op", "exec", "--argv", "guard-no-such-program"], "say with --path where it is"),
    ] {
        let done = explain(&scratch, wrong);
        assert_eq!(done.code(), 2, "{wrong:?}: {}", done.err());
        assert!(done.err().contains(says), "{wrong:?}: {}", done.err());
    }
    scratch.write("bad.toml", "version = 3");
    let bad = Job::new(binary(), scratch.path()).args(["policy", "explain", "bad.toml", "--op", "outlive"]).run();
    assert_eq!(bad.code(), 1);
    assert!(bad.err().contains("bad.toml:1:11"), "{}", bad.err());
}

#[test]
fn which_pattern_it_was_is_found_among_many() {
    let scratch = Scratch::new("explain-many");
    let patterns: Vec<String> = (0..200).map(|n| format!("\"/d{n}/**\"")).collect();
    let text = format!(
        "version = 1\n[[rule]]\nname = \"many\"\non = [\"read\"]\npath = [{}, \"/d1/x\"]\naction = \"log\"\n",
        patterns.join(", ")
    );
    scratch.write("many.toml", text);
    let done = Job::new(binary(), scratch.path())
        .args(["policy", "explain", "many.toml", "--op", "read", "--path", "/d1/x", "--json"])
        .run()
        .succeeded();
    let told: Value = serde_json::from_str(&done.out()).expect("JSON");
    let found: Vec<&str> = told["matched"][0]["patterns"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|because| because["pattern"].as_str().expect("a pattern"))
        .collect();
    assert_eq!(found, ["/d1/**", "/d1/x"]);
}

#[test]
fn the_shipped_policy_explains_itself() {
    let done = Job::new(binary(), "/".as_ref())
        .args(["policy", "explain"])
        .arg(shipped())
        .args(["--op", "read", "--path", "/srv/app/.env", "--home", "/h", "--all", "--expect", "deny"])
        .run()
        .succeeded();
    assert!(done.out().contains("deny, by the rule `secrets`: Secrets stay out"), "{}", done.out());
    assert!(done.out().contains("path `**/.env` at "), "{}", done.out());
}
