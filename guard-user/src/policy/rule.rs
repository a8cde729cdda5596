//! A policy as it was understood: what the reader makes of the text, and the compiler of that.

use std::ops::Range;

use guard_common::words::{Action, Mode, Op, Scope};

use super::net::Target;
use super::pattern::Pattern;
use super::{argv, glob, net};

/// Operations that rules can be about.
pub const OPS: [Op; 16] = [
    Op::Exec,
    Op::Read,
    Op::Write,
    Op::Create,
    Op::Delete,
    Op::Rename,
    Op::Link,
    Op::Chmod,
    Op::Connect,
    Op::Send,
    Op::Bind,
    Op::Signal,
    Op::Ptrace,
    Op::Mount,
    Op::Privilege,
    Op::Outlive,
];

/// A condition on the object or the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `path`.
    Path,
    /// `argv`.
    Argv,
    /// `to`.
    To,
}

impl Kind {
    /// Whether the condition means something for `op`.
    pub fn applies(self, op: Op) -> bool {
        match self {
            Self::Path => !Self::To.applies(op) && !matches!(op, Op::Outlive | Op::Enrol),
            Self::Argv => op == Op::Exec,
            Self::To => matches!(op, Op::Connect | Op::Send | Op::Bind),
        }
    }
}

/// A whole policy.
#[derive(Debug, Default)]
pub struct Policy {
    pub mode: Option<Mode>,
    /// Whether each session's repository may forbid more by its `.codexignore`.
    pub import_codexignore: bool,
    /// In their order; empty where sessions have none.
    pub phases: Vec<Phase>,
    pub agents: Vec<Agent>,
    /// Control groups whose processes are all guarded.
    pub groups: Vec<Pattern>,
    /// The same as they were written.
    pub group_texts: Vec<String>,
    pub defaults: Vec<(Op, Action)>,
    pub rules: Vec<Rule>,
}

/// A phase of sessions, and the commands that begin it.
#[derive(Debug)]
pub struct Phase {
    pub name: String,
    pub span: Range<usize>,
    pub marker: Vec<Pattern>,
}

/// An agent and its executables.
#[derive(Debug)]
pub struct Agent {
    pub name: String,
    pub span: Range<usize>,
    pub exe: Vec<Pattern>,
}

/// A rule. A condition that is not there, or that everything meets, is `None`.
#[derive(Debug)]
pub struct Rule {
    pub name: String,
    /// Where the name stands.
    pub span: Range<usize>,
    pub ops: Vec<Op>,
    pub scope: Option<Scope>,
    /// Executables of which the process must run one.
    pub by: Option<Vec<Pattern>>,
    /// Phases in which the rule holds, a bit each.
    pub phases: Option<u8>,
    pub path: Option<Vec<Pattern>>,
    pub argv: Option<Vec<Pattern>>,
    pub to: Option<Vec<Target>>,
    pub network_stdin: bool,
    /// What is excepted, and from which condition. At most one of the two lists has entries.
    pub except_kind: Kind,
    pub except: Vec<Pattern>,
    pub except_to: Vec<Target>,
    /// All its patterns as they were written.
    pub written: Vec<Written>,
    pub action: Action,
    pub reason: Option<String>,
}

/// An entry of a condition as it was written; it may stand for many patterns.
#[derive(Clone, Debug)]
pub struct Written {
    /// The condition: `path`, `argv`, `to`, `by` or `except`.
    pub key: &'static str,
    pub text: String,
    pub span: Range<usize>,
    /// The list that it came from.
    pub list: Option<String>,
}

/// The patterns that an entry stands for.
#[derive(Debug)]
pub enum Patterns {
    /// Of true paths.
    Paths(Vec<Pattern>),
    /// Of command lines.
    Commands(Vec<Pattern>),
    /// Of addresses and sockets.
    Targets(Vec<Target>),
}

impl Written {
    /// Whether it says what is excepted.
    pub fn is_except(&self) -> bool {
        self.key == "except"
    }

    /// Whether it is about the object, and says what is matched.
    pub fn is_about_object(&self) -> bool {
        !matches!(self.key, "except" | "by")
    }

    /// Its text, without the word that says that the path is a socket's.
    pub fn path_text(&self) -> &str {
        self.text.strip_prefix("unix:").unwrap_or(&self.text)
    }
}

impl Rule {
    /// Whether something is excepted from the rule.
    pub fn has_except(&self) -> bool {
        !self.except.is_empty() || !self.except_to.is_empty()
    }

    /// What one of the rule's entries stands for. It was read before without a fault.
    pub fn patterns(&self, written: &Written) -> Patterns {
        let kind = match written.key {
            "path" | "by" => Kind::Path,
            "argv" => Kind::Argv,
            "to" => Kind::To,
            _ => self.except_kind,
        };
        match kind {
            Kind::Path => Patterns::Paths(glob::parse(&written.text).unwrap_or_default()),
            Kind::Argv => Patterns::Commands(argv::parse(&written.text).unwrap_or_default()),
            Kind::To => Patterns::Targets(net::parse(&written.text).unwrap_or_default()),
        }
    }

    /// Whether the rule is about operations in `scope`.
    pub fn in_scope(&self, scope: Scope) -> bool {
        self.scope.is_none_or(|mine| mine == scope)
    }
}
