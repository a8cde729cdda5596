//! What guard itself costs, and what it lost.

use super::{Cell, Column, bytes, count, rate};
use crate::top::app::{App, Row, Surroundings};
use crate::top::filter::Filter;
use crate::top::look::{Look, Tone};
use crate::top::model::Model;

pub const COLUMNS: &[Column] =
    &[Column::text("WHAT", 32, 32, 0).unsorted(), Column::text("HOW MUCH", 20, 200, 0).unsorted()];

/// All lines: what, and how much.
pub fn lines(model: &Model, around: &Surroundings) -> Vec<(Cell, Cell)> {
    let title = |text: &str| (Cell::new(text, Tone::Title), Cell::default());
    let line = |what: &str, much: String| (Cell::plain(format!("  {what}")), Cell::plain(much));
    let mut lines = vec![title("guard top")];
    let percent = |part: f64| format!("{:.1} % of a core", part * 100.0);
    lines.push(line("processor", around.own_cpu.map_or_else(|| "-".to_owned(), percent)));
    lines.push(line("memory", around.own_memory.map_or_else(|| "-".to_owned(), bytes)));
    let frames = around
        .frames
        .map_or_else(|| "-".to_owned(), |(count, took)| format!("{count:.1} a second, {took:.1} ms each"));
    lines.push(line("frames", frames));
    lines.push(line(
        "events taken in",
        format!("{} ({} a second)", model.events, rate(model.rate.rate(model.now, model.began))),
    ));
    if model.garbage > 0 {
        lines.push(line("lines that were no events", model.garbage.to_string()));
    }
    lines.push(title("Losses"));
    if model.lost.is_empty() {
        lines.push((Cell::new("  none", Tone::Good), Cell::default()));
    }
    for (kind, lost) in &model.lost {
        let tone = if *lost > 0 { Tone::Bad } else { Tone::Dim };
        lines.push((Cell::new(format!("  {kind}"), tone), Cell::new(count(*lost), tone)));
    }
    let Some(status) = &model.status else {
        lines.push(title("guard"));
        let why = "not known: a record does not tell it";
        lines.push((Cell::new("  all", Tone::Dim), Cell::new(why, Tone::Dim)));
        return lines;
    };
    lines.push(title("guard daemon"));
    lines.push(line(
        "version, kernel, pid",
        format!("{}, {}, {}", status.build.version, status.build.kernel, status.pid),
    ));
    lines.push(line("mode, by", format!("{}, {}", status.mode, status.backends.join(" "))));
    if !status.unenforced.is_empty() {
        lines.push(line("NOT enforced", status.unenforced.join(" ")));
    }
    let stands =
        if status.stands { "yes: enforced on should it be killed" } else { "no: enforced only as long as it lives" };
    lines.push(line("standing", stands.to_owned()));
    if let Some(gap) = &status.gap {
        let since = gap.since.as_deref().map_or_else(|| "a time not known".to_owned(), day);
        lines.push((
            Cell::new("  nobody recorded", Tone::Would),
            Cell::new(format!("from {since} to {}", day(&gap.until)), Tone::Would),
        ));
    }
    let policy = &status.policy;
    lines.push(line("policy", format!("{}, number {}, {} rules", policy.origin, policy.generation, policy.rules)));
    let Some(machine) = &status.machine else {
        lines.push((Cell::new("  the rest", Tone::Dim), Cell::new("told to root and guard's group only", Tone::Dim)));
        return lines;
    };
    lines.push(line("processor", model.usage.cpu.map_or_else(|| "-".to_owned(), percent)));
    lines.push(line("memory", bytes(machine.daemon.memory_bytes)));
    lines.push(line("processes guarded", format!("{} of at most {}", machine.processes, machine.max_processes)));
    lines.push(line("clients", format!("{}, missed {} events", machine.clients.connections, machine.clients.missed)));
    if let Some(lag) = machine.store_lag_seconds {
        lines.push(line("records wait to be written for", format!("{lag:.3} s")));
    }
    if let Some(marks) = &machine.marks {
        lines.push(title("Files that guard is asked about before they are opened"));
        let whole = if marks.searched { "all places searched" } else { "searching" };
        lines.push(line(
            "marked",
            if marks.backstop.is_some() { format!("{}, {whole}", marks.files) } else { "none".to_owned() },
        ));
        if marks.folders_not_searched > 0 {
            lines.push(line("folders not searched", marks.folders_not_searched.to_string()));
        }
        if marks.lapses > 0 {
            lines.push(line("everybody was let pass", format!("{} times: guard was too slow", marks.lapses)));
        }
        if let Some(failure) = &marks.failure {
            lines.push(line("NOT marked", failure.clone()));
        }
    }
    lines.push(title("Ring buffers"));
    for ring in &machine.rings {
        let fill = |used: u64| if ring.size > 0 { used as f64 * 100.0 / ring.size as f64 } else { 0.0 };
        let much = format!("{:.1} % of {}, {:.1} % at most", fill(ring.used), bytes(ring.size), fill(ring.peak));
        lines.push(line(&ring.name, much));
    }
    lines.push(title("Kernel programs"));
    let measured = model.usage.programs.iter().any(|(_, each, _)| each.is_some());
    if !measured {
        let why = "not measured: guard daemon --program-stats does";
        lines.push((Cell::new("  all", Tone::Dim), Cell::new(why, Tone::Dim)));
    }
    for (name, each, runs) in model.usage.programs.iter().filter(|_| measured) {
        let each = each.map_or_else(|| "-".to_owned(), |each| format!("{each:.0} ns a run"));
        let runs = runs.map_or_else(String::new, |runs| format!(", {} runs a second", rate(runs)));
        lines.push(line(name, each + &runs));
    }
    lines
}

/// A time as events have it, to the second: `2026-11-20 23:48:01`.
fn day(time: &str) -> String {
    time.split('.').next().unwrap_or_default().trim_end_matches('Z').replace('T', " ")
}

pub fn rows(model: &Model, app: &App) -> Vec<Row> {
    let filter = Filter::of(&app.list().filter);
    let lines = lines(model, &app.around).into_iter().enumerate();
    let through =
        lines.filter(|(_, (what, much))| filter.is_empty() || filter.lets_through(&[&what.text, &much.text]));
    through.map(|(at, _)| Row::Line(at)).collect()
}

pub fn cells(model: &Model, look: Look, app: &App, at: usize) -> Vec<Cell> {
    let clean = |cell: &Cell| Cell { text: look.clean(&cell.text), tone: cell.tone };
    lines(model, &app.around).get(at).map(|(what, much)| vec![clean(what), clean(much)]).unwrap_or_default()
}

pub fn detail() -> Vec<String> {
    vec![
        "A loss never changes a verdict: deciding comes first and telling second.".to_owned(),
        "Rates are over the last five seconds, by the events' own times.".to_owned(),
    ]
}
