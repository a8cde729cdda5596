//! The log on standard error: as sentences, as JSON, as the journal reads it; and what of it is wanted.

use std::fs::File;
use std::io::{PipeReader, Read as _, pipe};
use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;
use support::api::Api;
use support::guard::{Guard, binary};
use support::run::Job;
use support::stage::{Stage, text, until};

/// A denial, in a job that runs to its end.
fn denied(stage: &Stage) -> Job {
    Job::new(stage.agent(), stage.path()).args(["read", "denied/secret"])
}

fn lines(text: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(parse).collect()
}

#[test]
fn sentences_have_guards_name_and_a_level_where_it_matters() {
    let stage = Stage::new("logs");
    let daemon = stage.guard("").daemon();
    drop(denied(&stage).run());
    until("the denial is told", || daemon.stderr().contains("; rule secrets"));
    let done = daemon.stop().done;
    assert!(done.err().lines().all(|line| line.starts_with("guard: ")), "{}", done.err());
    assert!(done.err().starts_with("guard: guarding "), "{}", done.err());

    // What fails is told to be an error.
    let done = Job::new(binary(), stage.path()).args(["run", "--", "guard-no-such-command"]).run();
    assert!(done.err().contains("guard: error: guard-no-such-command: "), "{}", done.err());
}

#[test]
fn as_json_every_line_is_an_object_that_says_what_it_is_about() {
    let stage = Stage::new("logs");
    let daemon = stage.guard("").flag("--log-format").flag("json").daemon();
    drop(denied(&stage).run());
    until("the denial is told", || daemon.stderr().contains("; rule secrets"));
    assert_eq!(Api::at(daemon.socket()).send("PUT", "/v1/policy", "not a policy").status, 422);
    until("the refusal is told", || daemon.stderr().contains("is refused"));
    let said = lines(&daemon.stop().done.err());
    for line in &said {
        for member in ["timestamp", "level", "target", "message"] {
            assert!(line[member].is_string(), "no {member} in {line}");
        }
    }
    let find = |what: &str| {
        let found = said.iter().find(|line| text(line, "/message").contains(what));
        found.unwrap_or_else(|| panic!("no {what:?} in {said:#?}"))
    };
    let verdict = find("; rule secrets");
    assert_eq!((text(verdict, "/level"), text(verdict, "/target")), ("WARN", "guard::verdict"));
    assert_eq!((text(verdict, "/op"), text(verdict, "/rule")), ("read", "secrets"));
    assert_eq!((text(verdict, "/action"), &verdict["enforced"]), ("deny", &Value::Bool(true)));
    assert_eq!(text(verdict, "/path"), stage.secret().display().to_string());
    assert!(verdict["pid"].is_u64() && verdict["tree"].is_string() && verdict["agent"].is_string(), "{verdict}");
    assert!(!text(verdict, "/message").contains('\u{1b}'), "{verdict}");
    assert_eq!(text(find("guarding "), "/level"), "INFO");
    assert_eq!(text(find("is refused"), "/level"), "ERROR");
}

/// The events of `--json` are events, whatever the log's format.
#[test]
fn events_stay_what_they_are() {
    let stage = Stage::new("logs");
    let guarded = stage.guard("").flag("--json").flag("--log-format").flag("json").run(&denied(&stage));
    let said = lines(&guarded.done.err());
    let events: Vec<&Value> = said.iter().filter(|line| line["op"].is_string()).collect();
    assert!(events.iter().any(|event| event["verdict"]["rule"] == "secrets"), "{said:#?}");
    let recorded = guarded.events.rule("secrets").next().expect("it is recorded");
    assert!(events.contains(&recorded), "{recorded} is not in {said:#?}");
}

/// Standard error as the journal has it: named by its device and inode.
struct Journal {
    reader: PipeReader,
    writer: Stdio,
    name: String,
}

impl Journal {
    fn new() -> Self {
        let (reader, writer) = pipe().expect("a pipe");
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let about = file.metadata().expect("a pipe is a file");
        Self { reader, writer: file.into(), name: format!("{}:{}", about.dev(), about.ino()) }
    }

    /// Runs a job whose standard error is this, and gives what it wrote.
    fn of(mut self, job: &Job) -> String {
        let mut command = job.clone().env("JOURNAL_STREAM", &self.name).command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(self.writer);
        let mut child = command.spawn().expect("it starts");
        // The command holds its end too.
        drop(command);
        let mut said = String::new();
        self.reader.read_to_string(&mut said).expect("read");
        child.wait().expect("it ends");
        said
    }
}

#[test]
fn the_journal_is_told_a_priority_on_every_line_and_no_name() {
    let stage = Stage::new("logs");
    let said = Journal::new().of(&stage.guard("").job(&denied(&stage)));
    let told: Vec<&str> = said.lines().collect();
    assert!(told.iter().any(|line| line.starts_with("<4>") && line.contains("; rule secrets")), "{said}");
    assert!(told.last().is_some_and(|line| line.starts_with("<6>") && line.contains("rules applied")), "{said}");
    assert!(!said.contains("guard: "), "{said}");

    // An error of several lines is an error on each.
    let policy = stage.scratch().write("bad.toml", "version = 7\n");
    let job = Job::new(binary(), stage.path()).args(["run", "--policy"]).arg(policy).args(["--", "true"]);
    let said = Journal::new().of(&job);
    assert!(said.lines().count() > 2 && said.lines().all(|line| line.starts_with("<3>")), "{said}");
    assert!(said.starts_with("<3>error"), "{said}");

    // A variable that is left over, of a stream that is not this one, says nothing.
    let done = job.env("JOURNAL_STREAM", "8:1").run();
    assert!(done.err().starts_with("error"), "{}", done.err());
}

#[test]
fn the_level_is_chosen_by_option_or_variable() {
    let stage = Stage::new("logs");
    let run = |flags: &[&str], variable: Option<&str>| {
        let guard = flags.iter().fold(stage.guard(""), |guard: Guard, flag| guard.flag(*flag));
        let mut job = guard.job(&denied(&stage));
        if let Some(variable) = variable {
            job = job.env("GUARD_LOG", variable);
        }
        job.run().err()
    };
    assert_eq!(run(&["--log-level", "error"], None), "");
    assert_eq!(run(&[], Some("off")), "");
    let warnings = run(&[], Some("warn"));
    assert!(warnings.contains("; rule secrets") && !warnings.contains("rules applied"), "{warnings}");
    let all = run(&["--log-level", "debug"], Some("off"));
    assert!(all.contains("guard: debug: a session of ") && all.contains("rules applied"), "{all}");
    let parts = run(&["--log-level", "off,guard::verdict=warn"], None);
    assert!(parts.contains("; rule secrets") && parts.lines().count() == 1, "{parts}");
    let wrong = run(&["--log-level", "loud"], None);
    assert!(wrong.contains("\"loud\" is none of off, error, warn, info, debug, trace"), "{wrong}");
}

/// Whoever reads the log may go away.
#[test]
fn a_closed_log_stops_nothing() {
    let stage = Stage::new("logs");
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let mut command = stage.guard("").job(&denied(&stage)).command();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer).spawn().expect("it starts");
    assert_eq!(child.wait().expect("it ends").code(), Some(137));
    let daemon = stage.guard("").daemon();
    daemon.signal(Signal::SIGHUP);
    until("it lives on", || daemon.stderr().contains("read anew"));
}
