//! Questions that people ask a policy: what it decides on this operation, on that object, in such a session.

use std::net::SocketAddr;

use guard_common::walk::FACT_NETWORK_STDIN;
use guard_common::words::{Op, Scope};

use super::rule::Kind;
use super::tables::{Decision, Object, Places, Tables};

/// A question.
#[derive(Clone, Debug)]
pub struct Question {
    /// What is attempted.
    pub op: Op,
    /// On what.
    pub thing: Thing,
    /// On whose behalf.
    pub scope: Scope,
    /// The session's repository.
    pub repo: Option<String>,
    /// The user's home.
    pub home: Option<String>,
    /// The executable of the process that attempts it; without it, one that no rule names.
    pub exe: Option<String>,
    /// Number of the phase that the session is in, from 0.
    pub phase: u32,
    /// Standard input is a pipe that brings data from the network.
    pub network_stdin: bool,
}

/// What an operation is attempted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thing {
    /// A file, by its true path.
    File(String),
    /// A program, by its true path, with the words of its command line.
    Command(String, Vec<String>),
    /// A unix socket, by its path, or by its abstract name with `@` in front.
    Socket(String),
    /// An address and port.
    Address(SocketAddr),
    /// The process itself.
    Itself,
}

impl Thing {
    /// The address or socket that `text` names, written as in a policy.
    pub fn from_to(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with(['/', '@']) {
                Ok(Self::Socket(path.to_owned()))
            } else {
                Err(format!("`{text}` is no socket: after `unix:` its true path is expected, or `@` and its name"))
            };
        }
        text.parse().map(Self::Address).map_err(|_| {
            format!("`{text}` is no address: expected one with its port, like `10.0.0.1:443`, or `unix:/run/x.sock`")
        })
    }

    /// Whether `op` can be attempted on it.
    #[must_use]
    pub fn fits(&self, op: Op) -> bool {
        match self {
            Self::Command(..) => op == Op::Exec,
            Self::File(_) => Kind::Path.applies(op) && op != Op::Exec,
            Self::Socket(_) => Kind::To.applies(op) && op != Op::Bind,
            Self::Address(_) => Kind::To.applies(op),
            Self::Itself => op == Op::Outlive,
        }
    }
}

/// The words of a command line as a shell would make them.
pub fn words(line: &str) -> Result<Vec<String>, String> {
    match shlex::split(line) {
        Some(words) if !words.is_empty() => Ok(words),
        Some(_) => Err("the command line has no words".to_owned()),
        None => Err(format!("`{line}` is no command line: a quote is never closed")),
    }
}

impl std::fmt::Display for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.write_str(path),
            Self::Command(path, argv) => {
                let line = shlex::try_join(argv.iter().map(String::as_str)).unwrap_or_else(|_| argv.join(" "));
                write!(f, "{path} as `{line}`")
            }
            Self::Socket(path) => write!(f, "unix:{path}"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Itself => f.write_str("a process"),
        }
    }
}

impl Question {
    /// What is decided.
    pub fn decide(&self, tables: &mut Tables<'_>) -> Decision {
        let places =
            Places { repo: self.repo.as_deref().map(str::as_bytes), home: self.home.as_deref().map(str::as_bytes) };
        let facts = if self.network_stdin { FACT_NETWORK_STDIN } else { 0 };
        tables.run_by(self.exe.as_deref().unwrap_or_default().as_bytes(), &places);
        tables.in_phase(self.phase);
        let mut to = |object: &Object<'_>| tables.decide(self.op, self.scope, object, &places, facts);
        match &self.thing {
            Thing::File(path) => to(&Object::Path(path.as_bytes())),
            Thing::Command(path, words) => {
                let argv: Vec<u8> =
                    words.iter().flat_map(|word| [word.as_bytes(), b"\0"]).flatten().copied().collect();
                to(&Object::Command { path: path.as_bytes(), argv: &argv })
            }
            Thing::Socket(path) => to(&Object::Socket(path.as_bytes())),
            Thing::Address(address) => to(&Object::Address { ip: address.ip(), port: address.port() }),
            Thing::Itself => to(&Object::Unknown),
        }
    }
}
