//! What a way out is, and how it can end.

use std::io;
use std::path::Path;

use nix::libc;

use crate::place::Place;

/// One way out: a real attempt, and what is expected of it.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// What it is called.
    pub name: &'static str,
    /// What it is after.
    pub class: Class,
    /// The policy's rule that it should run into.
    pub rule: &'static str,
    /// What it tries, in a line.
    pub tries: &'static str,
    /// What the machine must have for it.
    pub needs: &'static [Need],
    /// A file that the guarded process inherits as descriptor 9, to read and to write, or a folder.
    pub inherits: Option<&'static str>,
    /// Its place lies on a filesystem of its own in memory, mounted before guard starts, as /home often is: some ways need it,
    /// some take what an overlay does not have.
    pub apart: bool,
    /// What somebody outside of the tree does before.
    pub before: Part,
    /// What somebody outside of the tree does meanwhile.
    pub beside: Part,
    /// What the guarded process does.
    pub attempt: Part,
    /// How it ends, by column.
    pub ends: Ends,
}

/// What a way is after, and so how its success shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The bytes of `denied/secret` on standard output, or anywhere else outside.
    Read,
    /// A change in the folder `protected`.
    Write,
    /// The word, said by a program that must not run.
    Exec,
    /// Anything heard by a listener.
    Connect,
    /// Anything done by a process outside of the tree.
    Escape,
}

impl Class {
    /// Its word in the table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Exec => "exec",
            Self::Connect => "connect",
            Self::Escape => "escape",
        }
    }
}

/// What not every machine has.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// A program on the path.
    Program(&'static str),
    /// A file.
    File(&'static str),
    /// Sockets of a family, a type and a protocol.
    Socket(&'static str, i32, i32, i32),
}

impl Need {
    /// What is missing, if it is.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Program(name) => {
                let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
                let there = folders.iter().any(|folder| Path::new(folder).join(name).exists());
                (!there).then(|| format!("no program {name}"))
            }
            Self::File(path) => (!Path::new(path).exists()).then(|| format!("no {path}")),
            Self::Socket(name, family, kind, protocol) => {
                // SAFETY: no pointers; the descriptor is closed at once.
                let there = unsafe {
                    let fd = libc::socket(family, kind, protocol);
                    libc::close(fd);
                    fd >= 0
                };
                (!there).then(|| format!("no {name} sockets"))
            }
        }
    }
}

/// What one of those taking part does.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// Nothing: nobody is there.
    Nothing,
    /// A shell script in the place's folder. `$attempt` is the program of the same name, `$place` the folder, `$word`
    /// what has to get out, where it isn't the secret.
    Sh(&'static str),
    /// Code.
    Code(fn(&Place) -> io::Result<()>),
}

/// How a way has ended, or is expected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Refused; nothing happened.
    Prevented,
    /// It happened, and the process was killed before it got anything out of it.
    Contained,
    /// It got through, and is on record.
    Seen,
    /// It got through, and nothing says so.
    Open,
    /// Expected only: whoever is faster wins, so at times contained and at times seen.
    Raced,
}

impl Outcome {
    /// Its word in the table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Prevented => "prevented",
            Self::Contained => "contained",
            Self::Seen => "seen",
            Self::Open => "**open**",
            Self::Raced => "contained, at times **seen**",
        }
    }

    /// Whether this expectation is met by what was found.
    pub fn met_by(self, found: Self) -> bool {
        self == found || self == Self::Raced && [Self::Contained, Self::Seen].contains(&found)
    }
}

/// A column of the table: what guard can do differs by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Signals, on kernels that do not show the results of `io_uring`.
    Older,
    /// Signals.
    Signal,
    /// Security hooks.
    Lsm,
}

impl Column {
    /// All of them, as the table has them.
    pub const ALL: [Self; 3] = [Self::Older, Self::Signal, Self::Lsm];

    /// Its heading.
    pub fn word(self) -> &'static str {
        match self {
            Self::Older => "`signal`, up to 6.12",
            Self::Signal => "`signal`",
            Self::Lsm => "`lsm`",
        }
    }
}

/// The expectation for each column.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    older: Outcome,
    signal: Outcome,
    lsm: Outcome,
}

impl Ends {
    /// That for this column.
    pub fn on(self, column: Column) -> Outcome {
        match column {
            Column::Older => self.older,
            Column::Signal => self.signal,
            Column::Lsm => self.lsm,
        }
    }
}

/// A way whose attempt is contained by signals and prevented by security hooks, unless more is said of it.
pub const fn way(class: Class, rule: &'static str, name: &'static str, tries: &'static str, attempt: Part) -> Way {
    let ends = Ends { older: Outcome::Contained, signal: Outcome::Contained, lsm: Outcome::Prevented };
    Way {
        name,
        class,
        rule,
        tries,
        needs: &[],
        inherits: None,
        apart: false,
        before: Part::Nothing,
        beside: Part::Nothing,
        attempt,
        ends,
    }
}

impl Way {
    /// With something done before, outside of the tree.
    pub const fn before(self, before: Part) -> Self {
        Self { before, ..self }
    }

    /// With somebody outside of the tree taking part.
    pub const fn beside(self, beside: Part) -> Self {
        Self { beside, ..self }
    }

    /// With a descriptor 9 from outside of the tree.
    pub const fn inherits(self, file: &'static str) -> Self {
        Self { inherits: Some(file), ..self }
    }

    /// On a filesystem of its own.
    pub const fn apart(self) -> Self {
        Self { apart: true, ..self }
    }

    /// Only where the machine has these.
    pub const fn needs(self, needs: &'static [Need]) -> Self {
        Self { needs, ..self }
    }

    /// Whether a second thread has to be faster than the first.
    pub fn is_raced(&self) -> bool {
        self.ends.signal == Outcome::Raced
    }

    /// Expected to end like this under signals and under security hooks.
    pub const fn ends(self, signal: Outcome, lsm: Outcome) -> Self {
        Self { ends: Ends { older: signal, signal, lsm }, ..self }
    }

    /// Expected to end like this under signals where the kernel does not show what `io_uring` does.
    pub const fn older(self, older: Outcome) -> Self {
        Self { ends: Ends { older, ..self.ends }, ..self }
    }
}
