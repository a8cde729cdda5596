//! What is known at one moment, for scripts: one screen as text, or all of it as JSON.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde::Serialize;

use super::app::{App, View};
use super::look::Look;
use super::model::{Kind, Model, Use};
use super::{text, views};

/// One screen as lines of text, without colours.
#[must_use]
pub fn screen(model: &Model, app: &mut App, look: Look, (width, height): (u16, u16)) -> String {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(_) = terminal.draw(|frame| views::draw(frame, model, app, look));
    let buffer = terminal.backend().buffer();
    let mut screen = String::new();
    for y in 0..height {
        let mut line = String::new();
        let mut hidden = 0;
        for x in 0..width {
            let symbol = buffer[(x, y)].symbol();
            // What is wider than a column hides the next.
            if hidden == 0 {
                line.push_str(symbol);
                hidden = text::width(symbol);
            }
            hidden = hidden.saturating_sub(1);
        }
        screen.push_str(line.trim_end());
        screen.push('\n');
    }
    screen
}

/// All that is known, in short.
#[derive(Debug, Serialize)]
struct Snapshot<'a> {
    time: u64,
    events: u64,
    events_a_second: f64,
    verdicts: Verdicts,
    lost: &'a std::collections::BTreeMap<Box<str>, u64>,
    sessions: Vec<Session<'a>>,
    last_verdicts: Vec<Told<'a>>,
    objects: Vec<Object<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a crate::control::types::Status>,
}

#[derive(Debug, Serialize)]
struct Verdicts {
    log: u64,
    deny: u64,
    kill: u64,
}

#[derive(Debug, Serialize)]
struct Session<'a> {
    tree: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    sessions: &'a [Box<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repo: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    own_mode: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<&'a str>,
    pid: u32,
    running: bool,
    age_seconds: u64,
    calls: u64,
    processes: u64,
    execs_a_second: f64,
    opens_a_second: f64,
    connects_a_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_out: Option<u64>,
    verdicts: Verdicts,
    #[serde(skip_serializing_if = "Option::is_none")]
    worst: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Told<'a> {
    time: u64,
    tree: String,
    verdict: &'static str,
    op: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    object: String,
    pid: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    exe: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Object<'a> {
    kind: &'static str,
    name: &'a str,
    read: u64,
    write: u64,
    exec: u64,
    connect: u64,
    denied: u64,
    sessions: usize,
}

/// Verdicts, and objects of each kind, that are in a snapshot.
const MANY: usize = 100;

/// All that is known as one JSON document, in which no character plays tricks on a terminal.
///
/// # Errors
/// None that is known.
pub fn json(model: &Model) -> serde_json::Result<String> {
    let snapshot = Snapshot {
        time: model.now,
        events: model.events,
        events_a_second: model.rate.rate(model.now, model.began),
        verdicts: verdicts(|action| model.outcomes.action(action)),
        lost: &model.lost,
        sessions: sessions(model),
        last_verdicts: model.told.iter().rev().take(MANY).map(told).collect(),
        objects: objects(model),
        status: model.status.as_ref(),
    };
    Ok(text::clean_json(&serde_json::to_string_pretty(&snapshot)?))
}

fn verdicts(of: impl Fn(&str) -> u64) -> Verdicts {
    Verdicts { log: of("log"), deny: of("deny"), kill: of("kill") }
}

fn sessions(model: &Model) -> Vec<Session<'_>> {
    let mut all: Vec<_> = model.sessions.iter().collect();
    all.sort_by_key(|(tree, session)| (session.began, **tree));
    let now = model.now;
    all.into_iter()
        .map(|(tree, session)| Session {
            tree: format!("{tree:016x}"),
            sessions: &session.names,
            agent: session.agent.as_deref(),
            uid: session.uid,
            user: session.user.as_deref(),
            repo: session.repo.as_deref(),
            mode: session.mode(),
            own_mode: session.own_mode(),
            phase: session.phase.as_deref(),
            pid: session.root.pid,
            running: session.ended.is_none(),
            age_seconds: session.age(now) / super::when::SECOND,
            calls: session.calls(),
            processes: session.processes(),
            execs_a_second: session.execs.rate(now, session.began),
            opens_a_second: session.opens.rate(now, session.began),
            connects_a_second: session.connects.rate(now, session.began),
            bytes_out: session.bytes_out(),
            verdicts: verdicts(|action| session.verdicts(action)),
            worst: session.worst().map(super::model::Outcome::word),
        })
        .collect()
}

fn told(told: &super::model::Told) -> Told<'_> {
    Told {
        time: told.time,
        tree: format!("{:016x}", told.tree),
        verdict: told.outcome.word(),
        op: &told.op,
        object: told.object.replace('\0', " "),
        pid: told.process.pid,
        exe: &told.exe,
        call: told.call.as_deref(),
        rule: told.rule.as_deref(),
        reason: told.reason.as_deref(),
    }
}

/// Of each kind those that were used most.
fn objects(model: &Model) -> Vec<Object<'_>> {
    let mut all: Vec<_> = model.objects.iter().map(|(_, object)| object).collect();
    all.sort_by(|a, b| (a.kind, b.uses.all(), &a.name).cmp(&(b.kind, a.uses.all(), &b.name)));
    [Kind::File, Kind::Program, Kind::Address, Kind::Socket]
        .into_iter()
        .flat_map(|kind| all.iter().filter(move |object| object.kind == kind).take(MANY))
        .map(|object| Object {
            kind: object.kind.word(),
            name: &object.name,
            read: object.uses.of(Use::Read),
            write: object.uses.of(Use::Write),
            exec: object.uses.of(Use::Exec),
            connect: object.uses.of(Use::Connect),
            denied: object.outcomes.action("deny") + object.outcomes.action("kill"),
            sessions: object.sessions(),
        })
        .collect()
}

/// The view of this name.
#[must_use]
pub fn view(name: &str) -> Option<View> {
    View::ALL.into_iter().find(|view| view.name().eq_ignore_ascii_case(name))
}
