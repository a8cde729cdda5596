//! Command-line patterns: words, where `**` is any number of them.

use guard_common::table::NODE_ROOT;

use super::bytes::ByteSet;
use super::pattern::{Fault, Lexer, Part, Pattern, Tail, Token, alternatives, collapse, is_star, parts};

/// The patterns that `text` stands for.
pub fn parse(text: &str) -> Result<Vec<Pattern>, Fault> {
    let atoms = Lexer { separator: 0, words: true }.atoms(text.trim_start_matches([' ', '\t']))?;
    if text.trim().is_empty() {
        return Err(Fault::new("it has no words").help("for every command line write `**`"));
    }
    alternatives(&atoms)?.iter().map(|atoms| normal(parts(atoms)?)).collect()
}

/// The pattern of just this command line.
pub fn command(words: &[&str]) -> Pattern {
    let component = |word: &&str| Part::Component(word.bytes().map(|byte| Token::Set(ByteSet::one(byte))).collect());
    Pattern { anchor: NODE_ROOT, parts: words.iter().map(component).collect(), tail: Tail::End }
}

/// The pattern of these words, in normal form.
fn normal(mut words: Vec<Part>) -> Result<Pattern, Fault> {
    let slash = Token::Set(ByteSet::one(b'/'));
    if let Some(Part::Component(first)) = words.first()
        && first.contains(&slash)
    {
        return Err(Fault::new("the first word is the program's name without its folder, so a `/` never matches")
            .help("match the folder with `path`, which sees the executable's true path"));
    }
    if let Some(last) = words.last_mut()
        && is_star(last)
    {
        *last = Part::Deep;
    }
    collapse(&mut words);
    let mut tail = Tail::End;
    if words.last() == Some(&Part::Deep) {
        words.pop();
        tail = Tail::Any;
    } else if let [_, .., Part::Component(last)] = &words[..]
        && last.last() == Some(&Token::Star)
    {
        // Whoever writes `git push --force*` means what follows too, as anywhere else where a line ends in a star.
        tail = Tail::Any;
    }
    Ok(Pattern { anchor: NODE_ROOT, parts: words, tail })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Pattern {
        let mut all = parse(text).expect(text);
        assert_eq!(all.len(), 1, "{text}");
        all.remove(0)
    }

    #[test]
    fn a_last_star_is_any_rest() {
        assert_eq!(one("git push *"), one("git  push **"));
        assert_eq!(one("git push *").tail, Tail::Any);
        assert_eq!(one("git push").tail, Tail::End);
        assert!(one("**").is_everything());
        assert!(one("*").is_everything());
    }

    #[test]
    fn a_star_that_ends_the_line_is_any_rest_too() {
        assert_eq!(one("git push --force*").tail, Tail::Any);
        assert_eq!(one("git push --force*"), one("git push --force* **"));
        assert_eq!(one("git push --force* origin").tail, Tail::End);
        assert_eq!(one("git push --force\\*").tail, Tail::End);
        // The first word is the program's name.
        assert_eq!(one("python*").tail, Tail::End);
        assert_eq!(one("python* *").tail, Tail::Any);
    }

    #[test]
    fn quotes_keep_blanks() {
        assert_eq!(one("sh -c 'a b'"), one("sh -c \"a b\""));
        assert_eq!(one("sh -c a\\ b"), one("sh -c \"a b\""));
        assert_eq!(one("sh '*'"), one("sh \\*"));
        assert_eq!(one("sh \"\"").parts.len(), 2);
        assert_ne!(one("sh \"*a\""), one("sh '*a'"));
    }

    #[test]
    fn a_folder_belongs_into_path() {
        let fault = parse("/usr/bin/git push").expect_err("refused");
        assert_eq!(fault.what, "the first word is the program's name without its folder, so a `/` never matches");
        assert!(parse("cat /etc/passwd").is_ok());
        assert_eq!(parse("  ").expect_err("refused").what, "it has no words");
        assert_eq!(parse("a 'b").expect_err("refused").what, "the quote `'` is never closed");
    }
}
