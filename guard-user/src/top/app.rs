//! What the person has chosen to see: the view, its order, its filter, what is selected. Keys change it; nothing here
//! knows a terminal.

use std::collections::HashSet;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::keys::{Command, command};
use super::model::{Model, ObjectId, Pid};
use super::rule::Thing;
use super::views::{self, Order, Page};

/// The views.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Every session.
    #[default]
    Sessions,
    /// One session's calls and processes.
    Tree,
    /// Verdicts as they come.
    Verdicts,
    /// Files, programs and destinations.
    Objects,
    /// What guard itself costs.
    Cost,
}

impl View {
    /// All of them, in the order of their keys.
    pub const ALL: [Self; 5] = [Self::Sessions, Self::Tree, Self::Verdicts, Self::Objects, Self::Cost];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sessions => "Sessions",
            Self::Tree => "Tree",
            Self::Verdicts => "Verdicts",
            Self::Objects => "Files",
            Self::Cost => "Cost",
        }
    }
}

/// What a line is about: it stays selected when it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Row {
    /// A session, by its tree.
    Session(u64),
    /// A call of the session that is shown; 0 is the agent's own work.
    Call(u32),
    /// A process of it.
    Process(Pid),
    /// What a process touched.
    Touch(Pid, ObjectId),
    /// What else a process touched.
    More(Pid),
    /// A verdict, by its number.
    Told(u64),
    /// An object.
    Object(ObjectId),
    /// A line by its number.
    Line(usize),
}

/// A view's lines, as the person has put them.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// What was typed to filter them.
    pub filter: String,
    /// The column they are sorted by.
    pub sort: usize,
    /// The other way round.
    pub reverse: bool,
    /// What is selected.
    pub selected: Option<Row>,
    /// Where that was last.
    pub index: usize,
    /// The first line that is shown.
    pub offset: usize,
    /// Lines that were shown last.
    pub page: usize,
}

impl List {
    /// Finds the selection among the lines as they are now; `follow` goes to the last.
    pub fn settle(&mut self, rows: &[Row], follow: bool) {
        let last = rows.len().saturating_sub(1);
        self.index = match self.selected.filter(|_| !follow) {
            Some(selected) => match rows.iter().position(|row| *row == selected) {
                Some(index) => index,
                None => self.index.min(last),
            },
            None if follow => last,
            None => 0,
        };
        self.selected = rows.get(self.index).copied();
        let page = self.page.max(1);
        if self.index < self.offset {
            self.offset = self.index;
        } else if self.index >= self.offset + page {
            self.offset = self.index + 1 - page;
        }
        self.offset = self.offset.min(rows.len().saturating_sub(page));
    }

    fn go(&mut self, rows: &[Row], to: usize) {
        self.index = to.min(rows.len().saturating_sub(1));
        self.selected = rows.get(self.index).copied();
    }
}

/// What something can be done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// End a call.
    KillCall {
        /// The session's tree.
        tree: u64,
        /// The agent's id of the call.
        call: String,
    },
    /// End a session.
    KillSession {
        /// Its tree.
        tree: u64,
    },
    /// Switch a session's mode.
    Switch {
        /// Its tree.
        tree: u64,
        /// To `audit`; else to `enforce`.
        audit: bool,
    },
}

/// What can be done here; where it can't, why.
#[derive(Clone, Debug)]
pub struct Abilities {
    /// Ending calls and sessions.
    pub kill: Result<(), String>,
    /// Switching a session between audit and enforce.
    pub mode: Result<(), String>,
    /// Whether a record is played, whose speed can be changed.
    pub speed: bool,
}

impl Default for Abilities {
    fn default() -> Self {
        let none = || Err("nothing runs here that it could be done to".to_owned());
        Self { kill: none(), mode: none(), speed: false }
    }
}

/// What is known of where events come from, and of `top` itself.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Where events come from, in a few words.
    pub source: String,
    /// What has become of it, if it is not simply going on.
    pub state: Option<String>,
    /// Processor time that `top` itself takes, as a part of a core.
    pub own_cpu: Option<f64>,
    /// Its memory (resident set), in bytes.
    pub own_memory: Option<u64>,
    /// Frames a second, and how long one takes, in milliseconds.
    pub frames: Option<(f64, f64)>,
}

/// What lies over the view.
#[derive(Clone, Debug, PartialEq)]
pub enum Dialog {
    /// The keys, from this line on.
    Help(usize),
    /// A question, and what is done on yes.
    Ask(String, Act),
    /// A rule.
    Rule(String),
}

/// What a key takes that the view alone can't do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// End.
    Quit,
    /// Put a text into the terminal's clipboard.
    Copy(String),
    /// Do something to what runs.
    Do(Act),
    /// What is shown is to stay, or to move on.
    Pause(bool),
    /// Play so many times as fast as now.
    Speed(f64),
    /// Paint everything anew.
    Redraw,
    /// Back to the shell.
    Suspend,
}

/// What the person has chosen to see.
#[expect(clippy::struct_excessive_bools, reason = "choices that have nothing to do with each other")]
#[derive(Clone, Debug)]
pub struct App {
    /// The view.
    pub view: View,
    /// Views before it.
    trail: Vec<View>,
    /// Each view's lines.
    lists: [List; View::ALL.len()],
    /// The session whose tree is shown.
    pub session: Option<u64>,
    /// A filter is being typed.
    pub typing: bool,
    /// What is shown stays as it is.
    pub paused: bool,
    /// What has ended is shown too.
    pub ended: bool,
    /// Verdicts are followed as they come.
    pub follow: bool,
    /// Processes whose objects are all shown.
    pub unfolded: HashSet<Row>,
    /// What lies over the view.
    pub dialog: Option<Dialog>,
    /// What is said in the last line, until the next key.
    pub message: Option<String>,
    /// What can be done here.
    pub abilities: Abilities,
    /// Where events come from, and what `top` costs.
    pub around: Surroundings,
    /// The objects in their order.
    pub order: Order,
}

impl App {
    /// Begins with this view.
    #[must_use]
    pub fn new(view: View, abilities: Abilities) -> Self {
        let mut lists: [List; View::ALL.len()] = Default::default();
        for view in View::ALL {
            lists[view as usize].sort = views::first_sort(view);
        }
        Self {
            view,
            trail: Vec::new(),
            lists,
            session: None,
            typing: false,
            paused: false,
            ended: true,
            follow: true,
            unfolded: HashSet::new(),
            dialog: None,
            message: None,
            abilities,
            around: Surroundings::default(),
            order: Order::default(),
        }
    }

    /// The lines of the view that is shown.
    #[must_use]
    pub fn list(&self) -> &List {
        &self.lists[self.view as usize]
    }

    /// The same, to change them.
    pub fn list_mut(&mut self) -> &mut List {
        &mut self.lists[self.view as usize]
    }

    /// Finds the selection among the lines as they are now, and gives them.
    pub fn settle(&mut self, model: &Model) -> Page {
        if self.view == View::Tree && self.session.is_none_or(|tree| !model.sessions.contains_key(&tree)) {
            let latest = model.sessions.iter().max_by_key(|(tree, session)| {
                (session.ended.is_none(), session.outcomes.worst(), session.last, **tree)
            });
            self.session = latest.map(|(tree, _)| *tree);
        }
        let page = views::page(model, self);
        let follow = self.view == View::Verdicts && self.follow;
        self.list_mut().settle(&page.rows, follow);
        page
    }

    /// A key was pressed.
    pub fn key(&mut self, key: KeyEvent, model: &Model) -> Option<Effect> {
        self.message = None;
        if let Some(dialog) = self.dialog.take() {
            return self.answer(dialog, key);
        }
        if self.typing && self.typed(key) {
            return None;
        }
        let command = command(key)?;
        let page = self.settle(model);
        self.act(command, &page.rows, model)
    }

    /// A key while something lies over the view.
    fn answer(&mut self, dialog: Dialog, key: KeyEvent) -> Option<Effect> {
        if command(key) == Some(Command::Quit) && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Some(Effect::Quit);
        }
        match (dialog, key.code) {
            (Dialog::Ask(_, act), KeyCode::Char('y' | 'Y')) => return Some(Effect::Do(act)),
            (Dialog::Ask(..), _) => self.message = Some("Nothing was done.".to_owned()),
            (Dialog::Help(at), KeyCode::Down | KeyCode::PageDown | KeyCode::Char(' ' | 'j')) => {
                self.dialog = Some(Dialog::Help(at + 5));
            }
            (Dialog::Help(at), KeyCode::Up | KeyCode::PageUp | KeyCode::Char('k')) => {
                self.dialog = Some(Dialog::Help(at.saturating_sub(5)));
            }
            _ => {}
        }
        None
    }

    /// A key while a filter is typed; whether it was a part of it.
    fn typed(&mut self, key: KeyEvent) -> bool {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let filter = &mut self.lists[self.view as usize].filter;
        match key.code {
            KeyCode::Char('u') if control => filter.clear(),
            KeyCode::Char(c) if !control => filter.push(c),
            KeyCode::Backspace => {
                filter.pop();
            }
            KeyCode::Esc => {
                filter.clear();
                self.typing = false;
            }
            KeyCode::Enter => self.typing = false,
            // Arrows, and whatever else moves about, work meanwhile.
            _ => return false,
        }
        true
    }

    fn act(&mut self, command: Command, rows: &[Row], model: &Model) -> Option<Effect> {
        let (index, page) = (self.list().index, self.list().page.max(2) - 1);
        match command {
            Command::View(view) => self.go_to(view),
            Command::NextView => self.go_to(View::ALL[(self.view as usize + 1) % View::ALL.len()]),
            Command::PreviousView => {
                self.go_to(View::ALL[(self.view as usize + View::ALL.len() - 1) % View::ALL.len()]);
            }
            Command::Up => self.move_to(rows, index.saturating_sub(1)),
            Command::Down => self.move_to(rows, index + 1),
            Command::PageUp => self.move_to(rows, index.saturating_sub(page)),
            Command::PageDown => self.move_to(rows, index + page),
            Command::First => self.move_to(rows, 0),
            Command::Last => self.move_to(rows, usize::MAX),
            Command::Open => self.open(model),
            Command::Back => self.back(),
            Command::Filter => self.typing = true,
            Command::SortNext => self.sort(1),
            Command::SortPrevious => self.sort(-1),
            Command::Reverse => self.list_mut().reverse ^= true,
            Command::Pause => {
                self.paused ^= true;
                return Some(Effect::Pause(self.paused));
            }
            Command::Ended => {
                self.ended ^= true;
                let shown = if self.ended { "shown" } else { "hidden" };
                self.message = Some(format!("What has ended is {shown}."));
            }
            Command::KillCall => self.kill_call(model),
            Command::KillSession => self.kill_session(model),
            Command::SwitchMode => self.switch_mode(model),
            Command::AllowRule => return self.rule(model, true),
            Command::DenyRule => return self.rule(model, false),
            Command::Faster if self.abilities.speed => return Some(Effect::Speed(2.0)),
            Command::Slower if self.abilities.speed => return Some(Effect::Speed(0.5)),
            Command::Faster | Command::Slower => {
                self.message = Some("Not available: only a record can be played faster or slower.".to_owned());
            }
            Command::Help => self.dialog = Some(Dialog::Help(0)),
            Command::Redraw => return Some(Effect::Redraw),
            Command::Suspend => return Some(Effect::Suspend),
            Command::Quit => return Some(Effect::Quit),
        }
        None
    }

    fn go_to(&mut self, view: View) {
        if view == self.view {
            return;
        }
        if view == View::Tree
            && let Some(tree) = self.selected_tree()
        {
            self.session = Some(tree);
        }
        self.trail.retain(|before| *before != self.view);
        self.trail.push(self.view);
        self.typing = false;
        self.view = view;
    }

    fn move_to(&mut self, rows: &[Row], to: usize) {
        self.list_mut().go(rows, to);
        if self.view == View::Verdicts {
            self.follow = self.list().index + 1 >= rows.len();
        }
    }

    fn back(&mut self) {
        if !self.list().filter.is_empty() {
            self.list_mut().filter.clear();
        } else if let Some(view) = self.trail.pop() {
            self.view = view;
        }
    }

    fn sort(&mut self, by: isize) {
        let columns = views::columns(self.view);
        let sortable: Vec<usize> = (0..columns.len()).filter(|at| columns[*at].sort).collect();
        if sortable.is_empty() {
            self.message = Some("This view has an order of its own.".to_owned());
            return;
        }
        let at = sortable.iter().position(|column| *column == self.list().sort).unwrap_or(0) as isize;
        let next = sortable[(at + by).rem_euclid(sortable.len() as isize) as usize];
        let list = self.list_mut();
        (list.sort, list.reverse, list.offset) = (next, false, 0);
        list.selected = None;
        self.message = Some(format!("Sorted by {}.", columns[next].title));
    }

    /// The tree that what is selected belongs to, where that is one.
    fn selected_tree(&self) -> Option<u64> {
        match self.list().selected? {
            Row::Session(tree) => Some(tree),
            _ => None,
        }
    }

    fn open(&mut self, model: &Model) {
        match self.list().selected {
            Some(Row::Session(tree)) => {
                self.session = Some(tree);
                self.lists[View::Tree as usize] = List::default();
                self.go_to(View::Tree);
            }
            Some(Row::Told(number)) => {
                let Some(told) = model.told(number) else { return };
                if model.process(told.tree, told.process).is_none() {
                    self.message = Some("Its process is not known any more.".to_owned());
                    return;
                }
                self.session = Some(told.tree);
                // It may have ended by the verdict.
                self.ended = true;
                let selected = Some(Row::Process(told.process));
                self.lists[View::Tree as usize] = List { selected, ..List::default() };
                self.go_to(View::Tree);
            }
            Some(Row::Object(id)) => {
                let Some(object) = model.objects.get(id) else { return };
                let filter = object.name.split_whitespace().next().unwrap_or_default().to_owned();
                self.lists[View::Verdicts as usize] = List { filter, ..List::default() };
                self.follow = true;
                self.go_to(View::Verdicts);
            }
            Some(Row::Touch(pid, _) | Row::More(pid) | Row::Process(pid)) => {
                let process = Row::Process(pid);
                if !self.unfolded.remove(&process) {
                    self.unfolded.insert(process);
                }
                self.list_mut().selected = Some(process);
            }
            Some(Row::Call(_) | Row::Line(_)) | None => {}
        }
    }

    /// The tree and, where it belongs to one, the call of what is selected.
    fn selected_call(&self, model: &Model) -> Option<(u64, Option<String>)> {
        let of_process = |tree: u64, pid: &Pid| {
            let session = model.sessions.get(&tree)?;
            let call = session.processes.get(pid)?.call;
            Some((tree, session.calls.get(&call).map(|call| call.label.to_string())))
        };
        match self.list().selected? {
            Row::Session(tree) => Some((tree, None)),
            Row::Call(number) => {
                let tree = self.session?;
                let call = model.sessions.get(&tree)?.calls.get(&number);
                Some((tree, call.map(|call| call.label.to_string())))
            }
            Row::Process(pid) | Row::Touch(pid, _) | Row::More(pid) => of_process(self.session?, &pid),
            Row::Told(number) => {
                let told = model.told(number)?;
                Some((told.tree, told.call.as_deref().map(ToOwned::to_owned)))
            }
            Row::Object(_) | Row::Line(_) => None,
        }
    }

    fn kill_call(&mut self, model: &Model) {
        let selected = self.selected_call(model);
        if let Err(why) = &self.abilities.kill {
            self.message = Some(format!("Not available: {why}"));
        } else if let Some((tree, Some(call))) = selected {
            let text = format!("Kill the call {call}, with all its processes?");
            self.dialog = Some(Dialog::Ask(text, Act::KillCall { tree, call }));
        } else {
            self.message = Some("Select a call first, or something that belongs to one.".to_owned());
        }
    }

    fn kill_session(&mut self, model: &Model) {
        let selected = self.selected_call(model).and_then(|(tree, _)| Some((tree, model.sessions.get(&tree)?)));
        if let Err(why) = &self.abilities.kill {
            self.message = Some(format!("Not available: {why}"));
        } else if let Some((tree, session)) = selected {
            let agent = session.agent.as_deref().unwrap_or("no agent");
            let text = format!(
                "Kill the session {} ({agent}), with all its {} processes?",
                session.short(),
                session.processes()
            );
            self.dialog = Some(Dialog::Ask(text, Act::KillSession { tree }));
        } else {
            self.message = Some("Select a session first, or something that belongs to one.".to_owned());
        }
    }

    fn switch_mode(&mut self, model: &Model) {
        let selected = self.selected_call(model).and_then(|(tree, _)| Some((tree, model.sessions.get(&tree)?)));
        if let Err(why) = &self.abilities.mode {
            self.message = Some(format!("Not available: {why}"));
        } else if let Some((_, session)) = selected
            && session.ended.is_some()
        {
            self.message = Some("Not available: the session has ended.".to_owned());
        } else if let Some((tree, session)) = selected {
            let audit = session.enforce != Some(false);
            let (mode, then) = if audit {
                ("audit", "Nothing that it does is stopped then, only told.")
            } else {
                ("enforce", "What the policy denies is stopped then.")
            };
            let agent = session.agent.as_deref().unwrap_or("no agent");
            let text = format!("Switch the session {} ({agent}) to {mode}? {then}", session.short());
            self.dialog = Some(Dialog::Ask(text, Act::Switch { tree, audit }));
        } else {
            self.message = Some("Select a session first, or something that belongs to one.".to_owned());
        }
    }

    fn rule(&mut self, model: &Model, allow: bool) -> Option<Effect> {
        match self.thing(model).ok_or_else(|| "select a verdict, a process, a file or a destination".to_owned()) {
            Ok(thing) => match thing.rule(allow) {
                Ok(rule) => {
                    self.dialog = Some(Dialog::Rule(rule.clone()));
                    return Some(Effect::Copy(rule));
                }
                Err(why) => self.message = Some(format!("No rule: {why}")),
            },
            Err(why) => self.message = Some(format!("No rule: {why}")),
        }
        None
    }

    /// What is selected, as rules are about it.
    fn thing(&self, model: &Model) -> Option<Thing> {
        views::thing(model, self)
    }
}
