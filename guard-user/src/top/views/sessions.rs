//! Every session.

use std::cmp::Ordering;

use super::{Cell, Column, count, rate};
use crate::top::app::{App, Row};
use crate::top::filter::Filter;
use crate::top::look::{Look, Tone};
use crate::top::model::{Model, Session};
use crate::top::when;

pub const COLUMNS: &[Column] = &[
    Column::text("SESSION", 8, 10, 0),
    Column::text("AGENT", 6, 10, 6),
    Column::text("USER", 5, 12, 4),
    Column::path("REPO", 12, 120, 2),
    Column::text("MODE", 7, 7, 4),
    Column::text("PHASE", 6, 12, 12),
    Column::number("AGE", 6, 3),
    Column::number("CALLS", 5, 7),
    Column::number("PROCS", 5, 8),
    Column::number("EXEC/s", 6, 5),
    Column::number("OPEN/s", 6, 5),
    Column::number("CONN/s", 6, 9),
    Column::number("OUT", 7, 11),
    Column::number("LOG", 5, 10),
    Column::number("DENY", 5, 3),
    Column::number("KILL", 4, 3),
    Column::text("WORST", 10, 10, 1),
];

/// The column of the strictest verdict, by which they are sorted at first.
pub const FIRST_SORT: usize = 16;

pub fn rows(model: &Model, app: &App) -> Vec<Row> {
    let list = app.list();
    let filter = Filter::of(&list.filter);
    let mut all: Vec<(u64, &Session)> = model
        .sessions
        .iter()
        .filter(|(_, session)| app.ended || session.ended.is_none())
        .filter(|(tree, session)| filter.is_empty() || lets_through(&filter, **tree, session))
        .map(|(tree, session)| (*tree, session))
        .collect();
    let now = model.now;
    all.sort_by(|(a_tree, a), (b_tree, b)| {
        let order = compare(list.sort, now, a, b);
        let order = if list.reverse { order.reverse() } else { order };
        // Among equals, those that run, and of these the youngest.
        order.then(a.ended.is_some().cmp(&b.ended.is_some())).then(b.began.cmp(&a.began)).then(a_tree.cmp(b_tree))
    });
    all.into_iter().map(|(tree, _)| Row::Session(tree)).collect()
}

fn lets_through(filter: &Filter<'_>, tree: u64, session: &Session) -> bool {
    let (tree, root) = (format!("{tree:016x}"), format!("pid {}", session.root.pid));
    let mut texts = vec![
        &*tree,
        &*root,
        session.agent.as_deref().unwrap_or_default(),
        session.user.as_deref().unwrap_or_default(),
        session.repo.as_deref().unwrap_or_default(),
        session.mode().unwrap_or_default(),
        session.phase.as_deref().unwrap_or_default(),
        session.worst().map(super::word).unwrap_or_default(),
        if session.ended.is_some() { "ended" } else { "running" },
    ];
    texts.extend(session.names.iter().map(|name| &**name));
    filter.lets_through(&texts)
}

/// The order by a column: words from a to z, numbers from the highest.
fn compare(column: usize, now: u64, a: &Session, b: &Session) -> Ordering {
    let rates =
        |of: fn(&Session) -> &crate::top::model::Meter| of(b).rate(now, b.began).total_cmp(&of(a).rate(now, a.began));
    match COLUMNS[column].title {
        "SESSION" => a.short().cmp(&b.short()),
        "AGENT" => a.agent.cmp(&b.agent),
        "USER" => (&a.user, a.uid).cmp(&(&b.user, b.uid)),
        "REPO" => a.repo.cmp(&b.repo),
        "MODE" => a.mode().cmp(&b.mode()),
        "PHASE" => a.phase.cmp(&b.phase),
        "AGE" => b.age(now).cmp(&a.age(now)),
        "CALLS" => b.calls().cmp(&a.calls()),
        "PROCS" => b.processes().cmp(&a.processes()),
        "EXEC/s" => rates(|session| &session.execs),
        "OPEN/s" => rates(|session| &session.opens),
        "CONN/s" => rates(|session| &session.connects),
        "OUT" => b.bytes_out().cmp(&a.bytes_out()),
        "LOG" => b.verdicts("log").cmp(&a.verdicts("log")),
        "DENY" => b.verdicts("deny").cmp(&a.verdicts("deny")),
        "KILL" => b.verdicts("kill").cmp(&a.verdicts("kill")),
        _ => (b.worst(), b.outcomes.all()).cmp(&(a.worst(), a.outcomes.all())),
    }
}

pub fn cells(model: &Model, look: Look, tree: u64) -> Vec<Cell> {
    let Some(session) = model.sessions.get(&tree) else { return Vec::new() };
    let tone = if session.ended.is_some() { Tone::Dim } else { Tone::Plain };
    let plain = |text: String| Cell::new(text, tone);
    let word = |text: Option<&str>| plain(text.map_or_else(|| "-".to_owned(), |text| look.clean(text)));
    let quiet = |number: u64, loud: Tone| Cell::new(count(number), if number == 0 { Tone::Dim } else { loud });
    let rate_of = |meter: &crate::top::model::Meter| {
        let now = if session.ended.is_some() { 0.0 } else { meter.rate(model.now, session.began) };
        Cell::new(rate(now), if now == 0.0 { Tone::Dim } else { tone })
    };
    let user = match (&session.user, session.uid) {
        (Some(user), _) => look.clean(user),
        (None, Some(uid)) => uid.to_string(),
        (None, None) => "-".to_owned(),
    };
    let repo = session.repo.as_deref().map(|repo| match session.home.as_deref().filter(|home| home.len() > 1) {
        Some(home) if repo.starts_with(home) && repo[home.len()..].starts_with('/') => {
            format!("~{}", &repo[home.len()..])
        }
        _ => repo.to_owned(),
    });
    let mode = Cell::new(
        session.mode().unwrap_or("-"),
        match session.enforce {
            Some(false) => Tone::Would,
            _ if session.own_mode() => Tone::Note,
            _ => tone,
        },
    );
    let age = when::span(session.age(model.now));
    let worst = session.worst();
    vec![
        plain(look.clean(&session.short())),
        word(session.agent.as_deref()),
        plain(user),
        word(repo.as_deref()),
        mode,
        word(session.phase.as_deref()),
        plain(if session.ended.is_some() { "ended".to_owned() } else { age }),
        plain(count(session.calls())),
        plain(count(session.processes())),
        rate_of(&session.execs),
        rate_of(&session.opens),
        rate_of(&session.connects),
        plain(session.bytes_out().map_or_else(|| "-".to_owned(), super::bytes)),
        quiet(session.verdicts("log"), Tone::Note),
        quiet(session.verdicts("deny"), if session.enforce == Some(false) { Tone::Would } else { Tone::Bad }),
        quiet(session.verdicts("kill"), if session.enforce == Some(false) { Tone::Would } else { Tone::Worst }),
        Cell::new(worst.map_or("-", super::word), worst.into()),
    ]
}

pub fn detail(model: &Model, look: Look, tree: u64) -> Vec<String> {
    let Some(session) = model.sessions.get(&tree) else { return Vec::new() };
    let names: Vec<String> = session.names.iter().map(|name| look.clean(name)).collect();
    let names = if names.is_empty() { "session id not told yet".to_owned() } else { names.join(", ") };
    let repo = session.repo.as_deref().map_or_else(|| "repository not known".to_owned(), |repo| look.clean(repo));
    let own = if session.own_mode() { "  the mode is its own" } else { "" };
    vec![format!("{names}  tree {tree:016x}  root pid {}{own}", session.root.pid), repo]
}
