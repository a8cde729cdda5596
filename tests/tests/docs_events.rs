//! docs/events.md against the types: it names all that is written, and nothing that is not.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use guard::policy::OPS;
use guard::record::event::{Counted, Event, Exit, Open, Process, Verdict};
use guard::watch::LIFE;
use guard_common::tree::{COUNTERS, TOLD_IN_EVENTS};
use guard_common::words::{Action, Backend, How, Scope};
use serde_json::{Value, to_value};

/// What user space itself can lose.
const OWN_LOSSES: [&str; 5] = ["garbled", "not-sent", "not-told", "not-written", "reader-slow"];

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/events.md");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the rows of the table below a heading are about.
fn rows(page: &str, heading: &str) -> BTreeSet<String> {
    let below = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading {heading}")).1;
    let own = below.split("\n#").next().unwrap_or_default();
    let name = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    own.lines().filter_map(name).collect()
}

fn members(value: &Value) -> BTreeSet<String> {
    value.as_object().expect("an object").keys().cloned().collect()
}

fn set<'a>(words: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    words.into_iter().map(str::to_owned).collect()
}

/// An event with every member there is. Written without `..`, so that a new one has to be added here.
fn whole() -> Event {
    let text = || Some("text".to_owned());
    let open =
        Open { read: true, write: true, created: true, truncated: true, inherited: true, flags: 1, result: Some(1) };
    let process = Process {
        pid: 1,
        ppid: Some(1),
        start: 1,
        exe: text(),
        argv: Some(vec!["word".to_owned()]),
        cwd: text(),
        uid: Some(1),
    };
    let verdict = Verdict {
        action: "deny",
        rule: text(),
        reason: text(),
        enforced: true,
        backend: Some("signal"),
        happened: vec!["created"],
    };
    let counted = Counted { op: "read", count: 1, path: text(), addr: text(), port: Some(1), proto: Some("tcp") };
    Event {
        time: "now".to_owned(),
        op: "read",
        path: text(),
        inner_path: true,
        new_path: text(),
        how: Some("rename"),
        target: Some(1),
        signal: Some(15),
        argv: Some(Vec::new()),
        argv_cut: true,
        open: Some(open),
        addr: text(),
        port: Some(1),
        proto: Some("tcp"),
        exit: Some(Exit { code: Some(1), signal: Some(1) }),
        phase: text(),
        mode: Some("audit"),
        repo: text(),
        home: text(),
        unenforced: vec!["delete"],
        session: text(),
        tree: text(),
        agent: text(),
        scope: Some("tool"),
        call: text(),
        process: Some(process),
        verdict: Some(verdict),
        kind: Some("garbled"),
        since: Some(String::new()),
        count: Some(1),
        counts: vec![counted],
    }
}

#[test]
fn every_member_is_explained_and_no_other() {
    let (page, event) = (page(), to_value(whole()).expect("an event is JSON"));
    assert_eq!(rows(&page, "## Members"), members(&event));
    for part in ["process", "verdict", "open", "exit"] {
        assert_eq!(rows(&page, &format!("### `{part}`")), members(&event[part]), "{part}");
    }
    assert_eq!(rows(&page, "### `counts`"), members(&event["counts"][0]));
}

#[test]
fn every_operation_and_every_loss_is_explained_and_no_other() {
    let page = page();
    assert_eq!(rows(&page, "## Operations"), set(OPS.iter().map(|op| op.word()).chain(LIFE)));
    let losses = COUNTERS.iter().copied().filter(|kind| !TOLD_IN_EVENTS.contains(kind));
    assert_eq!(rows(&page, "## Losses"), set(losses.chain(OWN_LOSSES)));
}

#[test]
fn every_word_is_explained() {
    let page = page();
    let actions = Action::ALL.iter().map(|action| action.word());
    let scopes = Scope::ALL.iter().map(|scope| scope.word());
    let backends = [Backend::Signal, Backend::Cgroup].map(Backend::word);
    let hows = How::ALL.iter().map(|how| how.word());
    for word in actions.chain(scopes).chain(backends).chain(hows) {
        assert!(page.contains(&format!("`{word}`")), "{word}");
    }
}

#[test]
fn the_example_is_an_event() {
    let page = page();
    let text = page.split_once("```json\n").and_then(|(_, rest)| rest.split_once("```")).expect("an example").0;
    let example: Value = serde_json::from_str(text).expect("JSON");
    let whole = to_value(whole()).expect("an event is JSON");
    assert!(members(&example).is_subset(&members(&whole)), "{example}");
    for part in ["process", "verdict", "open"] {
        assert!(members(&example[part]).is_subset(&members(&whole[part])), "{part}: {example}");
    }
}
