//! Path globs and paths made of few letters: guard's tables find the rules that globset finds.
#![no_main]

use std::fmt::Write as _;

use arbitrary::{Arbitrary, Result, Unstructured};
use globset::{GlobBuilder, GlobMatcher};
use guard::policy::{Object, Places, Problem, compile};
use guard_common::words::{Op, Scope};
use libfuzzer_sys::fuzz_target;

/// Where a glob begins, for guard and for globset.
const ANCHORS: [(&str, &str); 3] = [("/", "/"), ("{repo}/", "/a/b/"), ("{home}/", "/c/")];
const PLACES: Places<'static> = Places { repo: Some(b"/a/b"), home: Some(b"/c") };
/// What components are made of. A class must not match a slash, which globset has to be told.
const PIECES: [&str; 14] =
    ["a", "b", "c", "*", "?", "[ab]", "[!a]", "[b-c]", "{a,bc}", "{b,?c,[!c]}", "{a,{b,c*a}}", "\\b", "ab", "*a"];
const NAMES: [&str; 10] = ["a", "b", "c", "ab", "bc", "abc", "cab", "aa", "ba", "d"];

/// A glob, as its components.
#[derive(Debug)]
struct Made {
    anchor: usize,
    parts: Vec<String>,
}

impl<'a> Arbitrary<'a> for Made {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let anchor = u.choose_index(ANCHORS.len())?;
        let mut parts: Vec<String> = Vec::new();
        for _ in 0..u.int_in_range(1..=5)? {
            if u.ratio(1, 4)? {
                parts.push("**".to_owned());
                continue;
            }
            let mut part = String::new();
            for _ in 0..u.int_in_range(1..=3)? {
                let piece = *u.choose(&PIECES)?;
                // Two stars in a row are refused within a component, also where braces bring them together.
                if !(piece.starts_with('*') && part.ends_with('*')) {
                    part += piece;
                }
            }
            parts.push(part);
        }
        parts.dedup_by(|next, before| next == "**" && before == "**");
        Ok(Self { anchor, parts })
    }
}

impl Made {
    fn text(&self) -> String {
        let anchor = ANCHORS[self.anchor].0;
        let anchor = if anchor == "/" && self.parts[0] == "**" { "" } else { anchor };
        format!("{anchor}{}", self.parts.join("/"))
    }

    fn globset(&self) -> GlobMatcher {
        let text = format!("{}{}", ANCHORS[self.anchor].1, self.parts.join("/")).replace("[!", "[!/");
        let glob = GlobBuilder::new(&text).literal_separator(true).backslash_escape(true).build();
        glob.expect("valid for globset").compile_matcher()
    }
}

/// Rules with what they match and what they except, and paths to try them on.
type Input = (Vec<(Made, Option<Made>, Option<Made>)>, Vec<Vec<u8>>);

fuzz_target!(|input: Input| {
    let (mut rules, mut paths) = input;
    rules.truncate(12);
    paths.truncate(64);
    if rules.is_empty() || paths.is_empty() {
        return;
    }
    let mut text = "version = 1\n".to_owned();
    for (number, (one, other, except)) in rules.iter().enumerate() {
        let quoted =
            |made: &Option<Made>| made.as_ref().map(|made| format!("'{}', ", made.text())).unwrap_or_default();
        writeln!(
            text,
            "[[rule]]\nname = 'r{number}'\non = ['read']\npath = ['{}', {}]\nexcept = ['/never/such', {}]\naction = 'log'",
            one.text(),
            quoted(other),
            quoted(except)
        )
        .expect("strings take everything");
    }
    let policy = match compile("made", &text) {
        Ok(policy) => policy,
        Err(failure) => {
            // What is well formed is refused for its size alone.
            let too_large = |problem: &Problem| {
                problem.label.contains("stand for more than") || problem.message.contains("too large")
            };
            assert!(failure.problems.iter().all(too_large), "{failure}\n{text}");
            return;
        }
    };
    let mut tables = policy.tables();
    let globs: Vec<(Vec<GlobMatcher>, Option<GlobMatcher>)> = rules
        .iter()
        .map(|(one, other, except)| {
            let positive = [Some(one), other.as_ref()].into_iter().flatten().map(Made::globset).collect();
            (positive, except.as_ref().map(Made::globset))
        })
        .collect();
    for path in paths {
        let names: Vec<&str> = path.iter().take(8).map(|&byte| NAMES[usize::from(byte) % NAMES.len()]).collect();
        if names.is_empty() {
            continue;
        }
        let path = format!("/{}", names.join("/"));
        let expected: Vec<u16> = (0..)
            .zip(&globs)
            .filter(|(_, (positive, except))| {
                positive.iter().any(|glob| glob.is_match(&path)) && !except.iter().any(|glob| glob.is_match(&path))
            })
            .map(|(number, _)| number)
            .collect();
        let decision = tables.decide(Op::Read, Scope::Tool, &Object::Path(path.as_bytes()), &PLACES, 0);
        assert_eq!(decision.matched, expected, "{path}\n{text}");
    }
});
