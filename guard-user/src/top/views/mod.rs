//! What is painted of a model. Every text of an event is made harmless on its way, see [`crate::top::text`], and what is painted
//! is looked through once more at the end.

mod cost;
mod dialog;
mod objects;
mod sessions;
mod table;
mod tree;
mod verdicts;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

pub use objects::Order;
pub use table::{Cell, Column};

use super::app::{App, Row, View};
use super::look::{Look, Tone};
use super::model::{Model, Outcome};
use super::rule::Thing;
use super::text::{self, Keep, fit, wrap};
use super::when;

/// The smallest screen.
const SMALLEST: (u16, u16) = (40, 10);

/// The lines of a view.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// What each is about.
    pub rows: Vec<Row>,
    /// Of a tree, where each stands: whether more follows on each level.
    paths: Vec<Box<[bool]>>,
}

impl Page {
    fn push(&mut self, row: Row, path: &[bool]) {
        self.rows.push(row);
        self.paths.push(path.into());
    }

    fn truncate(&mut self, len: usize) {
        self.rows.truncate(len);
        self.paths.truncate(len);
    }
}

impl From<Vec<Row>> for Page {
    fn from(rows: Vec<Row>) -> Self {
        Self { rows, paths: Vec::new() }
    }
}

/// The columns of a view.
#[must_use]
pub fn columns(view: View) -> &'static [Column] {
    match view {
        View::Sessions => sessions::COLUMNS,
        View::Tree => tree::COLUMNS,
        View::Verdicts => verdicts::COLUMNS,
        View::Objects => objects::COLUMNS,
        View::Cost => cost::COLUMNS,
    }
}

/// The column that a view is sorted by at first.
#[must_use]
pub fn first_sort(view: View) -> usize {
    match view {
        View::Sessions => sessions::FIRST_SORT,
        View::Objects => objects::FIRST_SORT,
        View::Tree | View::Verdicts | View::Cost => 0,
    }
}

/// The lines of the view that is shown, filtered and in order.
#[must_use]
pub fn page(model: &Model, app: &mut App) -> Page {
    match app.view {
        View::Sessions => sessions::rows(model, app).into(),
        View::Tree => tree::page(model, app),
        View::Verdicts => verdicts::rows(model, app).into(),
        View::Objects => objects::rows(model, app).into(),
        View::Cost => cost::rows(model, app).into(),
    }
}

fn cells(model: &Model, app: &App, look: Look, row: Row, path: &[bool]) -> Vec<Cell> {
    match row {
        Row::Session(tree) => sessions::cells(model, look, tree),
        Row::Told(number) => verdicts::cells(model, look, number),
        Row::Object(id) => objects::cells(model, look, id),
        Row::Line(at) => cost::cells(model, look, app, at),
        Row::Call(_) | Row::Process(_) | Row::Touch(..) | Row::More(_) => tree::cells(model, look, app, row, path),
    }
}

fn detail(model: &Model, app: &App, look: Look) -> Vec<String> {
    match app.list().selected {
        None => Vec::new(),
        Some(Row::Session(tree)) => sessions::detail(model, look, tree),
        Some(Row::Told(number)) => verdicts::detail(model, look, number),
        Some(Row::Object(id)) => objects::detail(model, look, id),
        Some(Row::Line(_)) => cost::detail(),
        Some(row) => tree::detail(model, look, app, row),
    }
}

/// What is selected, as rules are about it.
#[must_use]
pub fn thing(model: &Model, app: &App) -> Option<Thing> {
    match app.list().selected? {
        Row::Told(number) => verdicts::thing(model, number),
        Row::Object(id) => objects::thing(model, id),
        Row::Session(_) | Row::Line(_) => None,
        row => tree::thing(model, app, row),
    }
}

/// What a verdict came to, in a word or two.
fn word(outcome: Outcome) -> &'static str {
    outcome.word()
}

/// A count in at most six characters.
fn count(number: u64) -> String {
    match number {
        0..100_000 => number.to_string(),
        100_000..10_000_000 => format!("{}k", number / 1_000),
        10_000_000..10_000_000_000 => format!("{}M", number / 1_000_000),
        _ => format!("{}G", number / 1_000_000_000),
    }
}

/// A rate in at most six characters.
fn rate(rate: f64) -> String {
    if rate == 0.0 {
        "0".to_owned()
    } else if rate < 9.95 {
        format!("{rate:.1}")
    } else {
        count(rate.round() as u64)
    }
}

/// An amount of bytes in at most eight characters.
fn bytes(number: u64) -> String {
    let mut amount = number as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if amount < 1000.0 {
            return if amount < 9.95 && unit != "B" {
                format!("{amount:.1} {unit}")
            } else {
                format!("{amount:.0} {unit}")
            };
        }
        amount /= 1024.0;
    }
    format!("{amount:.1} TiB")
}

/// A painter of lines of text.
struct Canvas<'a> {
    buffer: &'a mut Buffer,
    look: Look,
}

impl Canvas<'_> {
    /// Puts a harmless text at a place, cut to `width` columns; the columns it took.
    fn put(&mut self, x: u16, y: u16, width: u16, text: &str, tone: Tone) -> u16 {
        let text = fit(text, usize::from(width), Keep::Start, self.look.mark());
        self.buffer.set_stringn(x, y, &text, usize::from(width), self.look.style(tone)).0 - x
    }

    fn cell(&mut self, (x, y): (u16, u16), width: u16, column: &Column, cell: &Cell) {
        let text = fit(&cell.text, usize::from(width), column.keep, self.look.mark());
        let indent = if column.right { usize::from(width).saturating_sub(text::width(&text)) as u16 } else { 0 };
        self.buffer.set_stringn(x + indent, y, &text, usize::from(width - indent), self.look.style(cell.tone));
    }
}

/// Paints everything.
pub fn draw(frame: &mut Frame<'_>, model: &Model, app: &mut App, look: Look) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    paint(buffer, area, model, app, look);
    // Whatever was missed on the way.
    for cell in &mut buffer.content {
        if cell.symbol().chars().any(text::hostile) {
            cell.set_symbol("?");
        }
    }
}

fn paint(buffer: &mut Buffer, area: Rect, model: &Model, app: &mut App, look: Look) {
    let mut canvas = Canvas { buffer, look };
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let text = format!("{}x{} at least, please", SMALLEST.0, SMALLEST.1);
        canvas.put(0, 0, area.width, &text, Tone::Plain);
        return;
    }
    let body = Rect { y: 3, height: area.height - 5 - details_of(area), ..area };
    app.list_mut().page = usize::from(body.height - 1);
    let page = app.settle(model);
    head(&mut canvas, area.width, model, app);
    third(&mut canvas, area.width, model, app, &page);
    list(&mut canvas, body, model, app, &page);
    details(&mut canvas, area, model, app);
    foot(&mut canvas, area, app);
    if let Some(dialog) = &app.dialog {
        dialog::paint(&mut canvas, area, dialog);
    }
}

/// The first two lines: the views and the source, and the numbers of everything.
fn head(canvas: &mut Canvas<'_>, width: u16, model: &Model, app: &App) {
    let mut x = canvas.put(0, 0, width, "guard top", Tone::Title) + 1;
    for (at, view) in View::ALL.into_iter().enumerate() {
        let tone = if view == app.view { Tone::Chosen } else { Tone::Plain };
        let pad = if width >= 100 { " " } else { "" };
        let title = format!("{pad}{} {}{pad}", at + 1, view.name());
        x += canvas.put(x, 0, width.saturating_sub(x), &title, tone) + u16::from(pad.is_empty());
    }
    let mut right = canvas.look.clean(&app.around.source);
    if let Some(state) = &app.around.state {
        right = format!("{right}, {}", canvas.look.clean(state));
    }
    if app.paused {
        right.push_str("  PAUSED");
    }
    let room = usize::from(width.saturating_sub(x + 1));
    let right = fit(&right, room, Keep::End, canvas.look.mark()).into_owned();
    let taken = text::width(&right) as u16;
    canvas.put(width - taken, 0, taken, &right, if app.paused { Tone::Note } else { Tone::Dim });

    let running = model.sessions.values().filter(|session| session.ended.is_none()).count();
    let per_second = |meter: &super::model::Meter| rate(meter.rate(model.now, model.began));
    let mut x = 0;
    let mut say = |canvas: &mut Canvas<'_>, text: String, tone: Tone| {
        x += canvas.put(x, 1, width.saturating_sub(x), &text, tone);
    };
    let time = if model.now == 0 { "--:--:--".to_owned() } else { when::of_day(model.now) };
    say(canvas, format!("{time} UTC  "), Tone::Plain);
    say(canvas, format!("{running} sessions  {} ev/s  ", per_second(&model.rate)), Tone::Plain);
    if width >= 100 {
        let rates = [&model.execs, &model.opens, &model.connects].map(per_second);
        say(canvas, format!("{} exec/s  {} open/s  {} conn/s  ", rates[0], rates[1], rates[2]), Tone::Plain);
    }
    let all = |action: &str| {
        let said = model.sessions.values().map(|session| session.verdicts(action)).sum::<u64>();
        said.max(model.outcomes.action(action))
    };
    for (action, loud) in [("log", Tone::Note), ("deny", Tone::Bad), ("kill", Tone::Worst)] {
        let number = all(action);
        let audit = model.outcomes.worst().is_none_or(|worst| worst < Outcome::Deny) && action != "log";
        let loud = if audit { Tone::Would } else { loud };
        say(canvas, format!("{action} {}", count(number)), if number == 0 { Tone::Dim } else { loud });
        say(canvas, "  ".to_owned(), Tone::Plain);
    }
    let lost = model.lost();
    say(canvas, format!("lost {}", count(lost)), if lost == 0 { Tone::Dim } else { Tone::Bad });
}

/// The third line: what is listed, in which order and by which filter.
fn third(canvas: &mut Canvas<'_>, width: u16, model: &Model, app: &App, page: &Page) {
    let list = app.list();
    let mut text = match app.view {
        View::Sessions => "Sessions".to_owned(),
        View::Tree => match app.session.and_then(|tree| model.sessions.get(&tree)) {
            None => "No session yet".to_owned(),
            Some(session) => {
                let repo = session.repo.as_deref().unwrap_or("(repository not known)");
                format!("Session {} in {}", canvas.look.clean(&session.short()), canvas.look.clean(repo))
            }
        },
        View::Verdicts if app.follow => "Verdicts, following".to_owned(),
        View::Verdicts => "Verdicts, looking back: End follows".to_owned(),
        View::Objects => "Files, programs and destinations".to_owned(),
        View::Cost => "What guard costs".to_owned(),
    };
    if columns(app.view).iter().any(|column| column.sort) {
        let order = if list.reverse { ", reversed" } else { "" };
        text = format!("{text} by {}{order}", columns(app.view)[list.sort].title);
    } else if list.reverse && app.view == View::Verdicts {
        text.push_str(", latest first");
    }
    if !app.ended && matches!(app.view, View::Sessions | View::Tree) {
        text.push_str(", without what has ended");
    }
    let place = if page.rows.is_empty() { 0 } else { list.index + 1 };
    let at = format!("  {place} of {}", page.rows.len());
    let mut x = canvas.put(0, 2, width, &text, Tone::Plain);
    x += canvas.put(x, 2, width.saturating_sub(x), &at, Tone::Dim);
    if app.typing || !list.filter.is_empty() {
        let cursor = if app.typing { "_" } else { "" };
        let filter = format!("  /{}{cursor}", canvas.look.clean(&list.filter));
        canvas.put(x, 2, width.saturating_sub(x), &filter, Tone::Note);
    }
}

/// The titles and the lines.
fn list(canvas: &mut Canvas<'_>, area: Rect, model: &Model, app: &App, page: &Page) {
    let columns = columns(app.view);
    let places = table::place(columns, area.width);
    let list = app.list();
    for (at, x, width) in &places {
        let column = &columns[*at];
        let sorted = column.sort && *at == list.sort;
        let tone = if sorted { Tone::Chosen } else { Tone::Title };
        canvas.cell((area.x + x, area.y), *width, column, &Cell::new(column.title, tone));
    }
    let shown = page.rows.iter().enumerate().skip(list.offset).take(usize::from(area.height - 1));
    for (line, (at, row)) in (area.y + 1..).zip(shown) {
        let path = page.paths.get(at).map_or(&[][..], |path| path);
        let cells = cells(model, app, canvas.look, *row, path);
        for (at, x, width) in &places {
            if let Some(cell) = cells.get(*at) {
                canvas.cell((area.x + x, line), *width, &columns[*at], cell);
            }
        }
        if list.selected == Some(*row) {
            let whole = Rect { y: line, height: 1, ..area };
            canvas.buffer.set_style(whole, ratatui::style::Style::new().add_modifier(Modifier::REVERSED));
        }
    }
    if page.rows.is_empty() {
        let text = match (app.view, list.filter.is_empty()) {
            (_, false) => "Nothing is left by the filter. Esc takes it away.",
            (View::Sessions, _) => "No session yet: none of the policy's agents has been seen.",
            (View::Tree, _) => "No process yet.",
            (View::Verdicts, _) => "No verdict yet but to allow.",
            (View::Objects | View::Cost, _) => "Nothing yet.",
        };
        canvas.put(area.x, area.y + 1, area.width, text, Tone::Dim);
    }
}

/// What is selected, in full as far as there is room.
fn details(canvas: &mut Canvas<'_>, area: Rect, model: &Model, app: &App) {
    let y = area.height - 2 - details_of(area);
    let rule = canvas.look.rule().repeat(usize::from(area.width));
    canvas.put(0, y, area.width, &rule, Tone::Dim);
    let detail = detail(model, app, canvas.look);
    let lines = detail.iter().flat_map(|text| wrap(text, usize::from(area.width)));
    for (line, text) in (y + 1..area.height - 1).zip(lines) {
        canvas.put(0, line, area.width, &text, Tone::Plain);
    }
}

/// Lines in which what is selected is told.
fn details_of(area: Rect) -> u16 {
    if area.height < 20 { 2 } else { 3 }
}

/// The last line: what was said, or the keys.
fn foot(canvas: &mut Canvas<'_>, area: Rect, app: &App) {
    let y = area.height - 1;
    if let Some(message) = &app.message {
        let message = canvas.look.clean(message);
        canvas.put(0, y, area.width, &message, Tone::Note);
        return;
    }
    if app.typing {
        canvas.put(
            0,
            y,
            area.width,
            "Words that a line must have, !word that it must not. Enter ends, Esc clears.",
            Tone::Dim,
        );
        return;
    }
    let keys = match app.view {
        View::Sessions => "Enter tree  / filter  < > sort  Space pause  X kill  ? keys  q quit",
        View::Tree => "Enter unfold  / filter  a d rule  x X kill  Esc back  ? keys  q quit",
        View::Verdicts => "Enter process  / filter  a d rule  x X kill  Space pause  ? keys  q quit",
        View::Objects => "Enter verdicts  / filter  < > sort  a d rule  Esc back  ? keys  q quit",
        View::Cost => "/ filter  Esc back  ? keys  q quit",
    };
    canvas.put(0, y, area.width, keys, Tone::Dim);
}
