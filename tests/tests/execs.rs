//! Programs: which one, with which words, and what is told of it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::{Value, json};
use support::guard::Guarded;
use support::run::Job;
use support::stage::{FINE, Stage, killed_in_silence, text};

const RULES: &str = r#"
    [[rule]]
    name = "tool"
    on = ["exec"]
    path = ["{stage}/tools/forbidden"]
    action = "deny"
    reason = "Not this one."

    [[rule]]
    name = "words"
    on = ["exec"]
    argv = ["attempt read --times 77 **", "attempt read * --times 77 **", "printf forbidden*"]
    action = "deny"
"#;

/// A second copy of `attempt`, at a path that may not be executed.
fn forbidden(stage: &Stage) -> String {
    let path = stage.path().join("tools/forbidden");
    fs::create_dir_all(stage.path().join("tools")).expect("a folder");
    fs::copy(stage.attempt(), &path).expect("a copy");
    path.display().to_string()
}

/// The one denied exec: its process died before it could do anything.
fn denied<'a>(guarded: &'a Guarded, rule: &str) -> &'a Value {
    let event = killed_in_silence(guarded);
    assert_eq!((text(event, "/op"), text(event, "/verdict/rule")), ("exec", rule), "{event}");
    assert_eq!((text(event, "/verdict/backend"), &event["verdict"]["enforced"]), ("signal", &true.into()), "{event}");
    event
}

#[test]
fn by_path_however_it_is_called() {
    let stage = Stage::new("execs");
    let program = forbidden(&stage);
    symlink(&program, stage.path().join("allowed/link")).expect("a symlink");
    let rooted = format!("/proc/self/root{program}");
    for name in [&program[..], "tools/forbidden", "allowed/link", "allowed/../tools/forbidden", &rooted] {
        for by in ["execve", "execveat", "fexecve", "proc-fd", "thread"] {
            let guarded = stage.guard(RULES).run(&stage.job(["exec", "--by", by, name, "read", "allowed/fine"]));
            let event = denied(&guarded, "tool");
            assert_eq!(event["path"], program, "{by}: {event}");
            assert_eq!(event["argv"], json!([name, "read", "allowed/fine"]), "{by}: {event}");
            assert_eq!(text(event, "/verdict/reason"), "Not this one.", "{event}");
        }
    }
}

#[test]
fn by_command_line() {
    let stage = Stage::new("execs");
    let read = |words: &[&str]| stage.guard(RULES).run(&stage.job(["read"]).args(words));
    let fine = read(&["--times", "2", "allowed/fine"]);
    assert_eq!(fine.done.out(), FINE.repeat(2), "{}", fine.done.err());
    let guarded = read(&["--times", "77", "allowed/fine"]);
    denied(&guarded, "words");
    // What the program is called by does not hide what it is, nor the other way round.
    for (by, name) in [("attempt", "sleep"), ("other", "attempt")] {
        let path = stage.path().join("allowed").join(by);
        fs::copy(stage.attempt(), &path).expect("a copy");
        let script = format!("exec -a {name} {} read --times 77 allowed/fine", path.display());
        let guarded = stage.guard(RULES).run(&Job::new("bash", stage.path()).args(["-c", &script]));
        denied(&guarded, "words");
    }
    let guarded = stage.guard(RULES).run(&stage.script("exec /usr/bin/printf 'forbidden thing'"));
    denied(&guarded, "words");
}

/// Of a script, the program is the interpreter, and the script one of its words.
#[test]
fn scripts() {
    let stage = Stage::new("execs");
    let script = stage.scratch().write("script", "#!/bin/sh\necho \"$0 $1\"\n");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("executable");
    let job = Job::new(&script, stage.path()).arg("word");
    let Guarded { done, events } = stage.guard("").run(&job);
    assert_eq!(done.out(), format!("{} word\n", script.display()), "{}", done.err());
    let event = events.op("exec").next().expect("an exec");
    assert!(text(event, "/path").starts_with("/usr/bin/") && !text(event, "/path").ends_with("script"), "{event}");
    assert_eq!(event["argv"], json!(["/bin/sh", script, "word"]), "{event}");

    let rule = "[[rule]]\nname = \"script\"\non = [\"exec\"]\nargv = [\"sh {stage}/script **\"]\naction = \"deny\"\n";
    denied(&stage.guard(rule).run(&job), "script");
}

/// A program in memory has no path. It runs and is followed like any other, but where a rule asks for a path or a command
/// line, nobody knows, and that is no way around the rule.
#[test]
fn programs_without_a_file() {
    let stage = Stage::new("execs");
    let program = stage.attempt().display().to_string();
    let job = |file| stage.job(["exec", "--by", "memfd", &program, "read", file]);
    let Guarded { done, events } = stage.guard("").run(&job("allowed/fine"));
    assert_eq!(done.out(), FINE, "{}", done.err());
    let paths: Vec<Option<&Value>> = events.op("exec").map(|event| event.get("path")).collect();
    assert_eq!(paths, [Some(&json!(program)), None]);
    let guarded = stage.guard("").run(&job("denied/secret"));
    assert_eq!(text(killed_in_silence(&guarded), "/verdict/rule"), "secrets");
    denied(&stage.guard(RULES).run(&job("allowed/fine")), "tool");
}

#[test]
fn words_place_and_user_are_told() {
    let stage = Stage::new("execs");
    fs::create_dir(stage.path().join("place")).expect("a folder");
    let script =
        r#"cd place && exec setpriv --reuid 65534 --clear-groups /bin/echo "two words" '' 'tab	and "quote"' ü"#;
    let Guarded { done, events } = stage.guard("").run(&stage.script(script));
    assert_eq!(done.code(), 0, "{}", done.err());
    let event = events.op("exec").find(|event| text(event, "/path").ends_with("/echo")).expect("an exec of echo");
    assert_eq!(event["argv"], json!(["/bin/echo", "two words", "", "tab\tand \"quote\"", "ü"]), "{event}");
    assert_eq!(event["process"]["argv"], event["argv"], "{event}");
    assert_eq!(text(event, "/process/exe"), text(event, "/path"), "{event}");
    assert_eq!(text(event, "/process/cwd"), stage.path().join("place").to_str().expect("ASCII"), "{event}");
    assert_eq!(event["process"]["uid"], 65534, "{event}");
    assert!(event.get("argv_cut").is_none(), "{event}");
    let before = events.op("exec").next().expect("the shell");
    assert_eq!((&before["process"]["uid"], &before["process"]["cwd"]), (&0.into(), &stage.path().to_str().into()));
}

/// Command lines are told up to 32 KiB; a longer one says that it was cut.
#[test]
fn long_command_lines_are_cut_and_say_so() {
    let stage = Stage::new("execs");
    for (words, cut) in [(300, false), (400, true), (2000, true)] {
        let argv: Vec<String> = (0..words).map(|number| format!("{number:0>99}")).collect();
        let Guarded { done, events } = stage.guard("").run(&Job::new("/bin/true", stage.path()).args(&argv));
        assert_eq!(done.code(), 0, "{}", done.err());
        let event = events.op("exec").next().expect("an exec");
        let told = event["argv"].as_array().expect("words");
        assert_eq!(event.get("argv_cut"), cut.then_some(&true.into()), "{words} words");
        assert_eq!(told[1], argv[0], "{words} words");
        if cut {
            let length: usize = told.iter().filter_map(Value::as_str).map(|word| word.len() + 1).sum();
            assert!((32 << 10) - 100 < length && length <= 32 << 10, "{length} bytes were told");
        } else {
            assert_eq!(told.len(), words + 1);
        }
    }
}

/// What lies beyond the part that is judged could have matched: a denial holds, and says so by its rule.
#[test]
fn what_is_beyond_the_judged_part_of_a_command_line_is_denied() {
    let stage = Stage::new("execs");
    let padding = "x".repeat(5000);
    let guarded = stage.guard(RULES).run(&stage.job(["read", &padding, "--times", "77", "allowed/fine"]));
    denied(&guarded, "words");
    // A program that no pattern begins with is none of that.
    let Guarded { done, .. } = stage.guard(RULES).run(&Job::new("/bin/true", stage.path()).arg(&padding));
    assert_eq!(done.code(), 0, "{}", done.err());
}

/// Secrets on a command line are not written down.
#[test]
fn secrets_in_command_lines_are_not_recorded() {
    let stage = Stage::new("execs");
    let job =
        Job::new("/bin/true", stage.path()).args(["--password", "hunter2-hunter2", "--api-key=hunter2-hunter2"]);
    let Guarded { done, events } = stage.guard("").run(&job);
    assert_eq!(done.code(), 0, "{}", done.err());
    let event = events.op("exec").next().expect("an exec");
    assert!(!event.to_string().contains("hunter2"), "{event}");
}

/// The kernel matches a long command line piece by piece, to its end: what is at the end of it decides, and a harmless one runs.
#[test]
fn long_command_lines_are_matched_to_their_end() {
    let stage = Stage::new("execs");
    let rules = "[[rule]]\nname = \"end\"\non = [\"exec\"]\nargv = ['sh -c \"*forbidden\"']\naction = \"deny\"\n";
    let script = "for n in 1000 3823 3824 3825 3826 3827 3828 20000 60000; do for end in forbidden fine; do \
                  sh -c \": $(head -c $n /dev/zero | tr '\\0' x); : $end\" && echo $n $end; done; done; :";
    let Guarded { done, events } = stage.guard(rules).run(&stage.script(script));
    let fine: String =
        [1000, 3823, 3824, 3825, 3826, 3827, 3828, 20000, 60000].map(|n| format!("{n} fine\n")).concat();
    assert_eq!(done.out(), fine, "{}", done.err());
    assert_eq!(events.rule("end").count(), 9, "{events}");
}
