//! What path globs and command-line patterns have in common: components, wildcards and alternatives.
//!
//! A pattern's text is first cut into [`Atom`]s, which settles escapes, quotes and classes once; then its
//! `{a,b}` are multiplied out; and each result becomes one [`Pattern`].

use guard_common::walk::MAX_TEXT;

use super::bytes::ByteSet;

/// Patterns that one text may stand for after its alternatives are multiplied out.
pub const MAX_ALTERNATIVES: usize = 1000;
/// How deep alternatives may be nested.
const MAX_DEPTH: usize = 16;
/// Components of a pattern; a firing's length must fit a byte.
const MAX_COMPONENTS: usize = 200;

/// One element of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Token {
    /// One byte of a set, which never holds the separator.
    Set(ByteSet),
    /// Any number of bytes of the same component.
    Star,
}

/// One element of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Any number of whole components: `**`.
    Deep,
    /// One component.
    Component(Vec<Token>),
}

/// How a pattern ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tail {
    /// With its last component.
    End,
    /// With one or more further components: `a/**` is what lies in `a`.
    Below,
    /// With any number of further components: `git push **` may be the whole command.
    Any,
}

/// A pattern without alternatives, in normal form: `**` is never repeated and never last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// Where it starts, one of the table's anchors.
    pub anchor: u16,
    /// Its elements.
    pub parts: Vec<Part>,
    /// Its end.
    pub tail: Tail,
}

/// What is wrong with a pattern, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Fault {
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), help: None }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl Pattern {
    /// The pattern that matches everything.
    pub fn everything() -> Self {
        Self { anchor: guard_common::table::NODE_ROOT, parts: Vec::new(), tail: Tail::Any }
    }

    /// Whether it matches every text.
    pub fn is_everything(&self) -> bool {
        self.anchor == guard_common::table::NODE_ROOT && self.parts.is_empty() && self.tail != Tail::End
    }
}

/// Smallest piece of a pattern's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Atom {
    Byte(u8),
    Class(ByteSet),
    Star,
    Separator,
    Open,
    Comma,
    Close,
}

/// Cuts texts into atoms.
pub struct Lexer {
    /// Byte between components, which no wildcard matches.
    pub separator: u8,
    /// The text is a command line: blanks separate, and quotes hold blanks.
    pub words: bool,
}

impl Lexer {
    /// The atoms of `text`.
    pub fn atoms(&self, text: &str) -> Result<Vec<Atom>, Fault> {
        let bytes = text.as_bytes();
        if bytes.len() > MAX_TEXT {
            return Err(Fault::new(format!("it is longer than {MAX_TEXT} bytes, the longest that is looked at")));
        }
        let mut atoms = Vec::with_capacity(bytes.len());
        let mut depth = 0usize;
        let mut quoted = false;
        let mut i = 0;
        while let Some(&byte) = bytes.get(i) {
            i += 1;
            match byte {
                0 => return Err(Fault::new("a NUL byte can never match")),
                b'\\' => {
                    let Some(&escaped) = bytes.get(i) else {
                        return Err(Fault::new("the backslash at the end escapes nothing").help("write `\\\\`"));
                    };
                    i += 1;
                    atoms.push(if escaped == b'/' && !self.words { Atom::Separator } else { Atom::Byte(escaped) });
                }
                b'\'' if self.words && !quoted => {
                    let Some(length) = bytes[i..].iter().position(|&byte| byte == b'\'') else {
                        return Err(Fault::new("the quote `'` is never closed").help("for the character write `\\'`"));
                    };
                    atoms.extend(bytes[i..i + length].iter().map(|&byte| Atom::Byte(byte)));
                    i += length + 1;
                }
                b'"' if self.words => quoted = !quoted,
                b' ' | b'\t' if self.words && !quoted => {
                    while matches!(bytes.get(i), Some(b' ' | b'\t')) {
                        i += 1;
                    }
                    // Blanks at the end separate nothing.
                    if i < bytes.len() {
                        atoms.push(Atom::Separator);
                    }
                }
                b'/' if !self.words => atoms.push(Atom::Separator),
                b'*' => atoms.push(Atom::Star),
                b'?' => atoms.push(Atom::Class(self.any())),
                b'[' => {
                    let (class, length) = self.class(&text[i..])?;
                    atoms.push(Atom::Class(class));
                    i += length;
                }
                b'{' => {
                    depth += 1;
                    if depth > MAX_DEPTH {
                        return Err(Fault::new(format!("`{{` is nested more than {MAX_DEPTH} deep")));
                    }
                    atoms.push(Atom::Open);
                }
                b'}' => {
                    depth = depth.checked_sub(1).ok_or_else(|| {
                        Fault::new("`}` closes nothing").help("for the character itself write `\\}`")
                    })?;
                    atoms.push(Atom::Close);
                }
                b',' if depth > 0 => atoms.push(Atom::Comma),
                _ => atoms.push(Atom::Byte(byte)),
            }
        }
        if quoted {
            return Err(Fault::new("the quote `\"` is never closed").help("for the character itself write `\\\"`"));
        }
        if depth > 0 {
            return Err(Fault::new("`{` is never closed").help("for the character itself write `\\{`"));
        }
        Ok(atoms)
    }

    /// What `?` matches.
    fn any(&self) -> ByteSet {
        let mut set = ByteSet::all();
        set.remove(self.separator);
        set
    }

    /// The class whose `[` stands before `text`, and its length up to and with the `]`.
    fn class(&self, text: &str) -> Result<(ByteSet, usize), Fault> {
        let bytes = text.as_bytes();
        let unclosed = || Fault::new("`[` is never closed").help("for the character itself write `\\[`");
        let negated = matches!(bytes.first(), Some(b'!' | b'^'));
        let first = usize::from(negated);
        let mut set = ByteSet::default();
        let mut i = first;
        loop {
            let &byte = bytes.get(i).ok_or_else(unclosed)?;
            // As everywhere, a `]` that comes first is a character of the class.
            if byte == b']' && i > first {
                i += 1;
                break;
            }
            let low = Self::class_byte(bytes, &mut i).ok_or_else(unclosed)?;
            let mut high = low;
            if bytes.get(i) == Some(&b'-') && !matches!(bytes.get(i + 1), Some(b']') | None) {
                i += 1;
                high = Self::class_byte(bytes, &mut i).ok_or_else(unclosed)?;
            }
            if !low.is_ascii() || !high.is_ascii() {
                return Err(Fault::new("a class can only hold ASCII characters, for it stands for one byte")
                    .help("write alternatives in braces, like `{é,è}`"));
            }
            if low > high {
                let range = format!("{}-{}", char::from(low), char::from(high));
                return Err(Fault::new(format!("the range `{range}` is the wrong way round")));
            }
            if low == 0 {
                return Err(Fault::new("a NUL byte can never match"));
            }
            if !self.words && low <= b'/' && b'/' <= high && low == high {
                return Err(Fault::new("a class cannot match `/`, which separates components"));
            }
            for byte in low..=high {
                set.insert(byte);
            }
        }
        if negated {
            set = set.complement();
        }
        set.remove(self.separator);
        if set.is_empty() {
            return Err(Fault::new("the class matches no byte at all"));
        }
        Ok((set, i))
    }

    /// The byte of a class at `*i`, which is moved on.
    fn class_byte(bytes: &[u8], i: &mut usize) -> Option<u8> {
        if bytes.get(*i) == Some(&b'\\') {
            *i += 1;
        }
        let byte = bytes.get(*i).copied();
        *i += 1;
        byte
    }
}

/// Multiplies the alternatives of `atoms` out.
pub fn alternatives(atoms: &[Atom]) -> Result<Vec<Vec<Atom>>, Fault> {
    let mut rest = atoms;
    sequence(&mut rest)
}

/// The alternatives of what stands before the next `,` or `}` of this depth.
fn sequence(rest: &mut &[Atom]) -> Result<Vec<Vec<Atom>>, Fault> {
    let mut all = vec![Vec::new()];
    while let Some((&atom, after)) = rest.split_first() {
        match atom {
            Atom::Comma | Atom::Close => break,
            Atom::Open => {
                let mut choices = Vec::new();
                loop {
                    *rest = &rest[1..];
                    choices.extend(sequence(rest)?);
                    if choices.len() > MAX_ALTERNATIVES {
                        return Err(too_many());
                    }
                    if rest.first() != Some(&Atom::Comma) {
                        break;
                    }
                }
                *rest = rest.get(1..).unwrap_or_default();
                if choices.len() * all.len() > MAX_ALTERNATIVES {
                    return Err(too_many());
                }
                all = all
                    .iter()
                    .flat_map(|head| choices.iter().map(move |choice| [head.as_slice(), choice].concat()))
                    .collect();
            }
            _ => {
                *rest = after;
                for one in &mut all {
                    one.push(atom);
                }
            }
        }
    }
    Ok(all)
}

fn too_many() -> Fault {
    Fault::new(format!("its braces stand for more than {MAX_ALTERNATIVES} patterns"))
}

/// The components of a pattern without alternatives.
pub fn parts(atoms: &[Atom]) -> Result<Vec<Part>, Fault> {
    let parts: Vec<Part> =
        atoms.split(|&atom| atom == Atom::Separator).map(component).collect::<Result<_, Fault>>()?;
    if parts.len() > MAX_COMPONENTS {
        return Err(Fault::new(format!("it has more than {MAX_COMPONENTS} components")));
    }
    Ok(parts)
}

fn component(atoms: &[Atom]) -> Result<Part, Fault> {
    if atoms == [Atom::Star, Atom::Star] {
        return Ok(Part::Deep);
    }
    let mut tokens = Vec::with_capacity(atoms.len());
    for &atom in atoms {
        match atom {
            Atom::Byte(byte) => tokens.push(Token::Set(ByteSet::one(byte))),
            Atom::Class(set) => tokens.push(Token::Set(set)),
            Atom::Star if tokens.last() == Some(&Token::Star) => {
                return Err(Fault::new("`**` must stand alone between separators")
                    .help("for any characters within one component write `*`"));
            }
            Atom::Star => tokens.push(Token::Star),
            Atom::Separator | Atom::Open | Atom::Comma | Atom::Close => {}
        }
    }
    Ok(Part::Component(tokens))
}

/// Whether a component is `*` alone.
pub fn is_star(part: &Part) -> bool {
    matches!(part, Part::Component(tokens) if tokens[..] == [Token::Star])
}

/// Drops every `**` that follows another.
pub fn collapse(parts: &mut Vec<Part>) {
    parts.dedup_by(|next, before| *next == Part::Deep && *before == Part::Deep);
}
