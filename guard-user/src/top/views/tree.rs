//! One session: its calls, their processes, and what these touched.

use std::collections::HashMap;

use super::{Cell, Column, Page};
use crate::top::app::{App, Row};
use crate::top::filter::Filter;
use crate::top::look::{Look, Tone};
use crate::top::model::{Kind, Model, Outcomes, Pid, Process, Session, Touch};
use crate::top::rule::Thing;
use crate::top::when;

pub const COLUMNS: &[Column] = &[
    Column::text("CALLS, PROCESSES AND WHAT THEY TOUCHED", 40, 240, 0).unsorted(),
    Column::text("STATE", 9, 9, 2).unsorted(),
    Column::text("SINCE", 8, 8, 4).unsorted(),
    Column::text("VERDICT", 10, 10, 1).unsorted(),
    Column::text("RULE", 12, 32, 3).unsorted(),
];

/// Objects of a process that are shown while it is folded.
const FOLDED: usize = 3;
/// Levels that are drawn; what lies deeper stands below each other.
const DEEPEST: usize = 24;

pub fn page(model: &Model, app: &App) -> Page {
    let mut page = Page::default();
    let Some(session) = app.session.and_then(|tree| model.sessions.get(&tree)) else { return page };
    let writer = Writer { session, app, filter: Filter::of(&app.list().filter), children: children(session) };
    // What the model asked for is what people look for; what the agent does by itself is much, and mostly the same.
    for call in session.calls.keys().copied().chain([0]) {
        writer.call(call, &mut page);
    }
    page
}

/// Who is whose child in the same call; those that are nobody's stand under their call's number.
fn children(session: &Session) -> HashMap<(u32, Option<Pid>), Vec<Pid>> {
    let mut by_pid: HashMap<u32, Vec<Pid>> = HashMap::new();
    for pid in session.processes.keys() {
        by_pid.entry(pid.pid).or_default().push(*pid);
    }
    let mut children: HashMap<(u32, Option<Pid>), Vec<Pid>> = HashMap::new();
    for (pid, process) in &session.processes {
        // Calls that are not kept any more go with the agent's own work.
        let call = if session.calls.contains_key(&process.call) { process.call } else { 0 };
        let older = |parent: &&Pid| (parent.start, parent.pid) < (pid.start, pid.pid);
        let parent = process
            .ppid
            .and_then(|ppid| by_pid.get(&ppid))
            .into_iter()
            .flatten()
            .filter(older)
            .max_by_key(|parent| parent.start);
        let parent = parent.filter(|parent| session.processes.get(*parent).is_some_and(|of| of.call == process.call));
        children.entry((call, parent.copied())).or_default().push(*pid);
    }
    for list in children.values_mut() {
        list.sort_unstable_by_key(|pid| (pid.start, pid.pid));
    }
    children
}

struct Writer<'a> {
    session: &'a Session,
    app: &'a App,
    filter: Filter<'a>,
    children: HashMap<(u32, Option<Pid>), Vec<Pid>>,
}

/// Where a line stands: for each level above, whether more follows there.
type Path = Vec<bool>;

impl Writer<'_> {
    fn call(&self, call: u32, page: &mut Page) {
        let begin = page.rows.len();
        page.push(Row::Call(call), &[]);
        let mut path = Path::new();
        self.processes(call, None, &mut path, page);
        let label = self.session.calls.get(&call).map_or("", |call| &*call.label);
        let named = !self.filter.is_empty() && self.filter.lets_through(&[label]);
        if page.rows.len() == begin + 1 && !named && (call == 0 || !self.filter.is_empty() || !self.app.ended) {
            page.truncate(begin);
        }
    }

    /// The children of a process, or those of a call that are nobody's; whether there were any to show.
    fn processes(&self, call: u32, parent: Option<Pid>, path: &mut Path, page: &mut Page) {
        let Some(list) = self.children.get(&(call, parent)) else { return };
        let shown: Vec<Pid> = list.iter().copied().filter(|pid| self.shown(call, *pid)).collect();
        for (at, pid) in shown.iter().enumerate() {
            let Some(process) = self.session.processes.get(pid) else { continue };
            path.push(at + 1 < shown.len());
            page.push(Row::Process(*pid), path);
            let folded = if call == 0 { 0 } else { FOLDED };
            self.touches(*pid, process, folded, self.has_children(call, *pid), path, page);
            self.processes(call, Some(*pid), path, page);
            path.pop();
        }
    }

    fn has_children(&self, call: u32, pid: Pid) -> bool {
        let children = self.children.get(&(call, Some(pid)));
        children.is_some_and(|list| list.iter().any(|child| self.shown(call, *child)))
    }

    /// Whether a process is shown: by itself, or because one below it is.
    fn shown(&self, call: u32, pid: Pid) -> bool {
        // However deep they were started, this ends: a child is younger than its parent.
        let mut look_at = vec![pid];
        while let Some(pid) = look_at.pop() {
            let Some(process) = self.session.processes.get(&pid) else { continue };
            if (self.app.ended || process.ended.is_none()) && self.matches(call, pid, process) {
                return true;
            }
            look_at.extend(self.children.get(&(call, Some(pid))).into_iter().flatten());
        }
        false
    }

    fn matches(&self, call: u32, pid: Pid, process: &Process) -> bool {
        if self.filter.is_empty() {
            return true;
        }
        let number = pid.pid.to_string();
        let label = self.session.calls.get(&call).map_or("", |call| &*call.label);
        let mut texts = vec![&*number, label, &*process.exe, &*process.argv, mark_of(process).unwrap_or_default()];
        for touch in &process.touches {
            texts.push(&touch.name);
            if let Some((worst, rule)) = &touch.worst {
                texts.extend([super::word(*worst), rule.as_deref().unwrap_or_default()]);
            }
        }
        self.filter.lets_through(&texts)
    }

    /// What a process touched, the most telling first.
    fn touches(&self, pid: Pid, process: &Process, folded: usize, followed: bool, path: &mut Path, page: &mut Page) {
        let mut touches: Vec<&Touch> = process.touches.iter().collect();
        touches
            .sort_by_key(|touch| std::cmp::Reverse((touch.worst.as_ref().map(|(worst, _)| *worst), weight(touch))));
        let unfolded = self.app.unfolded.contains(&Row::Process(pid));
        // What a verdict is about is always shown.
        let telling = touches.iter().filter(|touch| touch.worst.is_some()).count();
        let shown = if unfolded { touches.len() } else { touches.len().min(folded.max(telling)) };
        let rest = (touches.len() - shown) as u64 + process.more;
        for (at, touch) in touches[..shown].iter().enumerate() {
            path.push(at + 1 < shown || rest > 0 || followed);
            page.push(Row::Touch(pid, touch.object), path);
            path.pop();
        }
        if rest > 0 {
            path.push(followed);
            page.push(Row::More(pid), path);
            path.pop();
        }
    }
}

/// How telling it is that something was touched: what goes out, then what was written, then what was read most.
fn weight(touch: &Touch) -> (bool, bool, u64) {
    use crate::top::model::Use;
    let out = matches!(touch.kind, Kind::Address | Kind::Socket);
    (out, touch.uses.of(Use::Write) > 0, touch.uses.all())
}

/// What is odd about a process.
fn mark_of(process: &Process) -> Option<&'static str> {
    match (process.left, process.orphan) {
        (true, _) => Some("left behind"),
        (_, true) => Some("orphan"),
        _ => None,
    }
}

/// The lines before a row that lies at `path`.
fn branches(look: Look, path: &[bool]) -> String {
    let [tee, corner, bar, blank] = look.branches();
    let Some((last, above)) = path.split_last() else { return String::new() };
    let above = &above[..above.len().min(DEEPEST)];
    let mut text: String = above.iter().map(|more| if *more { bar } else { blank }).collect();
    text.push_str(if *last { tee } else { corner });
    text
}

pub fn cells(model: &Model, look: Look, app: &App, row: Row, path: &[bool]) -> Vec<Cell> {
    let Some(session) = app.session.and_then(|tree| model.sessions.get(&tree)) else { return Vec::new() };
    let branch = branches(look, path);
    let of_outcomes = |outcomes: &Outcomes| {
        let worst = outcomes.worst();
        Cell::new(worst.map_or("", super::word), worst.into())
    };
    match row {
        Row::Call(0) => {
            let agent = session.agent.as_deref().map_or_else(|| "its root".to_owned(), |agent| look.clean(agent));
            vec![Cell::new(format!("{branch}own work of {agent}"), Tone::Title)]
        }
        Row::Call(number) => {
            let Some(call) = session.calls.get(&number) else { return Vec::new() };
            let runs = session.processes.values().filter(|one| one.call == number && one.ended.is_none()).count();
            let state = if runs > 0 { format!("runs {runs}") } else { "done".to_owned() };
            vec![
                Cell::new(format!("{branch}call {}", look.clean(&call.label)), Tone::Title),
                Cell::new(state, if runs > 0 { Tone::Good } else { Tone::Dim }),
                Cell::new(when::of_day(call.began), Tone::Dim),
                of_outcomes(&call.outcomes),
            ]
        }
        Row::Process(pid) => {
            let Some(process) = session.processes.get(&pid) else { return Vec::new() };
            let words = process.argv.split_once('\0').map(|(_, words)| look.line(words)).unwrap_or_default();
            let mark = mark_of(process).map_or_else(String::new, |mark| format!(" ({mark})"));
            let tone = match (mark.is_empty(), process.ended.is_some()) {
                (false, _) => Tone::Note,
                (true, true) => Tone::Dim,
                (true, false) => Tone::Plain,
            };
            let (state, state_tone) = match process.end() {
                Some(end) => (end, Tone::Dim),
                None => (format!("runs {}", when::span(model.now.saturating_sub(process.began))), Tone::Good),
            };
            vec![
                Cell::new(format!("{branch}{}[{}]{mark} {words}", look.clean(process.name()), pid.pid), tone),
                Cell::new(state, state_tone),
                Cell::new(when::of_day(process.began), Tone::Dim),
                of_outcomes(&process.outcomes),
            ]
        }
        Row::Touch(pid, object) => {
            let touch = session
                .processes
                .get(&pid)
                .and_then(|process| process.touches.iter().find(|touch| touch.object == object));
            let Some(touch) = touch else { return Vec::new() };
            let (worst, rule) = match &touch.worst {
                Some((worst, rule)) => (Some(*worst), rule.as_deref().unwrap_or("(default)")),
                None => (None, ""),
            };
            let tone = match worst {
                Some(worst) => Some(worst).into(),
                None if matches!(touch.kind, Kind::Address | Kind::Socket) => Tone::Plain,
                None => Tone::Dim,
            };
            vec![
                Cell::new(format!("{branch}{} {}", touch.words(), look.clean(&touch.name)), tone),
                Cell::default(),
                Cell::default(),
                Cell::new(worst.map_or("", super::word), worst.into()),
                Cell::plain(look.clean(rule)),
            ]
        }
        Row::More(pid) => {
            let unfolded = app.unfolded.contains(&Row::Process(pid));
            let text = match session.processes.get(&pid) {
                Some(process) if unfolded => format!("{} more that are not kept", process.more),
                Some(process) => {
                    let telling = process.touches.iter().filter(|touch| touch.worst.is_some()).count();
                    let own = !session.calls.contains_key(&process.call);
                    let shown = telling.max(if own { 0 } else { FOLDED }).min(process.touches.len());
                    let rest = (process.touches.len() - shown) as u64 + process.more;
                    format!("{rest} touched{}: Enter", if shown > 0 { " beside" } else { "" })
                }
                None => String::new(),
            };
            vec![Cell::new(format!("{branch}{} {text}", look.mark()), Tone::Dim)]
        }
        _ => Vec::new(),
    }
}

pub fn detail(model: &Model, look: Look, app: &App, row: Row) -> Vec<String> {
    let Some(session) = app.session.and_then(|tree| model.sessions.get(&tree)) else { return Vec::new() };
    match row {
        Row::Process(pid) => {
            let Some(process) = session.processes.get(&pid) else { return Vec::new() };
            let ppid = process.ppid.map_or_else(|| "-".to_owned(), |ppid| ppid.to_string());
            let place = format!("{} in {}, parent {ppid}", look.clean(&process.exe), look.clean(&process.cwd));
            vec![format!("`{}`", look.line(&process.argv)), place]
        }
        Row::Touch(pid, object) => {
            let touches = session.processes.get(&pid).map(|process| process.touches.iter());
            let touch = touches.into_iter().flatten().find(|touch| touch.object == object);
            touch
                .map(|touch| vec![look.clean(&touch.name), format!("{}: {}", touch.kind.word(), touch.words())])
                .unwrap_or_default()
        }
        Row::Call(number) => {
            let began = session.calls.get(&number).map(|call| format!("Since {}", when::of_day(call.began)));
            let processes = session.processes.values().filter(|process| process.call == number).count();
            let what = if number == 0 { "What the agent does by itself" } else { "What the model asked for" };
            vec![format!("{what}: {processes} processes are known"), began.unwrap_or_default()]
        }
        _ => Vec::new(),
    }
}

pub fn thing(model: &Model, app: &App, row: Row) -> Option<Thing> {
    let session = model.sessions.get(&app.session?)?;
    let own = |text: Option<&str>| text.map(ToOwned::to_owned);
    let of = |process: &Process| Thing {
        repo: own(session.repo.as_deref()),
        home: own(session.home.as_deref()),
        scope: Some(if session.calls.contains_key(&process.call) { "tool" } else { "harness" }.to_owned()),
        ..Thing::default()
    };
    match row {
        Row::Process(pid) => {
            let process = session.processes.get(&pid)?;
            Some(Thing {
                op: "exec".to_owned(),
                kind: Some(Kind::Program),
                name: process.exe.to_string(),
                argv: process.argv.to_string(),
                ..of(process)
            })
        }
        Row::Touch(pid, object) => {
            use crate::top::model::Use;
            let process = session.processes.get(&pid)?;
            let touch = process.touches.iter().find(|touch| touch.object == object)?;
            let op = match touch.kind {
                Kind::Program => "exec",
                Kind::Address | Kind::Socket => "connect",
                Kind::File if touch.uses.of(Use::Write) > 0 => "write",
                Kind::File => "read",
            };
            Some(Thing {
                op: op.to_owned(),
                kind: Some(touch.kind),
                name: touch.name.to_string(),
                decided: touch.worst.as_ref().and_then(|(_, rule)| own(rule.as_deref())),
                ..of(process)
            })
        }
        _ => None,
    }
}
