//! What was touched, and how often: files, programs and destinations. However many there are, no more than a
//! fixed number is kept, those that were touched most often.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use super::Quick;
use super::outcome::{Outcome, Outcomes};
use crate::top::seen::{Counted, Seen};

/// Objects that are kept.
const MAX_OBJECTS: usize = 10_000;
/// Sessions by which an object is known to have been touched.
const MAX_SESSIONS: usize = 99;

/// What kind of thing an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A file.
    File,
    /// A program that was executed.
    Program,
    /// An address.
    Address,
    /// A unix socket.
    Socket,
}

impl Kind {
    /// In a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Program => "program",
            Self::Address => "address",
            Self::Socket => "socket",
        }
    }
}

/// What was done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Opened to read.
    Read,
    /// Opened to write.
    Write,
    /// Executed.
    Exec,
    /// Connected to, or sent to.
    Connect,
    /// Anything else.
    Other,
}

/// Counts by use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses([u32; 5]);

impl Uses {
    /// So many more.
    pub fn add(&mut self, what: Use, count: u32) {
        self.0[what as usize] = self.0[what as usize].saturating_add(count);
    }

    /// How often it was used so.
    #[must_use]
    pub fn of(&self, what: Use) -> u64 {
        u64::from(self.0[what as usize])
    }

    /// How often it was used.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.0.iter().map(|count| u64::from(*count)).sum()
    }
}

/// The number of an object: a hash of its kind and name under a key of this process's own, so that nobody can make two alike.
pub type Id = u64;

/// Something that was touched.
#[derive(Clone, Debug)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Its name: a path, an address with its port, or a socket's name.
    pub name: Arc<str>,
    /// What was done to it.
    pub uses: Uses,
    /// What the verdicts about it came to.
    pub outcomes: Outcomes,
    /// Trees that did it.
    sessions: Vec<u64>,
    /// When it was last touched.
    pub last: u64,
}

impl Object {
    /// How many sessions have touched it, up to [`MAX_SESSIONS`].
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }
}

/// What an event is about.
#[derive(Debug)]
pub struct About<'a> {
    /// What kind of thing.
    pub kind: Kind,
    /// Its name.
    pub name: std::borrow::Cow<'a, str>,
    /// What was done.
    pub what: Use,
    /// How often.
    pub count: u32,
}

impl<'a> About<'a> {
    /// What an event is about, if it is about anything that has a name.
    #[must_use]
    pub fn of(seen: &'a Seen<'_>) -> Option<Self> {
        let named = Named { path: seen.path.as_deref(), addr: seen.addr.as_deref(), port: seen.port };
        Self::new(&seen.op, named, seen.host.as_deref(), 1)
    }

    /// What was counted, likewise.
    #[must_use]
    pub fn of_counted(counted: &'a Counted<'_>) -> Option<Self> {
        let named = Named { path: counted.path.as_deref(), addr: counted.addr.as_deref(), port: counted.port };
        Self::new(&counted.op, named, None, counted.count)
    }

    fn new(op: &str, named: Named<'a>, host: Option<&str>, count: u32) -> Option<Self> {
        let path = || named.path.map(std::borrow::Cow::Borrowed);
        let (kind, name, what) = match op {
            "exec" => (Kind::Program, path()?, Use::Exec),
            "read" => (Kind::File, path()?, Use::Read),
            "write" => (Kind::File, path()?, Use::Write),
            "connect" | "send" => match named.addr {
                Some(addr) => (Kind::Address, address(addr, named.port, host).into(), Use::Connect),
                None => (Kind::Socket, path()?, Use::Connect),
            },
            "session-start" | "session-end" | "phase" | "exit" | "fork" | "lost" | "outlive" => return None,
            _ => (Kind::File, path()?, Use::Other),
        };
        Some(Self { kind, name, what, count })
    }
}

/// What may name an object.
#[derive(Clone, Copy)]
struct Named<'a> {
    path: Option<&'a str>,
    addr: Option<&'a str>,
    port: Option<u16>,
}

/// An address with its port as people write it, and the name it was found by.
fn address(addr: &str, port: Option<u16>, host: Option<&str>) -> String {
    let mut text = match port {
        Some(port) if addr.contains(':') => format!("[{addr}]:{port}"),
        Some(port) => format!("{addr}:{port}"),
        None => addr.to_owned(),
    };
    if let Some(host) = host {
        text.push_str(" (");
        text.push_str(host);
        text.push(')');
    }
    text
}

/// All objects.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    known: HashMap<Id, Object, Quick>,
    keys: RandomState,
    /// Objects that had to be forgotten, those touched least.
    pub forgotten: u64,
}

impl Objects {
    /// Counts a touch; the object's number and name.
    pub fn touch(&mut self, about: &About<'_>, tree: u64, time: u64, outcome: Option<Outcome>) -> (Id, &Arc<str>) {
        let id = self.keys.hash_one((about.kind, &*about.name));
        if self.known.len() >= MAX_OBJECTS && !self.known.contains_key(&id) {
            self.forget();
        }
        let object = self.known.entry(id).or_insert_with(|| Object {
            kind: about.kind,
            name: (&*about.name).into(),
            uses: Uses::default(),
            outcomes: Outcomes::default(),
            sessions: Vec::new(),
            last: time,
        });
        object.uses.add(about.what, about.count);
        object.last = object.last.max(time);
        if let Some(outcome) = outcome {
            object.outcomes.add(outcome);
        }
        if object.sessions.last() != Some(&tree)
            && object.sessions.len() < MAX_SESSIONS
            && !object.sessions.contains(&tree)
        {
            object.sessions.push(tree);
        }
        (id, &object.name)
    }

    /// Drops the half that was touched least; what a verdict was about stays longest.
    fn forget(&mut self) {
        let weight = |object: &Object| (object.outcomes.worst(), object.uses.all(), object.last);
        let mut weights: Vec<_> = self.known.iter().map(|(id, object)| (weight(object), *id)).collect();
        let middle = weights.len() / 2;
        let (less, ..) = weights.select_nth_unstable(middle);
        self.forgotten += less.len() as u64;
        for (_, id) in less {
            self.known.remove(id);
        }
    }

    /// The object of this number, if it was not forgotten.
    #[must_use]
    pub fn get(&self, id: Id) -> Option<&Object> {
        self.known.get(&id)
    }

    /// All that are known, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &Object)> {
        self.known.iter().map(|(id, object)| (*id, object))
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing was touched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_touched_often_stays() {
        let mut objects = Objects::default();
        let mut touch = |name: String| {
            let about = About { kind: Kind::File, name: name.into(), what: Use::Read, count: 1 };
            objects.touch(&about, 1, 5, None).0
        };
        let often = touch("/often".to_owned());
        for number in 0..3 * MAX_OBJECTS {
            assert_eq!(touch("/often".to_owned()), often);
            touch(format!("/{number}"));
        }
        assert!(objects.len() <= MAX_OBJECTS);
        assert_eq!(objects.get(often).expect("there").uses.of(Use::Read), 3 * MAX_OBJECTS as u64 + 1);
        assert_eq!(objects.len() as u64 + objects.forgotten, 3 * MAX_OBJECTS as u64 + 1);
    }
}
