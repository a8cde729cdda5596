//! Commands as people write them down become command-line patterns.

use crate::policy::draft::Entry;

/// Programs that run scripts: the kernel executes them in the script's place.
pub const INTERPRETERS: &str =
    "**/{sh,bash,dash,ash,zsh,ksh*,mksh,python*,pypy*,perl*,ruby*,node,nodejs,bun,deno,php*,lua*,tclsh*,Rscript}";

/// A command: its words, the first one the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// The program's name, without its folder.
    name: String,
    /// The words that follow, alternatives in braces.
    rest: Vec<String>,
}

impl Command {
    /// From patterns of words; the first without its folder.
    pub fn of(words: &[String]) -> Option<Self> {
        let (name, rest) = words.split_first()?;
        Some(Self { name: name.clone(), rest: rest.to_vec() })
    }

    /// The pattern of the program itself, whatever follows these words.
    pub fn direct(&self, comment: &str) -> Entry {
        Entry::new([std::slice::from_ref(&self.name), &self.rest, &["**".to_owned()]].concat().join(" "), comment)
    }

    /// The patterns of a script of this name, which an interpreter is given, with an option or without.
    pub fn script(&self, comment: &str) -> [Entry; 2] {
        ["*", "* -*"].map(|interpreter| {
            let script = format!("*/{}", self.name);
            let words = [&[interpreter.to_owned(), script], &self.rest[..], &["**".to_owned()]].concat();
            Entry::new(words.join(" "), comment)
        })
    }
}

/// A word of a pattern that matches this word alone; with `wildcards`, `*` stands for any characters.
pub fn word(text: &str, wildcards: bool) -> String {
    if text.is_empty() {
        return "\"\"".to_owned();
    }
    let mut word = String::new();
    for character in text.chars() {
        let wild = wildcards && character == '*';
        // `**` would be any number of words.
        if wild && word.ends_with('*') && !word.ends_with("\\*") {
            continue;
        }
        if !wild && !character.is_alphanumeric() && !"-_./:=@+%^~".contains(character) {
            word.push('\\');
        }
        word.push(character);
    }
    word
}

/// A program's name without its folder.
pub fn base_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::argv;

    #[test]
    fn words_match_themselves_alone() {
        for text in ["a b", "{a,b}", "'x'", "\"", "*", "a\\b", "[x]", "", "é", "$HOME", "\t", "a*b**c"] {
            let pattern = format!("x {}", word(text, false));
            let parsed = argv::parse(&pattern).unwrap_or_else(|fault| panic!("{pattern}: {fault:?}"));
            assert_eq!((parsed.len(), parsed[0].parts.len()), (1, 2), "{pattern}");
        }
        assert_eq!(word("--force*", true), "--force*");
        assert_eq!(word("a**b", true), "a*b");
        assert_eq!(word("*", false), "\\*");
    }
}
