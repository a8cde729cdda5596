//! One line of a `.codexignore`, as git reads the lines of a `.gitignore`.
//!
//! Where guard's globs can't say exactly what git's do, a pattern comes out matching more, and a negated one matching
//! less: what git ignores is denied in any case.

use crate::policy::bytes::ByteSet;
use crate::policy::import::shape::{Shape, any, below};
use crate::policy::pattern::{Part, Token};

/// Longest line in bytes.
pub const MAX_LINE: usize = 1024;

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// It begins with `!`.
    pub negated: bool,
    /// It ends with `/`: only folders match.
    pub folders_only: bool,
    /// What it matches, from the folder that the file lies in; any of these.
    pub shapes: Vec<Shape>,
}

/// Reads a line without its end: nothing for a blank line or a comment, and why for a line that matches nothing.
pub fn read(line: &[u8]) -> Option<Result<Line, &'static str>> {
    let line = line.split(|&byte| byte == 0).next().unwrap_or_default();
    if line.first() == Some(&b'#') {
        return None;
    }
    let line = trimmed(line);
    (!line.is_empty()).then(|| pattern(line))
}

/// The line without blanks at its end, unless the last one is escaped.
fn trimmed(line: &[u8]) -> &[u8] {
    let mut end = 0;
    let mut i = 0;
    while let Some(&byte) = line.get(i) {
        i += if byte == b'\\' { 2 } else { 1 };
        if byte != b' ' {
            end = i.min(line.len());
        }
    }
    &line[..end]
}

fn pattern(line: &[u8]) -> Result<Line, &'static str> {
    let (negated, text) = line.strip_prefix(b"!").map_or((false, line), |text| (true, text));
    let (folders_only, text) = text.strip_suffix(b"/").map_or((false, text), |text| (true, text));
    if text.is_empty() {
        return Err("there is no name in it");
    }
    // As git does: a slash anywhere, if only in a class, ties the pattern to the folder of the file.
    let anchored = text.contains(&b'/');
    let text = text.strip_prefix(b"/").unwrap_or(text);
    let pieces = pieces(text, negated)?;
    let mut shapes = vec![shape(&pieces, anchored)?];
    if anchored && !negated {
        shapes.extend(crossing(&pieces)?);
    }
    Ok(Line { negated, folders_only, shapes })
}

/// What a pattern is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Set(ByteSet),
    /// One `*`.
    Star,
    Slash,
}

/// Cuts a pattern into its pieces.
fn pieces(text: &[u8], negated: bool) -> Result<Vec<Piece>, &'static str> {
    let whole_characters = std::str::from_utf8(text).is_ok();
    let mut pieces = Vec::with_capacity(text.len());
    let mut i = 0;
    while let Some(&byte) = text.get(i) {
        i += 1;
        pieces.push(match byte {
            b'/' => Piece::Slash,
            b'*' => Piece::Star,
            b'?' => Piece::Set(any_byte()),
            b'[' => {
                let (set, length) = class(&text[i..])?;
                i += length;
                Piece::Set(writable(set, negated)?)
            }
            b'\\' => {
                let &escaped = text.get(i).ok_or("the backslash at its end escapes nothing")?;
                i += 1;
                match escaped {
                    // After `**` git takes it for something else than a plain one.
                    b'/' if negated => return Err("it has an escaped `/`, which guard does not re-include by"),
                    b'/' => Piece::Slash,
                    _ => Piece::Set(literal(escaped, whole_characters, negated)?),
                }
            }
            _ => Piece::Set(literal(byte, whole_characters, negated)?),
        });
    }
    Ok(pieces)
}

/// The byte itself; in a text that is no UTF-8, and so can't be written, any byte.
fn literal(byte: u8, whole_characters: bool, negated: bool) -> Result<ByteSet, &'static str> {
    match byte {
        128.. if !whole_characters && negated => Err("it is not UTF-8"),
        128.. if !whole_characters => Ok(any_byte()),
        _ => Ok(ByteSet::one(byte)),
    }
}

fn any_byte() -> ByteSet {
    let mut set = ByteSet::all();
    set.remove(b'/');
    set
}

/// The class whose `[` stands before `text`, and its length up to and with the `]`.
fn class(text: &[u8]) -> Result<(ByteSet, usize), &'static str> {
    const UNCLOSED: &str = "its `[` is never closed";
    let at = |i: usize| text.get(i).copied().ok_or(UNCLOSED);
    let negated = matches!(at(0)?, b'!' | b'^');
    let first = usize::from(negated);
    let mut set = ByteSet::default();
    // The byte that a range may begin with.
    let mut low = None;
    let mut i = first;
    loop {
        let byte = at(i)?;
        i += 1;
        match byte {
            b']' if i > first + 1 => break,
            b'\\' => {
                let escaped = at(i)?;
                i += 1;
                set.insert(escaped);
                low = Some(escaped);
            }
            b'-' if low.is_some() && at(i)? != b']' => {
                if at(i)? == b'\\' {
                    i += 1;
                }
                let high = at(i)?;
                i += 1;
                if let Some(low) = low.take() {
                    (low..=high).for_each(|byte| set.insert(byte));
                }
            }
            b'[' if at(i)? == b':' => {
                let name = &text[i + 1..];
                let length = name.iter().position(|&byte| byte == b']').ok_or(UNCLOSED)?;
                if let Some(name) = name[..length].strip_suffix(b":") {
                    named(name, &mut set)?;
                    i += length + 2;
                    low = None;
                } else {
                    set.insert(b'[');
                    low = Some(b'[');
                }
            }
            _ => {
                set.insert(byte);
                low = Some(byte);
            }
        }
    }
    if negated {
        set = set.complement();
    }
    set.remove(b'/');
    Ok((set, i))
}

/// Adds a named class, as git's own tables have it.
fn named(name: &[u8], set: &mut ByteSet) -> Result<(), &'static str> {
    let holds: fn(u8) -> bool = match name {
        b"alnum" => |byte| byte.is_ascii_alphanumeric(),
        b"alpha" => |byte| byte.is_ascii_alphabetic(),
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        b"cntrl" => |byte| byte.is_ascii_control(),
        b"digit" => |byte| byte.is_ascii_digit(),
        b"graph" => |byte| byte.is_ascii_graphic(),
        b"lower" => |byte| byte.is_ascii_lowercase(),
        b"print" => |byte| byte.is_ascii_graphic() || byte == b' ',
        b"punct" => |byte| byte.is_ascii_punctuation(),
        b"space" => |byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'),
        b"upper" => |byte| byte.is_ascii_uppercase(),
        b"xdigit" => |byte| byte.is_ascii_hexdigit(),
        _ => return Err("it has a class `[:…:]` that nobody knows"),
    };
    (0..128).filter(|&byte| holds(byte)).for_each(|byte| set.insert(byte));
    Ok(())
}

/// The set as guard's classes can say it: those hold or leave out ASCII characters only.
fn writable(mut set: ByteSet, negated: bool) -> Result<ByteSet, &'static str> {
    let high = (128..=u8::MAX).filter(|&byte| set.contains(byte)).count();
    if !matches!(high, 0 | 128) {
        (128..=u8::MAX).for_each(|byte| if negated { set.remove(byte) } else { set.insert(byte) });
    }
    if set.contains(128) {
        // Left out, for no path has it; so what is left out is all that has to be written.
        set.insert(0);
    } else {
        set.remove(0);
    }
    if set.is_empty() { Err("it has a class that holds no character that guard can name") } else { Ok(set) }
}

/// The pattern's components, as the documentation of gitignore has them.
fn shape(pieces: &[Piece], anchored: bool) -> Result<Shape, &'static str> {
    let mut shape = Shape::new();
    for component in pieces.split(|&piece| piece == Piece::Slash) {
        let stars = component.iter().all(|&piece| piece == Piece::Star);
        shape.push(match component {
            [] => return Err("it has an empty name between slashes, which no path has"),
            [_, _, ..] if stars && anchored => Part::Deep,
            _ => part(component)?,
        });
    }
    if !anchored {
        shape.insert(0, Part::Deep);
    }
    Ok(normal(shape))
}

fn part(component: &[Piece]) -> Result<Part, &'static str> {
    let mut tokens: Vec<Token> = component
        .iter()
        .filter_map(|piece| match piece {
            Piece::Set(set) => Some(Token::Set(*set)),
            Piece::Star => Some(Token::Star),
            Piece::Slash => None,
        })
        .collect();
    tokens.dedup_by(|next, before| *next == Token::Star && *before == Token::Star);
    let dot = |token: &Token| matches!(token, Token::Set(set) if *set == ByteSet::one(b'.'));
    if tokens.len() <= 2 && tokens.iter().all(dot) {
        return Err("it has a component `.` or `..`, which no path has");
    }
    Ok(Part::Component(tokens))
}

/// `**` is never repeated, and at the end stands for what lies below.
fn normal(mut shape: Shape) -> Shape {
    shape.dedup_by(|next, before| *next == Part::Deep && *before == Part::Deep);
    if shape.last() == Some(&Part::Deep) {
        shape.pop();
        shape = below(&shape);
    }
    shape
}

/// What git matches beyond its documentation: `**` in the middle of a name crosses folders where no wildcard stands
/// before it, for git compares what is plain first and takes the rest for a pattern of its own.
fn crossing(pieces: &[Piece]) -> Result<Vec<Shape>, &'static str> {
    let one = |piece: &Piece| matches!(piece, Piece::Set(set) if set.len() == 1);
    let plain = pieces.iter().take_while(|piece| one(piece) || **piece == Piece::Slash).count();
    let stars = pieces[plain..].iter().take_while(|&&piece| piece == Piece::Star).count();
    let (head, rest) = (&pieces[..plain], &pieces[plain + stars..]);
    if stars < 2 || head.last().is_none_or(|&piece| piece == Piece::Slash) {
        return Ok(Vec::new());
    }
    let open = [head, &[Piece::Star]].concat();
    match rest {
        [] => Ok(vec![below(&shape(&open, true)?)]),
        [Piece::Slash, rest @ ..] if !rest.is_empty() => {
            let deep = [shape(&open, true)?, vec![Part::Deep], shape(rest, true)?].concat();
            Ok(vec![normal(deep), shape(&[head, rest].concat(), true)?])
        }
        _ => Ok(Vec::new()),
    }
}

/// The text of a shape, to be written behind a `/`.
pub fn text(shape: &[Part]) -> String {
    let mut text = String::new();
    let parts = match shape {
        [head @ .., Part::Deep, last] if *last == any() => [head, &[Part::Deep]].concat(),
        _ => shape.to_vec(),
    };
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            text.push('/');
        }
        match part {
            Part::Deep => text.push_str("**"),
            Part::Component(tokens) => text.push_str(&component_text(tokens)),
        }
    }
    text
}

fn component_text(tokens: &[Token]) -> String {
    let mut bytes = Vec::new();
    for token in tokens {
        match token {
            Token::Star => bytes.push(b'*'),
            Token::Set(set) if *set == any_byte() => bytes.push(b'?'),
            Token::Set(set) if set.len() == 1 => {
                let byte = (0..=u8::MAX).find(|&byte| set.contains(byte)).unwrap_or_default();
                if b"\\*?[]{},".contains(&byte) {
                    bytes.push(b'\\');
                }
                bytes.push(byte);
            }
            Token::Set(set) => bytes.extend(class_text(*set)),
        }
    }
    // Bytes beyond ASCII stand beside each other as they did in a text.
    String::from_utf8_lossy(&bytes).into_owned()
}

fn class_text(set: ByteSet) -> Vec<u8> {
    let left_out = set.contains(128);
    let named = |byte: u8| byte != 0 && byte != b'/' && set.contains(byte) != left_out;
    let mut text = if left_out { b"[!".to_vec() } else { b"[".to_vec() };
    let mut byte = 1;
    while byte < 128 {
        let first = byte;
        while byte < 128 && named(byte) {
            byte += 1;
        }
        let escaped = |byte: u8| if byte.is_ascii_alphanumeric() { vec![byte] } else { vec![b'\\', byte] };
        match byte - first {
            0 => byte += 1,
            1 => text.extend(escaped(first)),
            _ => text.extend([escaped(first), vec![b'-'], escaped(byte - 1)].concat()),
        }
    }
    text.push(b']');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<String> {
        let line = read(line.as_bytes()).expect("no comment").expect("a pattern");
        line.shapes.iter().map(|shape| text(shape)).collect()
    }

    fn why(line: &str) -> &'static str {
        read(line.as_bytes()).expect("no comment").expect_err(line)
    }

    #[test]
    fn patterns_become_globs() {
        for (line, glob) in [
            (".env", "**/.env"),
            ("/.env", ".env"),
            ("a/b", "a/b"),
            ("a/**/b", "a/**/b"),
            ("**/a", "**/a"),
            ("***/a", "**/a"),
            ("a/**", "a/**"),
            ("**", "**"),
            ("/*", "*"),
            ("x{a,b}", "**/x\\{a\\,b\\}"),
            ("\\#a\\ ", "**/#a "),
            ("\\!a  ", "**/!a"),
            ("a\t", "**/a\t"),
            ("[[:digit:]x]", "**/[0-9x]"),
            ("[!a/]", "[!a]"),
            ("[]-]a", "**/[\\-\\]]a"),
            ("[a-]", "**/[\\-a]"),
            ("[a-c-e]", "**/[\\-a-ce]"),
            ("[[:]", "**/[\\:\\[]"),
            ("[z-a]", "**/z"),
            ("a**b", "**/a*b"),
            ("é?", "**/é?"),
        ] {
            assert_eq!(texts(line), [glob], "{line}");
        }
        assert_eq!(texts("a/b**/c"), ["a/b*/c", "a/b*/**/c", "a/bc"]);
        assert_eq!(texts("/b**"), ["b*", "b*/**"]);
    }

    #[test]
    fn what_is_no_pattern() {
        assert!(read(b"").is_none() && read(b"   ").is_none() && read(b"# a").is_none());
        assert_eq!(why("!"), "there is no name in it");
        assert_eq!(why("a["), "its `[` is never closed");
        assert_eq!(why("a\\"), "the backslash at its end escapes nothing");
        assert_eq!(why("a//b"), "it has an empty name between slashes, which no path has");
        assert_eq!(why("[/]"), "it has a class that holds no character that guard can name");
        assert_eq!(why("../a"), "it has a component `.` or `..`, which no path has");
    }
}
