//! A policy's own tests: what people expect it to decide.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use guard_common::words::{Action, Op, Scope};
use toml::de::DeTable;

use super::failure::{Failure, Problem, Source};
use super::question::{Question, Thing, words as split};
use super::reading::{Entry, Reading, Value, key_name, list, sorted, syntax_error, words};
use super::rule::OPS;

/// Keys of the file.
pub(super) const TOP_KEYS: &[&str] = &["repo", "home", "scope", "case"];
/// Keys of a case.
pub(super) const CASE_KEYS: &[&str] =
    &["name", "op", "path", "argv", "to", "stdin", "scope", "exe", "phase", "repo", "home", "expect", "rule"];
/// Keys that every case has.
pub(super) const CASE_REQUIRED: &[&str] = &["op", "expect"];
/// What `rule` says where no rule decides.
pub const BY_DEFAULT: &str = "default";
/// The repository of cases that name none.
pub const REPO: &str = "/home/user/project";
/// The home of cases that name none.
pub const HOME: &str = "/home/user";
/// Where a program is that a case names by its command line alone.
const PROGRAMS: &str = "/usr/bin";

/// The cases of a file.
#[derive(Debug)]
pub struct Cases {
    pub(super) source: Arc<Source>,
    /// In the order of the file. One that names several operations or objects stands there for each.
    pub cases: Vec<Case>,
}

/// One thing that is expected.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is called.
    pub name: Option<String>,
    /// What is asked.
    pub question: Question,
    /// What is to be decided.
    pub expect: Action,
    /// By which rule: its name, or [`BY_DEFAULT`].
    pub rule: Option<String>,
    /// Where it begins.
    pub(super) span: Range<usize>,
    /// The phase that the session is in.
    pub(super) phase: Option<String>,
    /// Where the rule is named.
    pub(super) rule_span: Range<usize>,
    /// Where the phase is named.
    pub(super) phase_span: Range<usize>,
}

/// Reads the cases in `source`.
pub fn read(source: Arc<Source>) -> Result<Cases, Failure> {
    let (document, errors) = DeTable::parse_recoverable(&source.text);
    let mut reader = Reader { problems: Vec::new(), repo: REPO, home: HOME, scope: Scope::Tool };
    let mut cases = Vec::new();
    if errors.is_empty() {
        reader.file(document.get_ref(), &mut cases);
    } else {
        // What the parser makes of the rest is a guess, and would be told as errors that are none.
        reader.problems.extend(errors.iter().map(|error| syntax_error(&source.text, error)));
    }
    if reader.problems.is_empty() { Ok(Cases { source, cases }) } else { Err(Failure::new(&source, reader.problems)) }
}

struct Reader<'a> {
    problems: Vec<Problem>,
    repo: &'a str,
    home: &'a str,
    scope: Scope,
}

impl Reading for Reader<'_> {
    fn problems(&mut self) -> &mut Vec<Problem> {
        &mut self.problems
    }
}

/// The keys of one case.
type Fields<'a, 't> = HashMap<&'a str, Entry<'a, 't>>;

impl<'a> Reader<'a> {
    fn file(&mut self, table: &'a DeTable<'_>, cases: &mut Vec<Case>) {
        let entries = sorted(table);
        // What holds for all cases may stand anywhere.
        for (key, value) in &entries {
            match key_name(key) {
                "repo" => self.repo = self.place(value, "repo").unwrap_or(self.repo),
                "home" => self.home = self.place(value, "home").unwrap_or(self.home),
                "scope" => self.scope = self.scope(value).unwrap_or(self.scope),
                "case" => {}
                _ => self.unknown_key(key, TOP_KEYS),
            }
        }
        for (_, value) in entries.iter().filter(|(key, _)| key_name(key) == "case") {
            let Some(all) = value.get_ref().as_array() else {
                self.wrong_type(value, "case", "tables `[[case]]`");
                continue;
            };
            for value in all {
                if let Some(table) = self.table(value, "case") {
                    self.case(table, &value.span(), cases);
                }
            }
        }
    }

    /// Reads one case. What is wrong with it is noted.
    fn case(&mut self, table: &'a DeTable<'_>, header: &Range<usize>, cases: &mut Vec<Case>) {
        let mut fields = Fields::new();
        for (key, value) in sorted(table) {
            if CASE_KEYS.contains(&key_name(key)) {
                fields.insert(key_name(key), (key, value));
            } else {
                self.unknown_key(key, CASE_KEYS);
            }
        }
        let value = |key: &str| fields.get(key).map(|(_, value)| *value);
        for key in CASE_REQUIRED {
            if !fields.contains_key(key) {
                self.problems.push(Problem::at(header.clone(), format!("the case has no `{key}`")));
            }
        }
        let repo = value("repo").and_then(|value| self.place(value, "repo")).unwrap_or(self.repo);
        let home = value("home").and_then(|value| self.place(value, "home")).unwrap_or(self.home);
        let scope = value("scope").and_then(|value| self.scope(value)).unwrap_or(self.scope);
        let stdin = value("stdin")
            .and_then(|value| self.word(value, "stdin", &["network"], |word| (word == "network").then_some(())));
        let expect = value("expect")
            .and_then(|value| self.word(value, "action", &words(Action::ALL, Action::word), Action::from_word));
        let name = value("name").and_then(|value| self.string(value, "name")).map(str::to_owned);
        let mut named = |key: &str| {
            let Some(value) = value(key) else { return (None, header.clone()) };
            (self.string(value, key).map(str::to_owned), value.span())
        };
        let ((rule, rule_span), (phase, phase_span)) = (named("rule"), named("phase"));
        let places = [("{repo}", repo), ("{home}", home)];
        let exe = value("exe").and_then(|value| {
            let text = self.string(value, "exe")?;
            self.path(text, value, places)
        });
        let ops: Vec<Op> = value("op").map(|value| self.ops(value)).unwrap_or_default();
        let things = self.things(&fields, &ops, header, places);
        let Some(expect) = expect else { return };
        for &op in &ops {
            for thing in &things {
                let question = Question {
                    op,
                    thing: thing.clone(),
                    scope,
                    repo: Some(repo.to_owned()),
                    home: Some(home.to_owned()),
                    exe: exe.clone(),
                    phase: 0,
                    network_stdin: stdin.is_some(),
                };
                cases.push(Case {
                    name: name.clone(),
                    question,
                    expect,
                    rule: rule.clone(),
                    span: header.clone(),
                    phase: phase.clone(),
                    rule_span: rule_span.clone(),
                    phase_span: phase_span.clone(),
                });
            }
        }
    }

    /// The operations of a case.
    fn ops(&mut self, value: &'a Value<'_>) -> Vec<Op> {
        let known = words(&OPS, Op::word);
        let op = |word: &str| OPS.into_iter().find(|op| op.word() == word);
        self.strings(value, "op")
            .into_iter()
            .filter_map(|(_, value)| self.word(value, "operation", &known, op))
            .collect()
    }

    /// What the operations are attempted on.
    fn things(
        &mut self,
        fields: &Fields<'a, '_>,
        ops: &[Op],
        header: &Range<usize>,
        places: [(&str, &str); 2],
    ) -> Vec<Thing> {
        let Some(&first) = ops.first() else { return Vec::new() };
        let needed: &[&str] = match first {
            Op::Exec => &["argv", "path"],
            Op::Connect | Op::Send | Op::Bind => &["to"],
            Op::Outlive => &[],
            _ => &["path"],
        };
        for key in ["path", "argv", "to", "stdin"] {
            let fits = needed.contains(&key) || key == "stdin" && first == Op::Exec;
            if let Some((key, _)) = fields.get(key).filter(|_| !fits) {
                let message = format!("`{}` means nothing to `{}`", key_name(key), first.word());
                self.problems.push(Problem::at(key.span(), message));
            }
        }
        if !needed.is_empty() && !needed.iter().any(|key| fields.contains_key(key)) {
            let problem =
                Problem::at(header.clone(), format!("the case does not say on what `{}` is tried", first.word()));
            self.problems.push(problem.help(format!("give it {}", list(needed).replace(" and ", " or "))));
        }
        let things = match first {
            Op::Exec => self.commands(fields, places),
            Op::Connect | Op::Send | Op::Bind => self.targets(fields, places),
            Op::Outlive => vec![Thing::Itself],
            _ => self.paths(fields, places).into_iter().map(Thing::File).collect(),
        };
        let odd = ops.iter().find(|&&op| things.iter().any(|thing| !thing.fits(op)));
        if let (Some(odd), Some((_, value))) = (odd, fields.get("op")) {
            let message = format!("`{}` and `{}` are not tried on the same things", first.word(), odd.word());
            self.problems.push(Problem::at(value.span(), message).help("make two cases of it"));
        }
        things
    }

    fn commands(&mut self, fields: &Fields<'a, '_>, places: [(&str, &str); 2]) -> Vec<Thing> {
        let argv = fields.get("argv").map(|(_, value)| self.argv(value));
        let mut paths = self.paths(fields, places);
        if let (true, Some([first, ..])) = (paths.is_empty(), argv.as_deref()) {
            paths.push(if first.starts_with('/') { first.clone() } else { format!("{PROGRAMS}/{first}") });
        }
        let command = |path: String| Thing::Command(path.clone(), argv.clone().unwrap_or_else(|| vec![path]));
        paths.into_iter().map(command).collect()
    }

    /// A command line, as one string or as a list of its words.
    fn argv(&mut self, value: &'a Value<'_>) -> Vec<String> {
        let Some(line) = value.get_ref().as_str() else {
            return self.strings(value, "argv").into_iter().map(|(text, _)| text.to_owned()).collect();
        };
        split(line).unwrap_or_else(|what| {
            self.problems.push(Problem::at(value.span(), what));
            Vec::new()
        })
    }

    fn paths(&mut self, fields: &Fields<'a, '_>, places: [(&str, &str); 2]) -> Vec<String> {
        let Some((_, value)) = fields.get("path") else { return Vec::new() };
        let texts = self.strings(value, "path");
        texts.into_iter().filter_map(|(text, value)| self.path(text, value, places)).collect()
    }

    /// A true path, with the place that it begins with.
    fn path(&mut self, text: &str, value: &Value<'_>, places: [(&str, &str); 2]) -> Option<String> {
        let path = placed(text, places);
        if is_true(&path) {
            return Some(path);
        }
        let message = format!("`{}` is no true path", text.escape_debug());
        self.problems.push(
            Problem::at(value.span(), message)
                .label("it starts with `/`, `{repo}/` or `{home}/`, and has no `.`, `..` or empty component"),
        );
        None
    }

    fn targets(&mut self, fields: &Fields<'a, '_>, places: [(&str, &str); 2]) -> Vec<Thing> {
        let Some((_, value)) = fields.get("to") else { return Vec::new() };
        let mut targets = Vec::new();
        for (text, value) in self.strings(value, "to") {
            let path = text.strip_prefix("unix:").map(|path| format!("unix:{}", placed(path, places)));
            match Thing::from_to(path.as_deref().unwrap_or(text)) {
                Ok(thing) => targets.push(thing),
                Err(what) => self.problems.push(Problem::at(value.span(), what)),
            }
        }
        targets
    }

    /// A string, or the strings of a list, each with its value.
    fn strings<'t>(&mut self, value: &'a Value<'t>, what: &str) -> Vec<(&'a str, &'a Value<'t>)> {
        if let Some(text) = value.get_ref().as_str() {
            return vec![(text, value)];
        }
        let Some(all) = value.get_ref().as_array() else {
            self.wrong_type(value, what, "a string or a list of strings");
            return Vec::new();
        };
        if all.is_empty() {
            self.problems.push(Problem::at(value.span(), format!("`{what}` is empty, so nothing is tried")));
        }
        all.iter().filter_map(|value| Some((self.string(value, what)?, value))).collect()
    }

    fn scope(&mut self, value: &Value<'_>) -> Option<Scope> {
        self.word(value, "scope", &words(Scope::ALL, Scope::word), Scope::from_word)
    }

    /// A folder.
    fn place(&mut self, value: &'a Value<'_>, what: &str) -> Option<&'a str> {
        let text = self.string(value, what)?;
        if !is_true(text) {
            let message = format!("`{}` is no true path of a folder", text.escape_debug());
            self.problems.push(Problem::at(value.span(), message).label("expected one like `/home/user`"));
        }
        Some(text)
    }
}

/// `text` with the place that it begins with.
fn placed(text: &str, places: [(&str, &str); 2]) -> String {
    let found = places.iter().find_map(|(name, place)| Some((place, text.strip_prefix(name)?)));
    found.map_or_else(|| text.to_owned(), |(place, rest)| format!("{place}{rest}"))
}

/// Whether a file can have this true path.
fn is_true(path: &str) -> bool {
    let components = path.strip_prefix('/').map(|rest| rest.split('/'));
    components.is_some_and(|mut all| all.all(|component| !matches!(component, "" | "." | "..")))
}
