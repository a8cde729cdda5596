//! Text on its way to a terminal. Paths and command lines come from whoever is watched: nothing of them may move the
//! cursor, change colours, or turn the reading direction round.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Whether a character could do more on a terminal than show itself: control characters, those that turn the
/// direction of text, and those that take no room and so hide.
#[must_use]
pub fn hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether a character has to be written another way.
fn needs_escape(c: char, ascii: bool) -> bool {
    hostile(c) || ascii && !c.is_ascii()
}

/// The text with what is hostile written as an escape that can be read. `ascii`: so is all that is not ASCII, for
/// terminals that show nothing else.
#[must_use]
pub fn clean(text: &str, ascii: bool) -> Cow<'_, str> {
    if !text.chars().any(|c| needs_escape(c, ascii)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if needs_escape(c, ascii) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// A command line whose words have a NUL between them, as people read it.
#[must_use]
pub fn line(words: &str, ascii: bool) -> String {
    clean(&words.replace('\0', " "), ascii).into_owned()
}

/// Columns that a text takes.
#[must_use]
pub fn width(text: &str) -> usize {
    text.width()
}

/// Which end of a text is the more telling one, and stays when it does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The beginning, as of a sentence.
    Start,
    /// The end, as of a path.
    End,
}

/// A text that was cleaned, cut to `room` columns; `mark` stands for what was cut off.
#[must_use]
pub fn fit(text: &str, room: usize, keep: Keep, mark: char) -> Cow<'_, str> {
    if text.width() <= room {
        return Cow::Borrowed(text);
    }
    let mut left = room.saturating_sub(mark.width().unwrap_or(1));
    let mut takes = |c: &char| {
        let wide = c.width().unwrap_or(0);
        let fits = wide <= left;
        left = if fits { left - wide } else { 0 };
        fits
    };
    Cow::Owned(match keep {
        _ if room == 0 => String::new(),
        Keep::Start => text.chars().take_while(|c| takes(c)).chain([mark]).collect(),
        Keep::End => {
            let tail: Vec<char> = text.chars().rev().take_while(|c| takes(c)).collect();
            [mark].into_iter().chain(tail.into_iter().rev()).collect()
        }
    })
}

/// A text that was cleaned, in lines of `room` columns at most, broken where blanks are if that is not too early.
#[must_use]
pub fn wrap(text: &str, room: usize) -> Vec<String> {
    let room = room.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut taken = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if taken + wide > room {
            let rest = match line.rfind(' ') {
                Some(blank) if c != ' ' && blank * 2 > line.len() => line.split_off(blank + 1),
                _ => String::new(),
            };
            lines.push(std::mem::replace(&mut line, rest).trim_end().to_owned());
            taken = line.width();
            if c == ' ' && line.is_empty() {
                continue;
            }
        }
        line.push(c);
        taken += wide;
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// JSON that was written by `serde_json`, which leaves some characters as they are that a terminal obeys.
#[must_use]
pub fn clean_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && hostile(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // Strings take everything.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_written_out() {
        assert_eq!(clean("/home/u/.env", false), "/home/u/.env");
        assert_eq!(clean("a\x1b[2Jb\n\u{9b}c\u{202e}d\x7f", false), "a\\u{1b}[2Jb\\n\\u{9b}c\\u{202e}d\\u{7f}");
        assert_eq!(clean("grün", false), "grün");
        assert_eq!(clean("grün", true), "gr\\u{fc}n");
        assert_eq!(clean_json("\"a\u{9b}\u{e0001}\"\n"), "\"a\\u009b\\udb40\\udc01\"\n");
    }

    #[test]
    fn what_does_not_fit_is_cut_where_it_tells_least() {
        assert_eq!(fit("/home/u/repo/.env", 10, Keep::End, '…'), "…repo/.env");
        assert_eq!(fit("/home/u/repo/.env", 10, Keep::Start, '~'), "/home/u/r~");
        assert_eq!(fit("short", 5, Keep::End, '…'), "short");
        assert_eq!(fit("宽宽宽", 4, Keep::Start, '…'), "宽…");
        assert_eq!(fit("abc", 0, Keep::Start, '…'), "");
        assert_eq!(fit("abc", 1, Keep::End, '…'), "…");
    }

    #[test]
    fn lines_break_at_blanks() {
        assert_eq!(wrap("Secrets stay out of it", 10), ["Secrets", "stay out", "of it"]);
        assert_eq!(wrap("/a/very/long/path", 6), ["/a/ver", "y/long", "/path"]);
        assert_eq!(wrap("", 6), Vec::<String>::new());
    }
}
