//! `guard policy check`, as people and CI use it.

use std::fs;
use std::os::unix::fs::symlink;

use guard::kernel::{Abilities, Asked, Unasked, holds};
use serde_json::Value;
use support::guard::{binary, shipped};
use support::place::Scratch;
use support::run::{Finished, Job};

/// Checks this policy, with these flags.
fn check(scratch: &Scratch, flags: &[&str], text: &str) -> Finished {
    let policy = scratch.write("policy.toml", text);
    Job::new(binary(), scratch.path())
        .args(["policy", "check"])
        .args(flags)
        .arg(policy.file_name().expect("a name"))
        .run()
}

/// A policy of these rules, each given as its name and the rest.
fn rules(rules: &[(&str, &str)]) -> String {
    rules
        .iter()
        .fold("version = 1\n".to_owned(), |all, (name, rest)| format!("{all}[[rule]]\nname = \"{name}\"\n{rest}\n"))
}

/// What was found: severity, line, message and label.
fn found(done: &Finished) -> Vec<(String, u64, String, String)> {
    let Value::Array(found) = serde_json::from_str(&done.out()).expect("JSON") else { panic!("{}", done.out()) };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |one: &Value| {
        (text(&one["severity"]), one["line"].as_u64().unwrap_or(0), text(&one["message"]), text(&one["label"]))
    };
    found.iter().map(one).collect()
}

/// Messages and labels of the warnings.
fn warnings(text: &str) -> Vec<String> {
    let scratch = Scratch::new("check-warnings");
    let done = check(&scratch, &["--json"], text);
    assert_eq!(done.code(), 0, "{}{}", done.out(), done.err());
    let warnings = found(&done).into_iter().filter(|(severity, ..)| severity == "warning");
    warnings.map(|(_, line, message, label)| format!("{line}: {message}: {label}")).collect()
}

#[test]
fn exit_codes_say_what_was_found() {
    let scratch = Scratch::new("check-codes");
    let fine = rules(&[("a", "on = [\"connect\"]\nto = [\"10.0.0.0/8\"]\naction = \"deny\"")]);
    let done = check(&scratch, &["--strict"], &fine);
    assert_eq!((done.code(), done.out().as_str()), (0, "policy.toml: nothing to object to\n"), "{}", done.err());
    let warned = format!("{fine}[list]\nspare = []\n");
    assert_eq!(check(&scratch, &[], &warned).code(), 0);
    assert_eq!(check(&scratch, &["--strict"], &warned).code(), 1);
    assert_eq!(check(&scratch, &["--deny-warnings"], &warned).code(), 1);
    let done = check(&scratch, &[], &fine.replace("to =", "too ="));
    assert_eq!(done.code(), 1);
    assert!(done.out().contains("error: unknown key `too`\n --> policy.toml:5:1\n"), "{}", done.out());
    assert!(done.out().contains("did you mean `to`?"), "{}", done.out());
    assert!(done.out().ends_with("policy.toml: 1 error\n"), "{}", done.out());
    assert_eq!(check(&scratch, &["--no-such-flag"], &fine).code(), 2);
    let absent = Job::new(binary(), scratch.path()).args(["policy", "check", "absent.toml"]).run();
    assert_eq!(absent.code(), 1);
    assert!(absent.out().contains("absent.toml") && absent.out().contains("No such file"), "{}", absent.out());
}

#[test]
fn it_needs_no_root_and_paints_nothing_into_a_pipe() {
    let scratch = Scratch::new("check-nobody");
    // Where nobody may look, the program has to be copied to somewhere else.
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("a folder of ours");
    let guard = folder.path().join("guard");
    fs::copy(binary(), &guard).expect("guard can be copied");
    let policy = folder.path().join("policy.toml");
    fs::copy(shipped(), &policy).expect("the policy can be copied");
    let job = Job::new("setpriv", scratch.path())
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"])
        .arg(&guard)
        .args(["policy", "check"])
        .arg(&policy);
    let done = job.run().succeeded();
    assert!(done.out().contains("policy.toml: ") && !done.out().contains('\u{1b}'), "{}", done.out());
}

#[test]
fn several_files_and_none() {
    let scratch = Scratch::new("check-files");
    scratch.write("one.toml", "version = 2\n");
    scratch.write("two.toml", "version = 1\n");
    let done = Job::new(binary(), scratch.path()).args(["policy", "check", "one.toml", "two.toml"]).run();
    assert_eq!(done.code(), 1);
    assert!(done.out().contains("one.toml: 1 error\n"), "{}", done.out());
    assert!(done.out().contains("two.toml: nothing to object to\n"), "{}", done.out());
    if !std::path::Path::new("/etc/guard/policy.toml").exists() {
        let done = Job::new(binary(), scratch.path()).args(["policy", "check"]).run().succeeded();
        assert!(done.out().contains("the policy that guard ships: "), "{}", done.out());
    }
}

#[test]
fn the_shipped_policy_has_no_warning() {
    let done =
        Job::new(binary(), "/".as_ref()).args(["policy", "check", "--strict"]).arg(shipped()).run().succeeded();
    assert!(!done.out().contains("warning"), "{}", done.out());
}

#[test]
fn findings_are_json_in_one_shape() {
    let scratch = Scratch::new("check-json");
    let done =
        check(&scratch, &["--json"], "version = 1\n[[rule]]\nname = \"é\"\non = [\"raed\"]\naction = \"deny\"\n");
    assert_eq!(done.code(), 1);
    let found: Value = serde_json::from_str(&done.out()).expect("JSON");
    assert_eq!(
        found[1],
        serde_json::json!({
            "file": "policy.toml", "line": 4, "column": 7, "end": {"line": 4, "column": 13}, "severity": "error",
            "message": "unknown operation `raed`",
            "label": "expected one of `exec`, `read`, `write`, `create`, `delete`, `rename`, `link`, `chmod`, `connect`, `send`, `bind`, `signal`, `ptrace`, `mount`, `privilege` and `outlive`",
            "help": "did you mean `read`?",
        })
    );
    // Columns are characters: the name is three of them, in four bytes.
    assert_eq!(found[0]["end"], serde_json::json!({"line": 3, "column": 11}));
    let done = check(&scratch, &["--json"], "version = 1\n");
    assert_eq!(done.out(), "[]\n");
    let text = rules(&[("a", "on = [\"connect\"]\nto = [\"::1\"]\nexcept = [\"10.0.0.1\"]\naction = \"log\"")]);
    let found: Value = serde_json::from_str(&check(&scratch, &["--json"], &text).out()).expect("JSON");
    assert_eq!(found[0]["rule"], "a");
}

#[test]
fn what_earlier_rules_leave_nothing_of() {
    let text = rules(&[
        ("a", "on = [\"read\", \"write\"]\npath = [\"**/.env\"]\naction = \"allow\""),
        ("b", "on = [\"read\"]\npath = [\"/srv/**\"]\nscope = \"tool\"\naction = \"log\""),
        ("c", "on = [\"read\"]\npath = [\"/srv/**\"]\nscope = \"harness\"\naction = \"log\""),
        ("d", "on = [\"read\"]\npath = [\"/srv/x\", \"/usr/x/{a,b}/.env\", \"/usr/.env*\"]\naction = \"deny\""),
        ("e", "on = [\"read\"]\npath = [\"/srv/x\", \"{repo}/.env\"]\naction = \"deny\""),
        ("f", "on = [\"exec\", \"read\"]\npath = [\"/usr/.env\"]\naction = \"deny\""),
    ]);
    assert_eq!(
        warnings(&text),
        [
            "22: `/srv/x` never decides in the rule `d`: `c` and `b` before it together match all of it",
            "22: `/usr/x/{a,b}/.env` never decides in the rule `d`: `a` before it matches all of it",
            "25: the rule `e` never decides: together, `c`, `b` and `a` before it match everything that it does",
        ]
    );
    // What has exceptions, is of another scope, or has a condition more leaves something.
    let text = rules(&[
        ("a", "on = [\"read\"]\npath = [\"**/.env\"]\nexcept = [\"/usr/.env\"]\naction = \"allow\""),
        ("b", "on = [\"read\"]\npath = [\"/usr/**\"]\nscope = \"tool\"\naction = \"allow\""),
        ("c", "on = [\"read\"]\npath = [\"/usr/.env\"]\naction = \"deny\""),
        ("d", "on = [\"exec\"]\npath = [\"**/sh\"]\nargv = [\"sh -c *\"]\naction = \"allow\""),
        ("e", "on = [\"exec\"]\npath = [\"**/sh\"]\naction = \"deny\""),
    ]);
    assert_eq!(warnings(&text), [""; 0]);
}

#[test]
fn command_lines_and_addresses_are_compared_too() {
    let text = rules(&[
        ("a", "on = [\"connect\"]\nto = [\"10.0.0.0/8\", \"loopback\"]\naction = \"allow\""),
        ("b", "on = [\"connect\"]\nto = [\"10.1.0.0/16\", \"127.0.0.1:80\", \"11.0.0.0/8\"]\naction = \"deny\""),
        ("c", "on = [\"exec\"]\nargv = [\"git *\"]\naction = \"allow\""),
        ("d", "on = [\"exec\"]\nargv = [\"git push *\", \"rm *\"]\naction = \"deny\""),
    ]);
    assert_eq!(
        warnings(&text),
        [
            "10: `10.1.0.0/16` never decides in the rule `b`: `a` before it matches all of it",
            "10: `127.0.0.1:80` never decides in the rule `b`: `a` before it matches all of it",
            "20: `git push *` never decides in the rule `d`: `c` before it matches all of it",
        ]
    );
}

#[test]
fn exceptions_that_except_nothing_or_everything() {
    let text = rules(&[
        ("a", "on = [\"read\"]\npath = [\"**/*.pem\"]\nexcept = [\"**/*.pub\", \"/usr/**\"]\naction = \"deny\""),
        ("b", "on = [\"read\"]\npath = [\"/etc/x\", \"/etc/y\"]\nexcept = [\"/etc/?\"]\naction = \"deny\""),
        (
            "c",
            "on = [\"connect\"]\nto = [\"10.0.0.0/8:80-90\"]\nexcept = [\"10.1.0.0/16:443\", \"10.0.0.1:80\"]\naction = \"deny\"",
        ),
    ]);
    assert_eq!(
        warnings(&text),
        [
            "6: `**/*.pub` excepts nothing: nothing that the rule `a` matches is matched by it",
            "9: the rule `b` never decides: it excepts everything that it matches",
            "18: `10.1.0.0/16:443` excepts nothing: nothing that the rule `c` matches is matched by it",
        ]
    );
}

#[test]
fn globs_that_no_true_path_matches() {
    let scratch = Scratch::new("check-links");
    let base = scratch.path().canonicalize().expect("it is there");
    fs::create_dir(base.join("real")).expect("a folder");
    symlink("real", base.join("link")).expect("a link");
    let base = base.display();
    let text = rules(&[
        ("top", "on = [\"read\"]\npath = [\"/.guard-no-such\", \"/.guard-no-such-*\"]\naction = \"log\""),
        (
            "link",
            &format!(
                "on = [\"read\"]\npath = [\"{base}/link/**\", \"{base}/link\", \"{base}/{{link,real}}/*.x\"]\naction = \"log\""
            ),
        ),
        ("both", &format!("on = [\"write\"]\npath = [\"{base}/link/*\", \"{base}/real/**\"]\naction = \"log\"")),
        ("socket", &format!("on = [\"connect\"]\nto = [\"unix:{base}/link/s\", \"unix:@guard\"]\naction = \"log\"")),
    ]);
    let link = format!("`{base}/link` is a symbolic link to `{base}/real`");
    assert_eq!(
        warnings(&text),
        [
            "5: `/.guard-no-such` matches only at the top of the file system: there is no such file there".to_owned(),
            "5: `/.guard-no-such-*` matches only at the top of the file system: there is no such file there"
                .to_owned(),
            format!("10: `{base}/link/**` matches nothing on this machine: {link}"),
            format!("10: `{base}/link` matches nothing on this machine: {link}"),
            format!("20: `unix:{base}/link/s` matches nothing on this machine: {link}"),
        ]
    );
    let done = check(&scratch, &[], &text);
    assert!(done.out().contains(&format!("patterns see true paths: write `{base}/real/**`")), "{}", done.out());
    assert!(
        done.out().contains("write `**/.guard-no-such`, in the repository `{repo}/.guard-no-such`"),
        "{}",
        done.out()
    );
}

#[test]
fn what_is_only_absent_here_is_remarked() {
    let scratch = Scratch::new("check-remarks");
    let text =
        rules(&[("a", "on = [\"read\"]\npath = [\"/guard-no-such/**\", \"/guard-no-such/x\"]\naction = \"log\"")]);
    let done = check(&scratch, &["--json", "--strict"], &text);
    let expected = (
        "remark".to_owned(),
        5,
        "`/guard-no-such/**` matches nothing on this machine".to_owned(),
        "there is no `/guard-no-such` here".to_owned(),
    );
    assert_eq!((done.code(), found(&done)), (0, vec![expected]));
}

#[test]
fn denials_that_are_contained_are_told_in_the_words_of_the_readme() {
    let scratch = Scratch::new("check-contained");
    let text = rules(&[
        ("a", "on = [\"read\", \"connect\"]\npath = [\"**/.env\"]\nto = [\"10.0.0.0/8\"]\naction = \"deny\""),
        ("b", "on = [\"connect\"]\nto = [\"11.0.0.0/8\"]\naction = \"deny\""),
        ("c", "on = [\"exec\"]\nargv = [\"git *\"]\naction = \"kill\""),
    ]);
    let done = check(&scratch, &["--json"], &text);
    let found: Value = serde_json::from_str(&done.out()).expect("JSON");
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{}", done.out());
    assert_eq!(found[0]["label"], "in `a`");
    let note = found[0]["note"].as_str().expect("a note");
    assert_eq!(
        note,
        "opening a file to read is contained: no byte reaches the thread that opened it\n\
         moving a file that may not be read to a name where it may be is contained: it has happened; the name counts as it was given"
    );
}

#[test]
fn the_readme_says_of_each_operation_what_guard_itself_does() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).expect("a README");
    let mut rows = 0;
    let unasked = || Err(Unasked::Unwanted);
    for (asked, uring, column) in [(unasked(), false, 2), (unasked(), true, 3), (Ok(Asked::Module), true, 4)] {
        let abilities = Abilities { asked, without: Vec::new(), uring: Some(uring), fanotify: true, calls: true };
        for hold in holds(&abilities) {
            let what = hold.what.replace("opening a file to read through", "the same through");
            // Reading and writing through io_uring share a row.
            if hold.what == "opening a file to write through io_uring" {
                continue;
            }
            let row = readme
                .lines()
                .find(|line| line.starts_with(&format!("| {what} |")))
                .unwrap_or_else(|| panic!("{what}"));
            let cells: Vec<String> = row.split('|').map(|cell| cell.trim().replace("**", "")).collect();
            let cell = cells[..=column].iter().rev().find(|cell| *cell != "the same").expect("a cell");
            assert!(cell.starts_with(hold.how), "{what}: {cell:?} is not {:?}", hold.how);
            rows += 1;
        }
    }
    assert_eq!(rows, (15 + 15 + 14) + 3 * (2 + 27));
    // By the other way one row differs, as a note of it says.
    let of = |asked| {
        holds(&Abilities { asked: Ok(asked), without: Vec::new(), uring: Some(true), fanotify: true, calls: true })
    };
    let pairs = of(Asked::Module).into_iter().zip(of(Asked::ModifiedReturn));
    let different: Vec<&str> = pairs.filter(|(one, other)| one.how != other.how).map(|(one, _)| one.what).collect();
    assert_eq!(different.len(), 1, "{different:?}");
    assert!(readme.contains(&format!("| {} | **not seen** | the same | prevented (3) |", different[0])));
}
