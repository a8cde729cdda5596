//! From what was seen to the smallest sensible policy that would have allowed it.
//!
//! Events are taken one by one, so their number does not matter; what is kept of them is their patterns. The policy
//! that comes of it begins with the rules by which the default policy denies, for a pattern takes in more than was
//! seen.

mod base;
mod event;
mod fold;
mod general;
mod name;
mod to;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead};

use guard_common::words::{Action, Op, Scope};

use super::{Compiled, Failure, Object, Tables, compile, default_text};
use event::Event;
pub use general::Places;
use general::{Use, pattern};

/// Longest line that is taken for an event.
const MAX_LINE: usize = 1 << 20;

/// What is known of a pattern.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How often it was used.
    count: u64,
    /// One of the things that it stands for.
    example: String,
    /// In which scopes, by their numbers.
    scopes: [bool; 2],
}

impl Seen {
    fn once(example: &str, scope: Scope) -> Self {
        let mut seen = Self { count: 1, example: example.to_owned(), scopes: [false; 2] };
        seen.scopes[scope as usize] = true;
        seen
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        if self.example.is_empty() {
            self.example.clone_from(&other.example);
        }
        for (mine, others) in self.scopes.iter_mut().zip(other.scopes) {
            *mine |= others;
        }
    }
}

/// What stays denied, or can't be allowed: operation, object and why.
type Denied = BTreeMap<(&'static str, String, String), u64>;

/// Takes events in.
pub struct Learner<'a> {
    tables: Tables<'a>,
    default: &'a Compiled,
    /// What the caller knows better than the events.
    known: Places,
    /// Where the places of each tree are.
    trees: HashMap<String, Places>,
    patterns: HashMap<Op, BTreeMap<String, Seen>>,
    denied: Denied,
    events: u64,
    garbage: u64,
    lost: u64,
}

/// The policy that nothing is learned against.
///
/// # Errors
/// Never, as the tests see to.
pub fn default_policy() -> Result<Compiled, Failure> {
    compile("the policy that guard ships", default_text())
}

/// What one event was about.
struct Attempt<'e> {
    op: Op,
    scope: Scope,
    thing: Thing<'e>,
    verdict: Option<&'e event::Verdict<'e>>,
}

/// What an event names.
enum Thing<'e> {
    Path(&'e str, Use),
    Program(&'e str, Vec<u8>),
    Socket(&'e str),
    Address(std::net::IpAddr, u16),
}

impl<'a> Learner<'a> {
    /// A learner that proposes nothing which `default` denies; `known` goes before what events tell of places.
    #[must_use]
    pub fn new(default: &'a Compiled, known: Places) -> Self {
        Self {
            tables: default.tables(),
            default,
            known,
            trees: HashMap::new(),
            patterns: HashMap::new(),
            denied: Denied::new(),
            events: 0,
            garbage: 0,
            lost: 0,
        }
    }

    /// Takes all events of a file in. Lines that are none are counted.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn read(&mut self, mut from: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = io::Read::take(&mut from, MAX_LINE as u64).read_until(b'\n', &mut line)?;
            if length == 0 {
                return Ok(());
            }
            if line.len() == MAX_LINE && line.last() != Some(&b'\n') {
                from.skip_until(b'\n')?;
                self.garbage += 1;
            } else if !line.trim_ascii().is_empty() {
                self.line(&line);
            }
        }
    }

    /// Takes one line in.
    fn line(&mut self, line: &[u8]) {
        let Ok(event) = serde_json::from_slice::<Event<'_>>(line) else {
            self.garbage += 1;
            return;
        };
        self.events += 1;
        match event.op.as_ref() {
            "session-start" => self.started(&event),
            "lost" => self.lost += event.count.unwrap_or(1),
            word => {
                if let Some(op) = Op::from_word(word) {
                    self.operation(op, &event);
                }
            }
        }
    }

    fn started(&mut self, event: &Event<'_>) {
        let owned = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
        if let Some(tree) = owned(&event.tree) {
            self.trees.insert(tree, Places { repo: owned(&event.repo), home: owned(&event.home) });
        }
    }

    /// Where the places of an event's session are.
    fn places(&self, event: &Event<'_>) -> Places {
        let told = event.tree.as_deref().and_then(|tree| self.trees.get(tree)).cloned().unwrap_or_default();
        Places { repo: self.known.repo.clone().or(told.repo), home: self.known.home.clone().or(told.home) }
    }

    fn operation(&mut self, op: Op, event: &Event<'_>) {
        let scope = event.scope.as_deref().and_then(Scope::from_word).unwrap_or(Scope::Tool);
        let places = self.places(event);
        let attempt = |op, thing| Attempt { op, scope, thing, verdict: event.verdict.as_ref() };
        match (op, event.path.as_deref(), event.addr.as_deref()) {
            (Op::Exec, Some(path), _) => {
                let words = event.argv.iter().flatten().flat_map(|word| word.bytes().chain([0])).collect();
                self.attempt(&attempt(op, Thing::Program(path, words)), &places);
            }
            (Op::Read | Op::Write, Some(path), _) => {
                // One open can be both, and is told as one of the two.
                let open = event.open.unwrap_or_default();
                for (op, also) in
                    [(Op::Read, open.read || op == Op::Read), (Op::Write, open.write || op == Op::Write)]
                {
                    let used = match op {
                        _ if open.created => Use::Create,
                        Op::Read => Use::Read,
                        _ => Use::Write,
                    };
                    if also {
                        self.attempt(&attempt(op, Thing::Path(path, used)), &places);
                    }
                }
            }
            (Op::Connect | Op::Send, Some(path), _) => {
                self.attempt(&attempt(op, Thing::Socket(path)), &places);
            }
            (Op::Connect | Op::Send, None, Some(address)) => {
                if let Ok(ip) = address.parse() {
                    self.attempt(&attempt(op, Thing::Address(ip, event.port.unwrap_or(0))), &places);
                }
            }
            (Op::Exec | Op::Read | Op::Write | Op::Connect | Op::Send, ..) => {
                self.deny(op, "something that could not be found out", "no pattern matches it");
            }
            // Of the others only the default policy's own rules speak.
            _ => {}
        }
    }

    fn attempt(&mut self, attempt: &Attempt<'_>, places: &Places) {
        let op = attempt.op;
        let shown = attempt.thing.shown();
        let denied = attempt.verdict.filter(|verdict| matches!(verdict.action.as_ref(), "deny" | "kill"));
        if let Some(rule) = denied.and_then(|verdict| verdict.rule.as_deref()) {
            self.deny(op, &shown, &format!("denied then by rule {rule}"));
            return;
        }
        if let Some(rule) = self.denied_by_default(attempt, places) {
            self.deny(op, &shown, &format!("rule {rule}"));
            return;
        }
        match attempt.thing.pattern(&places.clone().sensible()) {
            Some(pattern) => {
                let seen = Seen::once(&shown, attempt.scope);
                self.patterns.entry(op).or_default().entry(pattern).or_default().add(&seen);
            }
            None => self.deny(op, &shown, "no pattern matches it"),
        }
    }

    /// The rule by which the default policy denies this, if it does.
    fn denied_by_default(&mut self, attempt: &Attempt<'_>, places: &Places) -> Option<String> {
        let bytes = |place: &'_ Option<String>| place.as_ref().map(|place| place.as_bytes().to_vec());
        let (repo, home) = (bytes(&places.repo), bytes(&places.home));
        let places = super::Places { repo: repo.as_deref(), home: home.as_deref() };
        let object = match &attempt.thing {
            Thing::Path(path, _) => Object::Path(path.as_bytes()),
            Thing::Program(path, argv) => Object::Command { path: path.as_bytes(), argv },
            Thing::Socket(path) => Object::Socket(path.as_bytes()),
            Thing::Address(ip, port) => Object::Address { ip: *ip, port: *port },
        };
        let decision = self.tables.decide(attempt.op, attempt.scope, &object, &places, 0);
        let rule = decision.rule.and_then(|rule| self.default.rules.get(usize::from(rule)));
        (decision.action >= Action::Deny).then(|| rule.map_or("default", |rule| &rule.name).to_owned())
    }

    fn deny(&mut self, op: Op, what: &str, why: &str) {
        *self.denied.entry((op.word(), what.to_owned(), why.to_owned())).or_default() += 1;
    }

    /// How many events there were, and how many lines that are none.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.events, self.garbage)
    }

    /// The policy.
    #[must_use]
    pub fn policy(mut self) -> String {
        for (op, entries) in &mut self.patterns {
            match op {
                Op::Connect | Op::Send => to::fold(entries),
                // Programs are named each, whatever lies beside them.
                Op::Exec => {}
                _ => fold::paths(entries),
            }
        }
        write::policy(&self)
    }
}

impl Thing<'_> {
    fn shown(&self) -> String {
        match self {
            Self::Path(path, _) | Self::Program(path, _) | Self::Socket(path) => (*path).to_owned(),
            Self::Address(ip, port) => std::net::SocketAddr::new(*ip, *port).to_string(),
        }
    }

    fn pattern(&self, places: &Places) -> Option<String> {
        match self {
            Self::Path(path, used) => pattern(path, *used, places),
            Self::Program(path, _) => pattern(path, Use::Exact, places),
            Self::Socket(path) => to::socket(path, places),
            Self::Address(ip, port) => Some(to::address(*ip, *port)),
        }
    }
}
