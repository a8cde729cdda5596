//! Files, programs and destinations, and how often they were used.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use super::{Cell, Column, count};
use crate::top::app::{App, List, Row};
use crate::top::filter::Filter;
use crate::top::look::{Look, Tone};
use crate::top::model::{Kind, Model, Object, ObjectId, Use};
use crate::top::rule::Thing;
use crate::top::when;

pub const COLUMNS: &[Column] = &[
    Column::text("KIND", 7, 7, 1),
    Column::path("OBJECT", 24, 200, 0),
    Column::number("USES", 6, 0),
    Column::number("READ", 6, 3),
    Column::number("WRITE", 6, 3),
    Column::number("EXEC", 6, 5),
    Column::number("CONN", 6, 4),
    Column::number("DENIED", 6, 2),
    Column::text("WORST", 10, 10, 2),
    Column::number("SESS", 4, 6),
    Column::text("LAST", 8, 8, 7),
];

/// The column of all uses, by which they are sorted at first.
pub const FIRST_SORT: usize = 2;

/// An order stands for so long: to sort ten thousand lines ten times a second would cost more than all else.
const STANDS: Duration = Duration::from_secs(1);

/// The order of the lines, as they were sorted last.
#[derive(Clone, Debug, Default)]
pub struct Order {
    sorted: Option<(Instant, u64, List)>,
    rows: Vec<Row>,
}

/// The lines; sorted anew where they were asked for otherwise, or something came and the order has stood for a while.
pub fn rows(model: &Model, app: &mut App) -> Vec<Row> {
    let list = app.list();
    let asked =
        |before: &List| (before.sort, before.reverse, &before.filter) == (list.sort, list.reverse, &list.filter);
    let stands = app.order.sorted.as_ref().is_some_and(|(at, events, before)| {
        asked(before) && (*events == model.events || *events < model.events && at.elapsed() < STANDS)
    });
    if !stands {
        let rows = sorted(model, app);
        app.order = Order { sorted: Some((Instant::now(), model.events, app.list().clone())), rows };
    }
    app.order.rows.clone()
}

fn sorted(model: &Model, app: &App) -> Vec<Row> {
    let list = app.list();
    let filter = Filter::of(&list.filter);
    let through = |object: &Object| {
        let worst = object.outcomes.worst().map(super::word).unwrap_or_default();
        filter.is_empty() || filter.lets_through(&[object.kind.word(), &object.name, worst])
    };
    let mut all: Vec<(ObjectId, &Object)> = model.objects.iter().filter(|(_, object)| through(object)).collect();
    all.sort_unstable_by(|(_, a), (_, b)| {
        let order = compare(list.sort, a, b);
        let order = if list.reverse { order.reverse() } else { order };
        order.then_with(|| a.name.cmp(&b.name)).then(a.kind.cmp(&b.kind))
    });
    all.into_iter().map(|(id, _)| Row::Object(id)).collect()
}

fn compare(column: usize, a: &Object, b: &Object) -> Ordering {
    let uses = |what| b.uses.of(what).cmp(&a.uses.of(what));
    match COLUMNS[column].title {
        "KIND" => a.kind.cmp(&b.kind),
        "OBJECT" => Ordering::Equal,
        "READ" => uses(Use::Read),
        "WRITE" => uses(Use::Write),
        "EXEC" => uses(Use::Exec),
        "CONN" => uses(Use::Connect),
        "DENIED" => denied(b).cmp(&denied(a)),
        "WORST" => b.outcomes.worst().cmp(&a.outcomes.worst()),
        "SESS" => b.sessions().cmp(&a.sessions()),
        "LAST" => b.last.cmp(&a.last),
        _ => b.uses.all().cmp(&a.uses.all()),
    }
}

/// Verdicts about it that refused, or would have.
fn denied(object: &Object) -> u64 {
    object.outcomes.action("deny") + object.outcomes.action("kill")
}

pub fn cells(model: &Model, look: Look, id: ObjectId) -> Vec<Cell> {
    let Some(object) = model.objects.get(id) else { return Vec::new() };
    let quiet = |number: u64| Cell::new(count(number), if number == 0 { Tone::Dim } else { Tone::Plain });
    let worst = object.outcomes.worst();
    let denied = denied(object);
    vec![
        Cell::plain(object.kind.word()),
        Cell::plain(look.clean(&object.name)),
        quiet(object.uses.all()),
        quiet(object.uses.of(Use::Read)),
        quiet(object.uses.of(Use::Write)),
        quiet(object.uses.of(Use::Exec)),
        quiet(object.uses.of(Use::Connect)),
        Cell::new(count(denied), if denied == 0 { Tone::Dim } else { worst.into() }),
        Cell::new(worst.map_or("-", super::word), worst.into()),
        quiet(object.sessions() as u64),
        Cell::plain(when::of_day(object.last)),
    ]
}

pub fn detail(model: &Model, look: Look, id: ObjectId) -> Vec<String> {
    let Some(object) = model.objects.get(id) else { return Vec::new() };
    let other = object.uses.of(Use::Other);
    let other = if other > 0 { format!(", used otherwise {other} times") } else { String::new() };
    let forgotten = match model.objects.forgotten {
        0 => String::new(),
        count => format!("; {count} that were used least are forgotten"),
    };
    let numbers = format!("{} by {} sessions{other}{forgotten}", object.kind.word(), object.sessions());
    vec![look.clean(&object.name), numbers]
}

pub fn thing(model: &Model, id: ObjectId) -> Option<Thing> {
    let object = model.objects.get(id)?;
    let op = match object.kind {
        Kind::Program => "exec",
        Kind::Address | Kind::Socket => "connect",
        Kind::File if object.uses.of(Use::Write) > 0 => "write",
        Kind::File => "read",
    };
    Some(Thing { op: op.to_owned(), kind: Some(object.kind), name: object.name.to_string(), ..Thing::default() })
}
