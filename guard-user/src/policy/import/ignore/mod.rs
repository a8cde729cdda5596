//! `.codexignore`: what git would ignore by such a file is denied.
//!
//! git ignores a path if a pattern matches it, or a folder above it, and no later `!` pattern matches the very same
//! path or folder; so what lies in an ignored folder can't be re-included. guard's rules know `except`, which looks at
//! the whole path and not at one folder of it. Hence the rules for what lies below a folder that a `!` pattern
//! could re-include: see [`below`].

mod below;
mod line;

use std::collections::BTreeMap;

use guard_common::words::{Action, Op};

use super::shape::{Shape, covers, meet};
use super::{Imported, Note, Refusal, prune};
use crate::policy::draft::{Draft, Entry};
use crate::policy::glob::escaped;
use line::{Line, MAX_LINE};

/// Largest file that is read.
pub const MAX_BYTES: usize = 1 << 20;
/// Most patterns that a file may have.
const MAX_PATTERNS: usize = 1000;
/// Most rules that may come of a file.
const MAX_RULES: usize = 1000;
/// Bytes of all patterns times bytes of the negated ones, beyond which comparing them takes too long.
const MAX_COMPARED: usize = 20_000_000;
/// Patterns up to which each has a rule of its own where no `!` pattern concerns it.
const MAX_OWN: usize = 64;
/// Components that a pattern may have.
const MAX_PARTS: usize = 100;

/// Where the folder is that the patterns are about.
#[derive(Clone, Copy, Debug)]
pub enum Anchor<'a> {
    /// The top of each session's repository.
    Repo,
    /// This folder: an absolute path without `/` at its end.
    Folder(&'a str),
}

impl Anchor<'_> {
    /// The glob of a shape there.
    fn glob(self, shape: &[crate::policy::pattern::Part]) -> String {
        let place = match self {
            Self::Repo => "{repo}".to_owned(),
            Self::Folder(path) => path.split('/').map(escaped).collect::<Vec<_>>().join("/"),
        };
        format!("{place}/{}", line::text(shape))
    }
}

/// A pattern of the file, and where it stands.
struct Pattern {
    number: usize,
    text: String,
    line: Line,
}

/// Rules that deny reading and writing what git would ignore if `text` were its list of patterns: never less, and
/// more only in the corners that docs/policy.md names.
///
/// The text may be anybody's. What comes back is bounded, and stands for itself: the rules are ordered, none is taken
/// in by an earlier one, and all of them deny. Put before a policy's own rules they can only forbid more.
///
/// # Errors
/// If the text is larger than [`MAX_BYTES`], has too many or too long patterns, or patterns that guard has no room
/// for. Then nothing of it can be relied on.
pub fn codexignore(text: &[u8], anchor: Anchor<'_>) -> Result<Imported, Refusal> {
    if text.len() > MAX_BYTES {
        return Err(Refusal::whole(format!("it is larger than {MAX_BYTES} bytes")));
    }
    if let Anchor::Folder(path) = anchor
        && (!path.starts_with('/') || path.ends_with('/') || path.len() > MAX_LINE)
    {
        let what = format!("{path} is not a folder's absolute path of at most {MAX_LINE} bytes");
        return Err(Refusal::whole(what));
    }
    let (patterns, mut notes) = read(text)?;
    let groups = groups(&patterns)?;
    let mut drafts = Vec::new();
    for (negations, group) in groups {
        let negations: Vec<&Pattern> = negations.iter().map(|&number| &patterns[number]).collect();
        if negations.is_empty() {
            plain(&group, anchor, &mut drafts);
        } else {
            exact(&group, &negations, anchor, &mut drafts);
            below::rules(&group, &negations, anchor, &mut drafts);
        }
        if drafts.len() > MAX_RULES {
            return Err(Refusal::whole(format!("it takes more than {MAX_RULES} rules")));
        }
    }
    notes.extend(patterns.iter().filter(|pattern| pattern.line.negated && pattern.line.folders_only).map(
        |pattern| {
            let text = pattern.text.trim_end_matches('/');
            let what =
                format!("re-includes what is in folders of that name, not listing them; `{text}` would do both");
            Note::new(pattern.number, &pattern.text, what)
        },
    ));
    notes.sort_by_key(|note| note.line);
    prune(drafts, notes)
}

/// The patterns of a text, and remarks on those that match nothing.
fn read(text: &[u8]) -> Result<(Vec<Pattern>, Vec<Note>), Refusal> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let (mut patterns, mut notes) = (Vec::new(), Vec::new());
    for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let (number, line) = (number + 1, line.strip_suffix(b"\r").unwrap_or(line));
        let shown = String::from_utf8_lossy(&line[..line.len().min(MAX_LINE)]).trim_end().to_owned();
        match line::read(line) {
            None => {}
            Some(_) if line.len() > MAX_LINE => {
                return Err(Refusal::at(number, format!("the pattern is longer than {MAX_LINE} bytes")));
            }
            Some(Err(why)) => notes.push(Note::new(number, &shown, format!("matches nothing: {why}"))),
            Some(Ok(line)) => {
                if line.shapes.iter().any(|shape| shape.len() > MAX_PARTS) {
                    return Err(Refusal::at(number, format!("the pattern has more than {MAX_PARTS} components")));
                }
                patterns.push(Pattern { number, text: shown, line });
            }
        }
        if patterns.len() > MAX_PATTERNS {
            return Err(Refusal::at(number, format!("there are more than {MAX_PATTERNS} patterns")));
        }
    }
    Ok((patterns, notes))
}

/// Patterns that the same later negations concern stand in one group, by the indices of those.
type Groups<'p> = BTreeMap<Vec<usize>, Vec<&'p Pattern>>;

fn groups(patterns: &[Pattern]) -> Result<Groups<'_>, Refusal> {
    let bytes = |negated| -> usize {
        patterns.iter().filter(|pattern| pattern.line.negated == negated).map(|pattern| pattern.text.len()).sum()
    };
    if bytes(false).saturating_mul(bytes(true)) > MAX_COMPARED {
        return Err(Refusal::whole("it has too many long patterns with too many long `!` patterns among them"));
    }
    let mut groups = Groups::new();
    for (number, pattern) in patterns.iter().enumerate().filter(|(_, pattern)| !pattern.line.negated) {
        let later = patterns.iter().enumerate().skip(number + 1);
        let concerning = later.filter(|(_, later)| later.line.negated && concerns(&later.line, &pattern.line));
        groups.entry(concerning.map(|(number, _)| number).collect()).or_default().push(pattern);
    }
    Ok(groups)
}

/// Whether a negation matches anything that a pattern matches.
fn concerns(negation: &Line, pattern: &Line) -> bool {
    negation.shapes.iter().any(|negation| pattern.shapes.iter().any(|shape| meet(negation, shape)))
}

/// What no negation concerns: the path itself and all below.
fn plain(group: &[&Pattern], anchor: Anchor<'_>, drafts: &mut Vec<Draft>) {
    let size = if group.len() > MAX_OWN { group.len() } else { 1 };
    for patterns in group.chunks(size) {
        let mut paths = Vec::new();
        for pattern in patterns {
            let beside = beside(pattern);
            let itself = pattern.line.shapes.iter().filter(|_| !pattern.line.folders_only).cloned();
            let below = pattern.line.shapes.iter().map(|shape| super::shape::below(shape));
            for shape in narrowed(itself.chain(below).collect()) {
                paths.push(Entry::new(anchor.glob(&shape), beside.clone()));
            }
        }
        drafts.push(draft(patterns, "", paths, Vec::new()));
    }
}

/// The path itself: all negations look at the whole path too.
fn exact(group: &[&Pattern], negations: &[&Pattern], anchor: Anchor<'_>, drafts: &mut Vec<Draft>) {
    let entry = |pattern: &Pattern, shape: &Shape| Entry::new(anchor.glob(shape), beside(pattern));
    let files = |patterns: &[&Pattern]| -> Vec<(Entry, Shape)> {
        let of = patterns.iter().filter(|pattern| !pattern.line.folders_only);
        of.flat_map(|pattern| pattern.line.shapes.iter().map(|shape| (entry(pattern, shape), shape.clone())))
            .collect()
    };
    let negated = files(negations);
    let mut paths = files(group);
    paths.retain(|(_, shape)| !negated.iter().any(|(_, negation)| covers(negation, shape)));
    if !paths.is_empty() {
        let entries = |all: Vec<(Entry, Shape)>| all.into_iter().map(|(entry, _)| entry).collect();
        drafts.push(draft(group, "", entries(paths), entries(negated)));
    }
}

/// The shapes that no other one of them takes in.
fn narrowed(shapes: Vec<Shape>) -> Vec<Shape> {
    let mut kept: Vec<Shape> = Vec::new();
    for shape in shapes {
        if !kept.iter().any(|other| covers(other, &shape)) {
            kept.retain(|other| !covers(&shape, other));
            kept.push(shape);
        }
    }
    kept
}

/// Said beside an entry.
fn beside(pattern: &Pattern) -> String {
    format!("line {}: {}", pattern.number, pattern.text)
}

/// A rule for these patterns, named for the first one's line.
fn draft(patterns: &[&Pattern], part: &str, path: Vec<Entry>, except: Vec<Entry>) -> Draft {
    let first = patterns.first().map_or(0, |pattern| pattern.number);
    let lines: Vec<String> = patterns.iter().map(|pattern| pattern.number.to_string()).collect();
    let lines = if lines.len() == 1 { format!("line {}", lines[0]) } else { format!("lines {}", lines.join(", ")) };
    Draft {
        name: format!("codexignore-{first}{part}"),
        comments: Vec::new(),
        on: vec![Op::Read, Op::Write],
        lists: vec![("path", path), ("except", except)],
        scope: None,
        action: Action::Deny,
        reason: Some(format!("The project's .codexignore ({lines}) keeps this away from the agent.")),
    }
}
