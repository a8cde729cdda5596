//! Verdicts as they come, the latest last.

use super::{Cell, Column};
use crate::top::app::{App, Row};
use crate::top::filter::Filter;
use crate::top::look::{Look, Tone};
use crate::top::model::{Model, Told};
use crate::top::rule::Thing;
use crate::top::when;

pub const COLUMNS: &[Column] = &[
    Column::text("TIME", 8, 8, 0).unsorted(),
    Column::text("SESSION", 8, 10, 5).unsorted(),
    Column::text("CALL", 8, 14, 7).unsorted(),
    Column::text("VERDICT", 10, 10, 0).unsorted(),
    Column::text("OP", 7, 7, 1).unsorted(),
    Column::path("OBJECT", 24, 120, 1).unsorted(),
    Column::text("PROCESS", 11, 24, 3).unsorted(),
    Column::text("RULE", 13, 32, 2).unsorted(),
    Column::text("REASON", 24, 120, 6).unsorted(),
];

pub fn rows(model: &Model, app: &App) -> Vec<Row> {
    let filter = Filter::of(&app.list().filter);
    let mut rows: Vec<Row> = model
        .told
        .iter()
        .filter(|told| filter.is_empty() || lets_through(&filter, told))
        .map(|told| Row::Told(told.number))
        .collect();
    if app.list().reverse {
        rows.reverse();
    }
    rows
}

fn lets_through(filter: &Filter<'_>, told: &Told) -> bool {
    let pid = told.process.pid.to_string();
    filter.lets_through(&[
        &told.session,
        told.call.as_deref().unwrap_or_default(),
        super::word(told.outcome),
        &told.op,
        &told.object,
        &told.exe,
        &told.argv,
        &pid,
        told.rule(),
        told.reason.as_deref().unwrap_or_default(),
        told.scope.as_deref().unwrap_or_default(),
    ])
}

pub fn cells(model: &Model, look: Look, number: u64) -> Vec<Cell> {
    let Some(told) = model.told(number) else { return Vec::new() };
    let object = if told.object.is_empty() {
        Cell::new("(not known)", Tone::Dim)
    } else {
        Cell::plain(look.line(&told.object))
    };
    vec![
        Cell::plain(when::of_day(told.time)),
        Cell::plain(look.clean(&told.session)),
        Cell::plain(told.call.as_deref().map_or_else(|| "-".to_owned(), |call| look.clean(call))),
        Cell::new(super::word(told.outcome), Some(told.outcome).into()),
        Cell::plain(look.clean(&told.op)),
        object,
        Cell::plain(format!("{}[{}]", look.clean(told.program()), told.process.pid)),
        Cell::plain(look.clean(told.rule())),
        Cell::plain(told.reason.as_deref().map_or_else(String::new, |reason| look.clean(reason))),
    ]
}

pub fn detail(model: &Model, look: Look, number: u64) -> Vec<String> {
    let Some(told) = model.told(number) else { return Vec::new() };
    let object =
        if told.object.is_empty() { "something whose name is not known".to_owned() } else { look.line(&told.object) };
    let proto = told.proto.as_deref().map_or_else(String::new, |proto| format!(" ({})", look.clean(proto)));
    let by = if &*told.op == "exec" { look.clean(&told.exe) } else { look.line(&told.argv) };
    let reason = told.reason.as_deref().map_or_else(String::new, |reason| format!(": {}", look.clean(reason)));
    vec![
        format!("{} {object}{proto}, by pid {} `{by}`", look.clean(&told.op), told.process.pid),
        format!("{}. Rule {}{reason}", told.done(), look.clean(told.rule())),
    ]
}

pub fn thing(model: &Model, number: u64) -> Option<Thing> {
    let told = model.told(number)?;
    let session = model.sessions.get(&told.tree);
    let own = |text: Option<&str>| text.map(ToOwned::to_owned);
    // Of a program the command line is shown, and its path is what it runs.
    let name = if &*told.op == "exec" { &told.exe } else { &told.object };
    Some(Thing {
        op: told.op.to_string(),
        kind: told.kind,
        name: name.to_string(),
        argv: told.argv.to_string(),
        repo: own(session.and_then(|session| session.repo.as_deref())),
        home: own(session.and_then(|session| session.home.as_deref())),
        scope: own(told.scope.as_deref()),
        decided: own(told.rule.as_deref()),
    })
}
