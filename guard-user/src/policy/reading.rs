//! What reading a TOML text has in common, whatever it says: types, known keys and words, and what to say where
//! they are not met.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::failure::Problem;

/// A value with its place.
pub type Value<'t> = Spanned<DeValue<'t>>;
/// A key and its value.
pub type Entry<'a, 't> = (&'a Spanned<DeString<'t>>, &'a Value<'t>);

/// Someone who reads values and notes what is wrong with them.
pub trait Reading {
    /// Where it is noted.
    fn problems(&mut self) -> &mut Vec<Problem>;

    /// The table that `value` has to be.
    fn table<'a, 't>(&mut self, value: &'a Value<'t>, what: &str) -> Option<&'a DeTable<'t>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(value, what, "a table");
        }
        table
    }

    /// The string that `value` has to be.
    fn string<'a>(&mut self, value: &'a Value<'_>, what: &str) -> Option<&'a str> {
        let string = value.get_ref().as_str();
        if string.is_none() {
            self.wrong_type(value, what, "a string");
        }
        string
    }

    /// What the word in `value` stands for, which has to be one of `all`.
    fn word<T>(&mut self, value: &Value<'_>, what: &str, all: &[&str], from: fn(&str) -> Option<T>) -> Option<T> {
        let word = self.string(value, what)?;
        let found = from(word);
        if found.is_none() {
            let problem = Problem::at(value.span(), format!("unknown {what} `{}`", word.escape_debug()))
                .label(format!("expected {}", one_of(all)));
            self.problems().push(suggest(problem, word, all));
        }
        found
    }

    /// Notes that a value is not what it has to be.
    fn wrong_type(&mut self, value: &Value<'_>, what: &str, expected: &str) {
        let found = value.get_ref().type_str();
        let mut problem = Problem::at(value.span(), format!("`{}` has the wrong type", what.replace('`', "'")))
            .label(format!("expected {expected}, found {}", article(found)));
        if expected.starts_with("a list") && found == "string" {
            problem = problem.help("put it into brackets: `[...]`");
        }
        self.problems().push(problem);
    }

    /// Notes a key that nobody knows.
    fn unknown_key(&mut self, key: &Spanned<DeString<'_>>, known: &[&str]) {
        let name = key_name(key);
        let problem = Problem::at(key.span(), format!("unknown key `{}`", name.escape_debug()));
        self.problems().push(suggest(problem.label(format!("expected {}", one_of(known))), name, known));
    }

    /// Notes a name that is none.
    fn check_name(&mut self, name: &str, what: &str, span: &Range<usize>) {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || !name.bytes().all(fits) {
            let good: String = name
                .chars()
                .map(|c| c.to_ascii_lowercase())
                .map(|c| if c.is_ascii() && fits(c as u8) { c } else { '-' })
                .collect();
            let mut problem = Problem::at(span.clone(), format!("bad {what} name `{}`", name.escape_debug()))
                .label("only `a` to `z`, digits and `-` can be in it");
            if !good.is_empty() {
                problem = problem.help(format!("write `{good}`"));
            }
            self.problems().push(problem);
        }
    }
}

/// What is wrong with a text that is no TOML.
pub fn syntax_error(text: &str, error: &toml::de::Error) -> Problem {
    let message = format!("not valid TOML: {}", error.message().lines().collect::<Vec<_>>().join(", "));
    match error.span() {
        Some(span) => Problem::at(span.start.min(text.len())..span.end.min(text.len()), message).label("here"),
        None => Problem::whole(message),
    }
}

/// The entries of a table in the order of the text.
pub fn sorted<'a, 't>(table: &'a DeTable<'t>) -> Vec<Entry<'a, 't>> {
    let mut entries: Vec<Entry<'a, 't>> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// A key's text.
pub fn key_name<'a>(key: &'a Spanned<DeString<'_>>) -> &'a str {
    key.get_ref()
}

/// The words of all of these.
pub fn words<T: Copy>(all: &[T], word: fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|&one| word(one)).collect()
}

/// `a`, `b` and `c`.
pub fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match &quoted[..] {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

/// One of these words.
pub fn one_of(words: &[&str]) -> String {
    if words.len() == 1 { list(words) } else { format!("one of {}", list(words)) }
}

fn article(noun: &str) -> String {
    format!("{} {noun}", if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" })
}

/// Adds the nearest of `known` as what may have been meant.
pub fn suggest(mut problem: Problem, word: &str, known: &[&str]) -> Problem {
    let distance = |other: &str| strsim::osa_distance(word, other);
    let nearest = known.iter().min_by_key(|other| (distance(other), **other));
    if let Some(nearest) = nearest.filter(|other| distance(other) <= (word.chars().count() / 3).max(1)) {
        problem.help = Some(format!("did you mean `{nearest}`?"));
    }
    problem
}
