//! Globs that no true path on this machine can match.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use guard_common::table::NODE_ROOT;

use super::Notes;
use crate::policy::Problem;
use crate::policy::bytes::ByteSet;
use crate::policy::net::Target;
use crate::policy::pattern::{Part, Pattern, Tail, Token};
use crate::policy::reach::covers;
use crate::policy::rule::{Patterns, Policy, Rule, Written};

/// Looks at what is written of places that everybody has.
pub fn look(policy: &Policy, notes: &mut Notes) {
    // Of a folder that is absent it is enough to say so once.
    let mut absent = Vec::new();
    for rule in &policy.rules {
        for written in &rule.written {
            if let Some(paths) = paths(rule, written) {
                look_at(rule, written, &paths, &mut absent, notes);
            }
        }
    }
}

/// The patterns of true paths that an entry stands for.
fn paths(rule: &Rule, written: &Written) -> Option<Vec<Pattern>> {
    match rule.patterns(written) {
        Patterns::Paths(paths) => Some(paths),
        Patterns::Commands(_) => None,
        Patterns::Targets(targets) => targets
            .into_iter()
            .map(|target| match target {
                Target::Unix(pattern) => Some(pattern),
                Target::Net(_) | Target::Everything => None,
            })
            .collect(),
    }
}

/// An entry is told of only if none of the patterns that it stands for can match: in braces people write down what is
/// so on other machines.
fn look_at(rule: &Rule, written: &Written, paths: &[Pattern], absent: &mut Vec<PathBuf>, notes: &mut Notes) {
    let findings: Vec<Found> = paths.iter().filter_map(found).collect();
    if findings.len() < paths.len() {
        return;
    }
    let Some(first) = findings.first() else { return };
    let text = written.text.escape_debug();
    let mut problem = match first {
        Found::Link(link) => {
            if findings
                .iter()
                .all(|found| matches!(found, Found::Link(link) if is_there(rule, written, &link.beyond)))
            {
                return;
            }
            Problem::at(written.span.clone(), format!("`{text}` matches nothing on this machine"))
                .label(format!("`{}` is a symbolic link to `{}`", link.name.display(), link.target.display()))
                .help(format!("patterns see true paths: write `{}`", link.instead(written.path_text())))
        }
        Found::AtTop => Problem::at(
            written.span.clone(),
            format!("`{text}` matches only at the top of the file system"),
        )
        .label("there is no such file there")
        .help(format!(
            "to match it in every folder write `**{text}`, in the repository `{{repo}}{text}`, in the user's home \
                 `{{home}}{text}`"
        )),
        Found::Absent(name) => Problem::at(written.span.clone(), format!("`{text}` matches nothing on this machine"))
            .label(format!("there is no `{}` here", name.display())),
    };
    problem = problem.rule(&rule.name);
    problem.note = written.list.as_ref().map(|list| format!("in the list `{list}`"));
    match first {
        Found::Absent(name) if absent.contains(name) => {}
        Found::Absent(name) => {
            absent.push(name.clone());
            notes.remarks.push(problem);
        }
        Found::Link(_) | Found::AtTop => notes.warnings.push(problem),
    }
}

/// Whether another entry beside this one matches what it is meant to.
fn is_there(rule: &Rule, written: &Written, meant: &Pattern) -> bool {
    rule.written
        .iter()
        .filter(|other| other.key == written.key)
        .filter_map(|other| paths(rule, other))
        .any(|paths| paths.iter().any(|path| covers(path, meant)))
}

/// Why a pattern can match nothing.
enum Found {
    /// It leads through a symbolic link.
    Link(Link),
    /// It is about one file in the root folder, which isn't there.
    AtTop,
    /// It begins with a folder that isn't there.
    Absent(PathBuf),
}

/// A symbolic link in a pattern's way.
struct Link {
    name: PathBuf,
    /// The true path.
    target: PathBuf,
    /// The pattern beyond the link.
    beyond: Pattern,
}

impl Link {
    /// What to write instead of `text`.
    fn instead(&self, text: &str) -> String {
        let name = self.name.display().to_string();
        // With braces and the like in front the text does not begin with the name.
        let rest = text.strip_prefix(&name).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        format!("{}{}", self.target.display(), rest.unwrap_or("/..."))
    }
}

/// Why `pattern` can match nothing, if it can't.
fn found(pattern: &Pattern) -> Option<Found> {
    // Abstract names of sockets are a tree of their own, and nothing is known of the other places.
    let [Part::Component(first), rest @ ..] = &pattern.parts[..] else { return None };
    if pattern.anchor != NODE_ROOT || first.first() == Some(&Token::Set(ByteSet::one(b'@'))) {
        return None;
    }
    if rest.is_empty() && pattern.tail == Tail::End {
        let names = fs::read_dir("/").ok()?.flatten();
        let is_there = names.into_iter().any(|entry| covers(pattern, &literally(&[entry.file_name()], Tail::End)));
        if !is_there {
            return Some(Found::AtTop);
        }
    }
    let mut way = PathBuf::from("/");
    for (depth, part) in pattern.parts.iter().enumerate() {
        way.push(literal(part)?);
        let Ok(facts) = fs::symlink_metadata(&way) else {
            return (depth == 0 && !way.exists()).then_some(Found::Absent(way));
        };
        if facts.is_symlink() {
            return beyond(&way, pattern, depth + 1).map(Found::Link);
        }
    }
    None
}

/// The link at `name`, which is the first `depth` parts of `pattern`.
fn beyond(name: &Path, pattern: &Pattern, depth: usize) -> Option<Link> {
    let target = fs::canonicalize(name).ok()?;
    let components: Vec<OsString> = target.iter().skip(1).map(OsString::from).collect();
    let mut beyond = literally(&components, pattern.tail);
    beyond.parts.extend_from_slice(&pattern.parts[depth..]);
    Some(Link { name: name.to_owned(), target, beyond })
}

/// The pattern of these components as they stand.
fn literally(components: &[OsString], tail: Tail) -> Pattern {
    let part = |name: &OsString| {
        Part::Component(name.as_bytes().iter().map(|&byte| Token::Set(ByteSet::one(byte))).collect())
    };
    Pattern { anchor: NODE_ROOT, parts: components.iter().map(part).collect(), tail }
}

/// The only name that `part` matches, if there is only one.
fn literal(part: &Part) -> Option<OsString> {
    let Part::Component(tokens) = part else { return None };
    let byte = |token: &Token| match token {
        Token::Set(set) => set.only(),
        Token::Star => None,
    };
    tokens.iter().map(byte).collect::<Option<Vec<u8>>>().map(OsString::from_vec)
}
