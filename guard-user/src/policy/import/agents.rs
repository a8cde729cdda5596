//! Lists of commands in an AGENTS.md: `disallow_commands`, `allow_commands` and their like.
//!
//! Nobody has said how these lists are written, so what people do write is read: keys with lists as in YAML, TOML and
//! JSON, wherever they stand, and list items below a heading or a line that says the same in words. In a list that was
//! found, what isn't understood is told.

use guard_common::words::{Action, Op, Scope};

use super::command::{Command, base_name, word};
use super::prefix::{FORBIDDEN, script_rule};
use super::{Imported, Note};
use crate::policy::draft::{Draft, Entry};

/// Names of lists, in lower case and with `_` between the words.
const DISALLOWED: &[&str] = &[
    "disallow_commands",
    "disallowed_commands",
    "deny_commands",
    "denied_commands",
    "forbidden_commands",
    "blocked_commands",
    "prohibited_commands",
];
const ALLOWED: &[&str] = &["allow_commands", "allowed_commands", "permitted_commands"];

/// Level of a heading that is none, but a line of text which ends in a colon.
const LINE: usize = 7;

/// The rules that the lists in `text` stand for; their names begin with `name`. `only_allowed`: where there is a list
/// of allowed commands, everything else is denied.
#[must_use]
pub fn agents_md(text: &str, name: &str, only_allowed: bool) -> Imported {
    let mut reader = Reader::default();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        reader.line(number + 1, line);
    }
    let Reader { items, mut notes, .. } = reader;
    let mut drafts = Vec::new();
    for action in [Action::Deny, Action::Allow] {
        let mut scripts = Vec::new();
        for item in items.iter().filter(|item| item.action == action) {
            match command(&item.text) {
                Ok(command) => {
                    let comment = format!("line {}: {}", item.line, item.text);
                    scripts.extend(command.script(&comment));
                    drafts.push(draft(name, item, &command, &drafts));
                }
                Err(why) => notes.push(Note::new(item.line, &item.text, format!("is not imported: {why}"))),
            }
        }
        drafts.extend(script_rule(name, action, scripts));
    }
    let is_closed = only_allowed && items.iter().any(|item| item.action == Action::Allow);
    let last = if is_closed { the_rest(name).into() } else { Vec::new() };
    notes.sort_by_key(|note| note.line);
    Imported { drafts, last, notes }
}

/// Something that stands in a list.
struct Item {
    line: usize,
    text: String,
    action: Action,
}

/// Where the reader is.
#[derive(Default)]
enum Place {
    /// In text that is about something else.
    #[default]
    Elsewhere,
    /// Below a heading of this level that names a list.
    Below(Action, usize),
    /// Behind a key, where items begin with `-`, indented at least so far.
    Dashes(Action, usize),
    /// Between the brackets of a list.
    Brackets(Action),
}

#[derive(Default)]
struct Reader {
    place: Place,
    fenced: bool,
    items: Vec<Item>,
    notes: Vec<Note>,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) {
        let trimmed = line.trim();
        if let Place::Brackets(action) = self.place {
            self.brackets(number, trimmed, action);
            return;
        }
        if trimmed.starts_with("```") || trimmed.starts_with("~~~") {
            self.fenced = !self.fenced;
            if let Place::Dashes(..) = self.place {
                self.place = Place::Elsewhere;
            }
            return;
        }
        if let Some((action, value)) = key(trimmed) {
            self.key(number, line, action, value);
            return;
        }
        if !self.fenced && self.heading(trimmed) {
            return;
        }
        match self.place {
            Place::Dashes(action, indent) if !trimmed.is_empty() => self.dash(number, line, action, indent),
            Place::Below(action, level) => self.below(number, trimmed, action, level),
            _ => {}
        }
    }

    /// A key with its value, or with one that follows.
    fn key(&mut self, number: usize, line: &str, action: Action, value: &str) {
        let indent = line.len() - line.trim_start().len();
        let value = value.trim_end_matches(',').trim();
        self.place = Place::Elsewhere;
        if let Some(list) = value.strip_prefix('[') {
            self.place = Place::Brackets(action);
            self.brackets(number, list, action);
        } else if value.is_empty() || value.starts_with('#') {
            self.place = Place::Dashes(action, indent);
        } else {
            self.push(number, &scalar(value), action);
        }
    }

    /// Whether the line is a heading; then what is below may be a list.
    fn heading(&mut self, line: &str) -> bool {
        let hashes = line.len() - line.trim_start_matches('#').len();
        let bold = line.trim_matches('*').trim();
        let (level, text) = match hashes {
            1..=6 if line[hashes..].starts_with(' ') => (hashes, line[hashes..].trim().trim_end_matches('#')),
            _ if line.starts_with("**") && line.trim_end_matches(':').ends_with("**") => (LINE, bold),
            _ if line.ends_with(':') && !line.starts_with(['-', '*', '+']) => (LINE, line),
            _ => return false,
        };
        match list_named(text.trim_matches(['*', ':', '`', ' '])) {
            Some(action) => self.place = Place::Below(action, level),
            // A heading of a lower level divides the list, and does not end it.
            None if matches!(self.place, Place::Below(_, above) if level > above) => {}
            None if level < LINE => self.place = Place::Elsewhere,
            None => return false,
        }
        true
    }

    /// A line below a heading.
    fn below(&mut self, number: usize, line: &str, action: Action, level: usize) {
        if line.is_empty() {
            return;
        }
        let item = ["- ", "* ", "+ "].iter().find_map(|mark| line.strip_prefix(mark)).or_else(|| numbered(line));
        match item {
            Some(item) => self.prose(number, item.trim_start_matches("[ ] ").trim(), action),
            None if self.fenced && !line.starts_with('#') => self.push(number, line, action),
            None if self.fenced => {}
            // A line of text is the end of what another one began.
            None if level == LINE => self.place = Place::Elsewhere,
            None => self.note(number, line, "stands below the heading of a list and is no item of it"),
        }
    }

    /// An item in words: what is set as code is a command; without any, all of it is, if it looks like one.
    fn prose(&mut self, number: usize, item: &str, action: Action) {
        let pieces: Vec<&str> = item.split('`').collect();
        if pieces.len() >= 3 {
            for code in pieces.iter().skip(1).step_by(2).map(|code| code.trim()).filter(|code| !code.is_empty()) {
                self.push(number, code, action);
            }
            return;
        }
        let first = item.split_whitespace().next().unwrap_or_default();
        if first.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_./+*".contains(c)) {
            self.push(number, &scalar(item), action);
        } else {
            self.note(number, item, "is not imported: guard reads commands, not prose; set the command as `code`");
        }
    }

    fn dash(&mut self, number: usize, line: &str, action: Action, indent: usize) {
        let trimmed = line.trim_start();
        let deep_enough = line.len() - trimmed.len() >= indent;
        match trimmed.strip_prefix('-').filter(|item| deep_enough && item.starts_with([' ', '\t'])) {
            Some(item) => self.push(number, &scalar(item.trim()), action),
            None if trimmed.starts_with('#') => {}
            None => self.place = Place::Elsewhere,
        }
    }

    /// Items of a list in brackets, up to its end or the line's.
    fn brackets(&mut self, number: usize, line: &str, action: Action) {
        let mut rest = line.trim_start();
        loop {
            rest = rest.trim_start_matches([',', ' ', '\t']);
            if rest.is_empty() || rest.starts_with('#') || rest.starts_with("//") {
                return;
            }
            if rest.starts_with(']') {
                self.place = Place::Elsewhere;
                return;
            }
            let Some((item, after)) = one_of_list(rest) else {
                self.note(number, rest, "is not imported: a quote is never closed");
                self.place = Place::Elsewhere;
                return;
            };
            self.push(number, &item, action);
            rest = after;
        }
    }

    fn push(&mut self, line: usize, text: &str, action: Action) {
        self.items.push(Item { line, text: text.trim().to_owned(), action });
    }

    fn note(&mut self, line: usize, text: &str, what: &str) {
        self.notes.push(Note::new(line, text, what));
    }
}

/// The list that a line begins as a key, and what follows it: `disallow_commands: ...`, `"allow-commands" = ...`.
fn key(line: &str) -> Option<(Action, &str)> {
    let line = line.strip_prefix("- ").unwrap_or(line);
    let end = line.find([':', '='])?;
    let name = line[..end].trim().trim_matches(['"', '\'', '`', '*']);
    // With blanks in it, it is a heading in words.
    let action = list_named(name).filter(|_| !name.contains(' '))?;
    Some((action, line[end + 1..].trim_start_matches('=').trim_matches(['*', ' ', '\t'])))
}

/// What is done about the commands of a list of this name.
fn list_named(name: &str) -> Option<Action> {
    let name = name.to_lowercase().replace([' ', '-'], "_");
    let is = |names: &[&str]| names.contains(&name.as_str());
    if is(DISALLOWED) { Some(Action::Deny) } else { is(ALLOWED).then_some(Action::Allow) }
}

/// What follows the number of a numbered item.
fn numbered(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    (rest.len() < line.len()).then(|| rest.strip_prefix(". ").or_else(|| rest.strip_prefix(") "))).flatten()
}

/// A value without its quotes, or without the comment behind it.
fn scalar(text: &str) -> String {
    match one_of_list(text) {
        Some((item, after)) if text.starts_with(['"', '\'', '`']) && (after.is_empty() || after.starts_with('#')) => {
            item
        }
        _ => text.split(" #").next().unwrap_or_default().trim().to_owned(),
    }
}

/// The first item of a list in brackets and what follows it; none where a quote is never closed.
fn one_of_list(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|first| matches!(first, '"' | '\'' | '`'));
    let Some(quote) = quote else {
        let end = text.find([',', ']']).unwrap_or(text.len());
        return Some((text[..end].trim().to_owned(), &text[end..]));
    };
    let mut item = String::new();
    let mut characters = text[1..].char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' if quote == '"' => item.extend(characters.next().map(|(_, escaped)| escaped)),
            _ if character == quote => return Some((item, text[at + 2..].trim_start())),
            _ => item.push(character),
        }
    }
    None
}

/// The command that an item stands for.
fn command(text: &str) -> Result<Command, &'static str> {
    let words = shlex::split(text).ok_or("a quote in it is never closed")?;
    let plain: Vec<&str> = text.split_whitespace().collect();
    if plain.iter().any(|word| word.contains(['|', ';', '&', '<', '>', '`', '\n']) || word.contains("$(")) {
        return Err("it is more than one command, and the kernel sees one program at a time; \
                    name each, or rule what they do (docs/policy.md)");
    }
    let Some(program) = words.first().map(|program| base_name(program)).filter(|program| !program.is_empty()) else {
        return Err("there is no program in it");
    };
    if program.contains('=') {
        return Err("it begins with a variable, which is no part of a command line");
    }
    let mut patterns = vec![word(program, true)];
    patterns.extend(words[1..].iter().map(|text| word(text, true)));
    Command::of(&patterns).ok_or("there is no program in it")
}

fn draft(name: &str, item: &Item, command: &Command, others: &[Draft]) -> Draft {
    let plain = format!("{name}-{}", item.line);
    // Several commands may stand on one line.
    let taken = |name: &String| others.iter().any(|other| other.name == *name);
    let names = std::iter::once(plain.clone()).chain((2..).map(|number| format!("{plain}-{number}")));
    Draft {
        name: names.into_iter().find(|name| !taken(name)).unwrap_or(plain),
        comments: vec![format!("line {}: {}", item.line, item.text)],
        on: vec![Op::Exec],
        lists: vec![("argv", vec![command.direct("")])],
        scope: Some(Scope::Tool),
        action: item.action,
        reason: (item.action == Action::Deny).then(|| FORBIDDEN.to_owned()),
    }
}

/// What denies every other command: programs that only start others are let through, for those are judged themselves.
fn the_rest(name: &str) -> [Draft; 2] {
    let draft = |name: String, comment: &str, lists, action, reason| Draft {
        name,
        comments: vec![comment.to_owned()],
        on: vec![Op::Exec],
        lists,
        scope: Some(Scope::Tool),
        action,
        reason,
    };
    let starters = vec![Entry::new("**/{codex,codex-linux-sandbox,bwrap,sh,bash,dash,zsh,env}", "")];
    let starting = "These only start other programs, each of which is judged.";
    let others = "Only the commands that the project allows may be run. Ask a person for another.";
    [
        draft(format!("{name}-starters"), starting, vec![("path", starters)], Action::Allow, None),
        draft(
            format!("{name}-others"),
            "All that is not allowed above.",
            vec![],
            Action::Deny,
            Some(others.to_owned()),
        ),
    ]
}
