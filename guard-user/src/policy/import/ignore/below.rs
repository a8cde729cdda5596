//! What lies below a folder that is ignored, where a later `!` pattern could re-include the folder.
//!
//! At one depth there is one folder to ask about, so a rule with `except` says there exactly what git does. Patterns of
//! one depth need nothing else. For the others that is done down to the depth where `!a/b/**` begins to hold for all
//! that follows. Beyond, a path can lie in two folders, one ignored and another re-included, and `except` would let it
//! through for the second: so a further rule denies what lies in two such folders. It denies too much only where all
//! of them are re-included, as in `keep.log/keep.log/file` with `*.log` and `!keep.log`.

use std::collections::BTreeSet;

use super::{Anchor, Pattern, beside, draft};
use crate::policy::draft::{Draft, Entry};
use crate::policy::import::shape::{Shape, at_depth, below, beyond, common, covers, depth, folder};

/// Depth beyond which a `!` pattern is not asked what it means at each depth.
const MAX_DEPTH: usize = 12;

/// A pattern's shape, with what is said beside it.
type Said<'p> = (&'p Pattern, Shape);

/// Adds the rules for what lies below what `group` matches, except where `negations` re-include it.
pub fn rules(group: &[&Pattern], negations: &[&Pattern], anchor: Anchor<'_>, drafts: &mut Vec<Draft>) {
    let negations = shapes(negations);
    let re_included = |shape: &Shape| negations.iter().any(|(_, negation)| covers(negation, shape));
    let mut folders = shapes(group);
    folders.retain(|(_, shape)| !re_included(shape));
    let (fixed, floating): (Vec<Said>, Vec<Said>) =
        folders.into_iter().partition(|(_, shape)| depth(shape).is_some());
    let whole: Vec<(usize, &Said)> = negations.iter().filter_map(|said| Some((whole(&said.1)?, said))).collect();
    let limit = if floating.is_empty() { 0 } else { whole.iter().map(|(depth, _)| *depth).max().unwrap_or_default() };
    let mut writer = Writer { group, anchor, drafts };

    let depths: BTreeSet<usize> = fixed.iter().filter_map(|(_, shape)| depth(shape)).chain(1..=limit).collect();
    for depth in depths {
        let deep_enough = if depth <= limit { &floating[..] } else { &[] };
        let mut paths = Vec::new();
        let mut excepts = Vec::new();
        for (pattern, shape) in fixed.iter().chain(deep_enough) {
            // What can't be said for each depth is denied as a whole further down.
            paths.extend(at_depth(shape, depth).into_iter().flatten().map(|shape| (*pattern, shape)));
        }
        for (pattern, shape) in &negations {
            excepts.extend(at_depth(shape, depth).into_iter().flatten().map(|shape| (*pattern, shape)));
        }
        paths.retain(|(_, shape)| !excepts.iter().any(|(_, except)| covers(except, shape)));
        writer.add(&format!("-depth-{depth}"), &paths, &excepts, &[]);
    }

    let mut deep = Beyond::default();
    for said in &floating {
        deep.add(said, &negations, limit);
    }
    let folders: Vec<Said> = whole
        .iter()
        .filter_map(|(depth, (pattern, shape))| (*depth <= limit).then_some((*pattern, folder(shape)?.to_vec())))
        .collect();
    writer.add("-whole", &deep.unsaid, &[], &[]);
    writer.add("-below", &deep.paths, &deep.excepts, &folders);
    writer.add("-nested", &deep.nested, &[], &folders);
}

fn shapes<'p>(patterns: &[&'p Pattern]) -> Vec<Said<'p>> {
    patterns
        .iter()
        .flat_map(|&pattern| pattern.line.shapes.iter().map(move |shape| (pattern, shape.clone())))
        .collect()
}

/// The depth below which a negation re-includes everything that lies in one folder.
fn whole(shape: &Shape) -> Option<usize> {
    depth(folder(shape)?).filter(|&depth| (1..=MAX_DEPTH).contains(&depth))
}

/// Folders that lie deeper than a limit.
#[derive(Default)]
struct Beyond<'p> {
    /// The patterns' folders.
    paths: Vec<Said<'p>>,
    /// Folders that negations re-include.
    excepts: Vec<Said<'p>>,
    /// The lower one of two folders, of which one is ignored and another re-included.
    nested: Vec<Said<'p>>,
    /// Patterns of which nothing is excepted, for it can't be said.
    unsaid: Vec<Said<'p>>,
}

impl<'p> Beyond<'p> {
    fn add(&mut self, said: &Said<'p>, negations: &[Said<'p>], limit: usize) {
        let (pattern, shape) = said;
        let every_depth_is_said = (1..=limit).all(|depth| at_depth(shape, depth).is_some());
        let Some(shapes) = beyond(shape, limit).filter(|_| every_depth_is_said) else {
            self.unsaid.push(said.clone());
            return;
        };
        for shape in &shapes {
            if self.add_pairs(pattern, shape, negations, limit).is_none() {
                self.unsaid.push((*pattern, shape.clone()));
            } else {
                self.paths.push((*pattern, shape.clone()));
            }
        }
    }

    /// Excepts what negations re-include of a shape, and adds the pairs that must not be let through for that; nothing
    /// where they can't be said.
    fn add_pairs(&mut self, pattern: &'p Pattern, shape: &Shape, negations: &[Said<'p>], limit: usize) -> Option<()> {
        let (mut excepts, mut nested) = (Vec::new(), Vec::new());
        for (by, negation) in negations {
            for negation in beyond(negation, limit)? {
                // Of a whole folder's contents none is ignored for itself: what counts is that folder, and those above.
                let (upper, lower) = match folder(&negation) {
                    Some(folder) => (common(&below(shape), folder)?, common(shape, folder)?),
                    None => (common(&below(shape), &negation)?, common(&below(&negation), shape)?),
                };
                let ignored = lower.into_iter().filter(|lower| !negations.iter().any(|(_, by)| covers(by, lower)));
                nested.extend(upper.into_iter().chain(ignored).map(|shape| (pattern, shape)));
                excepts.push((*by, negation));
            }
        }
        for (all, more) in [(&mut self.excepts, excepts), (&mut self.nested, nested)] {
            for said in more {
                if !all.iter().any(|(_, shape)| *shape == said.1) {
                    all.push(said);
                }
            }
        }
        Some(())
    }
}

/// Writes rules about what lies below folders.
struct Writer<'a, 'p> {
    group: &'a [&'p Pattern],
    anchor: Anchor<'a>,
    drafts: &'a mut Vec<Draft>,
}

impl Writer<'_, '_> {
    fn add(&mut self, part: &str, folders: &[Said<'_>], excepts: &[Said<'_>], more: &[Said<'_>]) {
        if folders.is_empty() {
            return;
        }
        let anchor = self.anchor;
        let entries = |all: &mut dyn Iterator<Item = &Said<'_>>| -> Vec<Entry> {
            all.map(|(pattern, shape)| Entry::new(anchor.glob(&below(shape)), beside(pattern))).collect()
        };
        let (paths, excepts) = (entries(&mut folders.iter()), entries(&mut excepts.iter().chain(more)));
        self.drafts.push(draft(self.group, part, paths, excepts));
    }
}
