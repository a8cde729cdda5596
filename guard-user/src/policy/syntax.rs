//! Reads a policy's text: everything that it says, and everything that is wrong with it.

use std::collections::HashMap;
use std::mem;
use std::ops::Range;

use guard_common::table::{MAX_PHASES, NODE_REPO};
use guard_common::words::{Action, Mode, Op, Scope};
use toml::de::DeTable;

use super::failure::Problem;
use super::net::Target;
use super::pattern::{Fault, Pattern};
use super::reading::{Entry, Reading, Value, key_name, list, one_of, sorted, suggest, syntax_error, words};
use super::rule::{Agent, Kind, OPS, Phase, Policy, Rule, Written};
use super::{argv, glob, group, net};

/// What reading came to. The policy is whole only if there are no problems.
pub struct Read {
    pub policy: Policy,
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

/// Keys of a policy.
pub(super) const TOP_KEYS: &[&str] =
    &["version", "mode", "agent", "scope", "list", "import", "phase", "default", "rule"];
/// Keys of a rule.
pub(super) const RULE_KEYS: &[&str] =
    &["name", "on", "path", "argv", "to", "except", "scope", "by", "phase", "stdin", "action", "reason"];
/// Keys that every rule has.
pub(super) const RULE_REQUIRED: &[&str] = &["name", "on", "action"];
/// Keys of an agent; it has them all.
pub(super) const AGENT_KEYS: &[&str] = &["exe"];
/// Keys of `[scope]`; it has them all.
pub(super) const SCOPE_KEYS: &[&str] = &["cgroup"];
/// Keys of a phase.
pub(super) const PHASE_KEYS: &[&str] = &["name", "marker"];
/// The keys of `[import]`.
pub(super) const IMPORT_KEYS: &[&str] = &["codexignore"];

/// How deep lists may name lists.
const MAX_NESTING: usize = 16;
/// How often rules and lists may name a list.
const MAX_VISITS: usize = 10_000;

/// Reads `text`.
pub fn read(text: &str) -> Read {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reader =
        Reader { lists: HashMap::new(), used: Vec::new(), visits: 0, written: Vec::new(), problems: Vec::new() };
    if !errors.is_empty() {
        // What the parser makes of the rest is a guess, and would be told as errors that are none.
        let problems = errors.into_iter().map(|error| syntax_error(text, &error)).collect();
        return Read { policy: Policy::default(), problems, warnings: Vec::new() };
    }
    let policy = reader.policy(document.get_ref());
    let warnings = reader.unused_lists();
    Read { policy, problems: reader.problems, warnings }
}

/// An entry of a list of patterns, with the list it came from.
struct Item {
    text: String,
    span: Range<usize>,
    list: Option<String>,
}

struct Reader<'a, 't> {
    lists: HashMap<&'a str, (Range<usize>, &'a Value<'t>)>,
    used: Vec<&'a str>,
    /// Lists put in so far.
    visits: usize,
    /// Entries of the conditions read so far, of one rule.
    written: Vec<Written>,
    problems: Vec<Problem>,
}

impl Reading for Reader<'_, '_> {
    fn problems(&mut self) -> &mut Vec<Problem> {
        &mut self.problems
    }
}

impl<'a, 't> Reader<'a, 't> {
    fn policy(&mut self, table: &'a DeTable<'t>) -> Policy {
        let mut policy = Policy::default();
        let mut version = false;
        let entries = sorted(table);
        // Lists and phases may stand anywhere, so they are known before anything that may name them.
        for (key, value) in &entries {
            if key_name(key) == "list" {
                self.lists(value);
            }
        }
        for (key, value) in &entries {
            if key_name(key) == "phase" {
                self.phases(value, &mut policy);
            }
        }
        for (key, value) in entries {
            match key_name(key) {
                "version" => {
                    version = true;
                    self.version(value);
                }
                "mode" => policy.mode = self.word(value, "mode", &words(Mode::ALL, Mode::word), Mode::from_word),
                "agent" => self.agents(value, &mut policy),
                "scope" => self.scope(value, &mut policy),
                "list" | "phase" => {}
                "import" => self.imports(value, &mut policy),
                "default" => self.defaults(value, &mut policy),
                "rule" => self.rules(value, &mut policy),
                _ => self.unknown_key(key, TOP_KEYS),
            }
        }
        if !version {
            self.problems.push(
                Problem::at(0..0, "the policy does not say its version").help("write `version = 1` at its beginning"),
            );
        }
        policy
    }

    fn version(&mut self, value: &Value<'t>) {
        let is_one =
            value.get_ref().as_integer().is_some_and(|number| number.as_str() == "1" && number.radix() == 10);
        if !is_one {
            self.problems.push(
                Problem::at(value.span(), "this version of the policy language is not known")
                    .label("expected `1`")
                    .help("a newer guard may read it"),
            );
        }
    }

    fn lists(&mut self, value: &'a Value<'t>) {
        let Some(table) = self.table(value, "list") else { return };
        for (key, value) in sorted(table) {
            if value.get_ref().is_array() {
                self.lists.insert(key_name(key), (key.span(), value));
            } else {
                self.wrong_type(value, &format!("list `{}`", key_name(key)), "a list of strings");
            }
        }
    }

    fn unused_lists(&self) -> Vec<Problem> {
        let unused = self.lists.iter().filter(|(name, _)| !self.used.contains(name));
        let mut warnings: Vec<Problem> = unused
            .map(|(name, (span, _))| Problem::at(span.clone(), format!("the list `{name}` is never used")))
            .collect();
        warnings.sort_by_key(|warning| warning.span.as_ref().map(|span| span.start));
        warnings
    }

    fn agents(&mut self, value: &'a Value<'t>, policy: &mut Policy) {
        let Some(table) = self.table(value, "agent") else { return };
        for (key, value) in sorted(table) {
            let name = key_name(key);
            self.check_name(name, "agent", &key.span());
            let Some(table) = self.table(value, &format!("agent.{name}")) else { continue };
            let mut exe = None;
            for (key, value) in sorted(table) {
                match key_name(key) {
                    "exe" => exe = Some(self.items(value, "exe")),
                    _ => self.unknown_key(key, AGENT_KEYS),
                }
            }
            let Some(items) = exe else {
                self.problems.push(
                    Problem::at(key.span(), format!("the agent `{name}` has no `exe`"))
                        .help("name its executables, like `exe = [\"**/codex\"]`"),
                );
                continue;
            };
            let exe: Vec<Pattern> = self.patterns(&items, "exe", glob::parse);
            for item in items.iter().filter(|item| matches!(item.text.as_str(), "**" | "/**" | "**/*")) {
                self.problems.push(
                    Problem::at(item.span.clone(), "every program on the machine would be this agent")
                        .help("name its executable, like `**/codex`"),
                );
            }
            policy.agents.push(Agent { name: name.to_owned(), span: key.span(), exe });
        }
    }

    /// Whose processes are guarded because of where they run.
    fn scope(&mut self, value: &'a Value<'t>, policy: &mut Policy) {
        let Some(table) = self.table(value, "scope") else { return };
        for (key, value) in sorted(table) {
            match key_name(key) {
                "cgroup" => {
                    let items = self.items(value, "cgroup");
                    policy.groups = self.patterns(&items, "cgroup", group::parse);
                    policy.group_texts = items.into_iter().map(|item| item.text).collect();
                }
                _ => self.unknown_key(key, SCOPE_KEYS),
            }
        }
    }

    /// What is judged when a session ends does not depend on what it runs or how far it came.
    fn check_outlive(&mut self, fields: &HashMap<&str, Entry<'a, 't>>, ops: &[Op]) {
        for key in ["by", "phase"] {
            if let Some((name, _)) = fields.get(key).filter(|_| ops.contains(&Op::Outlive)) {
                self.problems.push(
                    Problem::at(name.span(), format!("`{key}` means nothing to `outlive`"))
                        .help("give `outlive` a rule of its own, with `scope` as its only condition"),
                );
            }
        }
    }

    /// A unix socket is bound by making it.
    fn check_bind<'r>(
        &mut self,
        fields: &HashMap<&str, Entry<'a, 't>>,
        ops: &[Op],
        targets: impl IntoIterator<Item = &'r Target>,
    ) {
        let sockets = targets.into_iter().any(|target| matches!(target, Target::Unix(_)));
        if let Some((_, value)) = fields.get("on").filter(|_| sockets && ops.contains(&Op::Bind)) {
            self.problems.push(
                Problem::at(value.span(), "`bind` is about internet addresses only")
                    .help("a unix socket is made at its path: give `create` a rule with that `path`"),
            );
        }
    }

    fn imports(&mut self, value: &'a Value<'t>, policy: &mut Policy) {
        let Some(table) = self.table(value, "import") else { return };
        for (key, value) in sorted(table) {
            match (key_name(key), value.get_ref().as_bool()) {
                ("codexignore", Some(imports)) => policy.import_codexignore = imports,
                ("codexignore", None) => self.wrong_type(value, "codexignore", "`true` or `false`"),
                _ => self.unknown_key(key, IMPORT_KEYS),
            }
        }
    }

    fn phases(&mut self, value: &'a Value<'t>, policy: &mut Policy) {
        let Some(phases) = value.get_ref().as_array() else {
            self.wrong_type(value, "phase", "tables `[[phase]]`");
            return;
        };
        for value in phases {
            let Some(table) = self.table(value, "phase") else { continue };
            let (mut name, mut marker) = (None, Vec::new());
            for (key, value) in sorted(table) {
                match key_name(key) {
                    "name" => name = self.string(value, "name").map(|name| (name, value.span())),
                    "marker" if policy.phases.is_empty() => self.problems.push(
                        Problem::at(key.span(), "no command begins the first phase")
                            .label("sessions start in it")
                            .help("give the marker to the phase that it begins"),
                    ),
                    "marker" => marker = self.conditions(value, "marker", argv::parse),
                    _ => self.unknown_key(key, PHASE_KEYS),
                }
            }
            let Some((name, span)) = name else {
                self.problems.push(Problem::at(value.span(), "a phase has no `name`"));
                continue;
            };
            self.check_name(name, "phase", &span);
            if policy.phases.iter().any(|phase| phase.name == name) {
                self.problems.push(Problem::at(span.clone(), format!("two phases have the name `{name}`")));
            }
            policy.phases.push(Phase { name: name.to_owned(), span, marker });
        }
        if policy.phases.len() > MAX_PHASES {
            self.problems.push(
                Problem::at(policy.phases[MAX_PHASES].span.clone(), "the policy has too many phases")
                    .label(format!("at most {MAX_PHASES}")),
            );
            policy.phases.truncate(MAX_PHASES);
        }
    }

    /// The phases that a rule holds in, a bit each: `phase` is a name, or a list of names.
    fn rule_phases(&mut self, value: &'a Value<'t>, policy: &Policy) -> u8 {
        let names: Vec<&'a Value<'t>> = match value.get_ref().as_array() {
            Some(items) => items.iter().collect(),
            None => vec![value],
        };
        let known: Vec<&str> = policy.phases.iter().map(|phase| phase.name.as_str()).collect();
        let mut phases = 0;
        for value in names {
            let Some(name) = self.string(value, "phase") else { continue };
            if let Some(number) = known.iter().position(|known| *known == name) {
                phases |= 1 << number;
                continue;
            }
            let problem = Problem::at(value.span(), format!("unknown phase `{}`", name.escape_debug()));
            let problem = if known.is_empty() {
                problem.help(format!("define the phases in their order: `[[phase]]` with `name = \"{name}\"`"))
            } else {
                problem.label(format!("expected {}", one_of(&known)))
            };
            self.problems.push(suggest(problem, name, &known));
        }
        phases
    }

    /// The executables of a rule's `by`.
    fn by(&mut self, value: &'a Value<'t>) -> Vec<Pattern> {
        let patterns = self.conditions(value, "by", glob::parse);
        if patterns.iter().any(|pattern| pattern.anchor == NODE_REPO) {
            self.problems.push(
                Problem::at(value.span(), "`by` can't name executables in `{repo}`")
                    .label("the session writes there, so they are whatever it likes")
                    .help("name the programs where they are installed"),
            );
        }
        patterns
    }

    fn defaults(&mut self, value: &'a Value<'t>, policy: &mut Policy) {
        let Some(table) = self.table(value, "default") else { return };
        for (key, value) in sorted(table) {
            let op = self.op(key_name(key), &key.span());
            let action = self.word(value, "action", &words(Action::ALL, Action::word), Action::from_word);
            if let (Some(op), Some(action)) = (op, action) {
                policy.defaults.push((op, action));
            }
        }
    }

    fn rules(&mut self, value: &'a Value<'t>, policy: &mut Policy) {
        let Some(rules) = value.get_ref().as_array() else {
            self.wrong_type(value, "rule", "tables `[[rule]]`");
            return;
        };
        let mut names: HashMap<String, Range<usize>> = HashMap::new();
        for value in rules {
            let Some(table) = self.table(value, "rule") else { continue };
            let Some(rule) = self.rule(table, &value.span(), policy) else { continue };
            if let Some(first) = names.get(&rule.name) {
                let problem = Problem::at(rule.span.clone(), format!("two rules have the name `{}`", rule.name));
                let before = if first.start < rule.span.start { "a rule before it has the name too" } else { "" };
                self.problems
                    .push(problem.label(before).help("events name the rule that decided: give each its own"));
            } else if !rule.name.is_empty() {
                names.insert(rule.name.clone(), rule.span.clone());
            }
            policy.rules.push(rule);
        }
    }

    /// Reads one rule. What is wrong with it is noted; a rule without operations or action is none.
    fn rule(&mut self, table: &'a DeTable<'t>, header: &Range<usize>, policy: &Policy) -> Option<Rule> {
        let mut fields: HashMap<&str, Entry<'a, 't>> = HashMap::new();
        for (key, value) in sorted(table) {
            if RULE_KEYS.contains(&key_name(key)) {
                fields.insert(key_name(key), (key, value));
            } else {
                self.unknown_key(key, RULE_KEYS);
            }
        }
        let value = |key: &str| fields.get(key).map(|(_, value)| *value);
        let name = value("name").and_then(|value| Some((self.string(value, "name")?, value.span())));
        if let Some((name, span)) = &name {
            self.check_name(name, "rule", span);
        }
        for key in RULE_REQUIRED {
            if !fields.contains_key(key) {
                let what = name.as_ref().map_or("a rule".to_owned(), |(name, _)| format!("the rule `{name}`"));
                let place = name.as_ref().map_or(header, |(_, span)| span);
                self.problems.push(Problem::at(place.clone(), format!("{what} has no `{key}`")));
            }
        }
        let ops = value("on").map(|value| self.ops(value)).unwrap_or_default();
        let action = value("action")
            .and_then(|value| self.word(value, "action", &words(Action::ALL, Action::word), Action::from_word));
        let scope = value("scope")
            .and_then(|value| self.word(value, "scope", &words(Scope::ALL, Scope::word), Scope::from_word));
        let network_stdin = value("stdin")
            .and_then(|value| self.word(value, "stdin", &["network"], |word| (word == "network").then_some(())));
        self.written.clear();
        let by = value("by").map(|value| self.by(value));
        let phases = value("phase").map(|value| self.rule_phases(value, policy));
        let reason = value("reason").and_then(|value| self.string(value, "reason")).map(str::to_owned);
        let (name, span) = name.map_or((String::new(), header.clone()), |(name, span)| (name.to_owned(), span));

        let on: Vec<Op> = ops.iter().map(|(op, _)| *op).collect();
        let except_kind = except_kind(&fields, &on);
        let path = value("path").map(|value| self.conditions(value, "path", glob::parse));
        let argv = value("argv").map(|value| self.conditions(value, "argv", argv::parse));
        let to = value("to").map(|value| self.conditions(value, "to", net::parse));
        let (mut except, mut except_to) = (Vec::new(), Vec::new());
        if let Some(value) = value("except") {
            let items = self.items(value, "except");
            match except_kind {
                Kind::To => except_to = self.patterns(&items, "except", net::parse),
                Kind::Argv => except = self.patterns(&items, "except", argv::parse),
                Kind::Path => except = self.patterns(&items, "except", glob::parse),
            }
        }
        self.check_conditions(&fields, &ops, except_kind);
        self.check_outlive(&fields, &on);
        self.check_bind(&fields, &on, to.iter().flatten().chain(&except_to));
        let mut rule = Rule {
            name,
            span,
            ops: on,
            scope,
            by,
            phases,
            path,
            argv,
            to,
            network_stdin: network_stdin.is_some(),
            except_kind,
            except,
            except_to,
            written: mem::take(&mut self.written),
            action: action?,
            reason,
        };
        normalize(&mut rule);
        (!rule.ops.is_empty()).then_some(rule)
    }

    /// The operations of a rule, with their places.
    fn ops(&mut self, value: &'a Value<'t>) -> Vec<(Op, Range<usize>)> {
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(value, "on", "a list of operations");
            return Vec::new();
        };
        if items.is_empty() {
            self.problems.push(Problem::at(value.span(), "the rule is about no operation"));
        }
        let mut ops: Vec<(Op, Range<usize>)> = Vec::new();
        for item in items {
            let Some(word) = self.string(item, "on") else { continue };
            let Some(op) = self.op(word, &item.span()) else { continue };
            if ops.iter().all(|(other, _)| *other != op) {
                ops.push((op, item.span()));
            }
        }
        ops
    }

    fn op(&mut self, word: &str, span: &Range<usize>) -> Option<Op> {
        let known = Op::from_word(word).filter(|op| OPS.contains(op));
        if known.is_none() {
            let all = words(&OPS, Op::word);
            let problem = Problem::at(span.clone(), format!("unknown operation `{word}`"));
            self.problems.push(suggest(problem.label(format!("expected one of {}", list(&all))), word, &all));
        }
        known
    }

    /// The patterns of a positive condition, which must have some.
    fn conditions<T>(
        &mut self,
        value: &'a Value<'t>,
        key: &'static str,
        parse: fn(&str) -> Result<Vec<T>, Fault>,
    ) -> Vec<T> {
        let before = self.problems.len();
        let items = self.items(value, key);
        if items.is_empty() && self.problems.len() == before {
            self.problems.push(
                Problem::at(value.span(), format!("`{key}` has no patterns, so the rule can never decide"))
                    .help(format!("to match everything leave `{key}` out")),
            );
        }
        self.patterns(&items, key, parse)
    }

    /// The patterns that the entries of `key` stand for.
    fn patterns<T>(&mut self, items: &[Item], key: &'static str, parse: fn(&str) -> Result<Vec<T>, Fault>) -> Vec<T> {
        let mut all = Vec::new();
        for item in items {
            match parse(&item.text) {
                Ok(patterns) => {
                    all.extend(patterns);
                    let Item { text, span, list } = item;
                    self.written.push(Written { key, text: text.clone(), span: span.clone(), list: list.clone() });
                }
                Err(Fault { what, help }) => {
                    let text = item.text.escape_debug();
                    let mut problem = Problem::at(item.span.clone(), format!("bad pattern `{text}`")).label(what);
                    problem.help = help;
                    problem.note = item.list.as_ref().map(|list| format!("in the list `{list}`"));
                    self.problems.push(problem);
                }
            }
        }
        all
    }

    /// The entries of a list of strings, with the lists that it names put in.
    fn items(&mut self, value: &'a Value<'t>, what: &str) -> Vec<Item> {
        let mut items = Vec::new();
        let mut open = Vec::new();
        self.add_items(value, what, None, &mut open, &mut items);
        items
    }

    fn add_items(
        &mut self,
        value: &'a Value<'t>,
        what: &str,
        list_name: Option<&'a str>,
        open: &mut Vec<&'a str>,
        items: &mut Vec<Item>,
    ) {
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(value, what, "a list of strings");
            return;
        };
        for value in array {
            let Some(text) = self.string(value, what) else { continue };
            let Some(name) = text.strip_prefix('@') else {
                items.push(Item { text: text.to_owned(), span: value.span(), list: list_name.map(str::to_owned) });
                continue;
            };
            let Some((&name, (_, list_value))) = self.lists.get_key_value(name) else {
                let known: Vec<&str> = self.lists.keys().copied().collect();
                let problem = Problem::at(value.span(), format!("unknown list `{name}`"))
                    .help(format!("define it: `[list]` with `{name} = [...]`"));
                self.problems.push(suggest(problem, name, &known));
                continue;
            };
            let list_value = *list_value;
            if !self.used.contains(&name) {
                self.used.push(name);
            }
            if open.contains(&name) {
                let problem = Problem::at(value.span(), format!("the list `{name}` contains itself"));
                self.problems.push(problem);
                continue;
            }
            // Lists that name lists twice each would double at every step.
            self.visits += 1;
            if open.len() >= MAX_NESTING || self.visits > MAX_VISITS {
                self.problems.push(
                    Problem::at(value.span(), "lists name lists too often")
                        .label(format!("at most {MAX_NESTING} deep, {MAX_VISITS} times in a policy")),
                );
                return;
            }
            open.push(name);
            self.add_items(list_value, &format!("list `{name}`"), Some(name), open, items);
            open.pop();
        }
    }

    /// A condition must mean something to an operation, and where there are any, each operation must have one.
    fn check_conditions(&mut self, fields: &HashMap<&str, Entry<'a, 't>>, ops: &[(Op, Range<usize>)], except: Kind) {
        let mut conditions: Vec<(&str, &dyn Fn(Op) -> bool)> = Vec::new();
        let path = |op| Kind::Path.applies(op);
        let argv = |op| Kind::Argv.applies(op);
        let to = |op| Kind::To.applies(op);
        let excepted = |op| except.applies(op);
        for (key, applies) in [
            ("path", &path as &dyn Fn(Op) -> bool),
            ("argv", &argv),
            ("stdin", &argv),
            ("to", &to),
            ("except", &excepted),
        ] {
            if fields.contains_key(key) {
                conditions.push((key, applies));
            }
        }
        if ops.is_empty() || conditions.is_empty() {
            return;
        }
        let mut met = false;
        for (key, applies) in &conditions {
            if ops.iter().any(|(op, _)| applies(*op)) {
                met = true;
                continue;
            }
            let applying: Vec<&str> = OPS.iter().filter(|op| applies(**op)).map(|op| op.word()).collect();
            let key_span = fields[key].0.span();
            self.problems.push(
                Problem::at(key_span, format!("`{key}` means nothing to the operations of this rule"))
                    .label(format!("it is a condition of {}", list(&applying))),
            );
        }
        for (op, span) in ops {
            if met && !conditions.iter().any(|(_, applies)| applies(*op)) {
                let keys: Vec<&str> = conditions.iter().map(|(key, _)| *key).collect();
                self.problems.push(
                    Problem::at(span.clone(), format!("the rule would decide every `{}`", op.word()))
                        .label(format!("{} means nothing to it", list(&keys)))
                        .help("give it a rule of its own"),
                );
            }
        }
        if fields.contains_key("path") && fields.contains_key("to") && fields.contains_key("except") {
            self.problems.push(
                Problem::at(fields["except"].0.span(), "`except` could belong to `path` or to `to`")
                    .help("make two rules of it"),
            );
        }
    }
}

/// What `except` belongs to.
fn except_kind(fields: &HashMap<&str, Entry<'_, '_>>, ops: &[Op]) -> Kind {
    if fields.contains_key("path") {
        Kind::Path
    } else if fields.contains_key("to") {
        Kind::To
    } else if fields.contains_key("argv") {
        Kind::Argv
    } else if !ops.is_empty() && ops.iter().all(|&op| Kind::To.applies(op)) {
        Kind::To
    } else {
        Kind::Path
    }
}

/// A condition that everything meets is none, unless something is excepted from it: then it is needed, so
/// that an object that is not known does not count as one that is not excepted.
fn normalize(rule: &mut Rule) {
    let excepts = |kind| rule.has_except() && rule.except_kind == kind;
    let (path, argv, to) = (excepts(Kind::Path), excepts(Kind::Argv), excepts(Kind::To));
    for (patterns, excepts) in [(&mut rule.path, path), (&mut rule.argv, argv)] {
        if patterns.as_ref().is_none_or(|patterns| patterns.iter().any(Pattern::is_everything)) {
            *patterns = excepts.then(|| vec![Pattern::everything()]);
        }
    }
    if rule.to.as_ref().is_none_or(|targets| targets.contains(&Target::Everything)) {
        rule.to = to.then(|| vec![Target::Everything]);
    }
}
