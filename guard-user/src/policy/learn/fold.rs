//! Many patterns become few: those of one folder the folder's, and what another takes in is left out.

use std::collections::BTreeMap;

use super::Seen;
use crate::policy::{glob, reach};

/// Entries of one folder from which on the folder is taken as a whole.
const MANY: usize = 8;
/// Components that such a folder has at least, its place counted.
const MIN_DEPTH: usize = 3;
/// Entries up to which it is looked for those that others take in.
const MAX_COMPARED: usize = 4000;

/// The patterns, with what was seen of each.
pub type Entries = BTreeMap<String, Seen>;

/// Folds path patterns.
pub fn paths(entries: &mut Entries) {
    while let Some(folder) = crowded(entries) {
        let beginning = format!("{folder}/");
        let inside: Vec<String> = entries.keys().filter(|text| text.starts_with(&beginning)).cloned().collect();
        let mut all = Seen::default();
        for text in inside {
            if let Some(seen) = entries.remove(&text) {
                all.add(&seen);
            }
        }
        entries.insert(format!("{folder}/**"), all);
    }
    drop_covered(entries);
}

/// A folder in which many entries lie; the deepest first, so that no more than needed is taken.
fn crowded(entries: &Entries) -> Option<String> {
    let mut folders: BTreeMap<&str, usize> = BTreeMap::new();
    for text in entries.keys() {
        // What a folder stands for counts for the one above it.
        let text = text.strip_suffix("/**").unwrap_or(text);
        if let Some((folder, _)) = text.rsplit_once('/') {
            *folders.entry(folder).or_default() += 1;
        }
    }
    let enough = |folder: &str| {
        let depth = folder.split('/').count();
        // What other processes have in /proc is nobody's folder, and a home's folders are of many kinds.
        depth >= MIN_DEPTH && !folder.starts_with("/proc/") && (depth > MIN_DEPTH || !folder.starts_with('{'))
    };
    let depth = |folder: &str| folder.matches('/').count();
    let crowded = folders.into_iter().filter(|(folder, count)| *count >= MANY && enough(folder));
    crowded.map(|(folder, _)| folder).max_by_key(|folder| depth(folder)).map(str::to_owned)
}

/// Leaves out what another entry takes in, and counts it there.
fn drop_covered(entries: &mut Entries) {
    if entries.len() > MAX_COMPARED {
        return;
    }
    let parsed: Vec<(String, Vec<_>)> =
        entries.keys().filter_map(|text| Some((text.clone(), glob::parse(text).ok()?))).collect();
    for (text, patterns) in &parsed {
        let general = parsed.iter().find(|(other, general)| {
            other != text
                && entries.contains_key(other)
                && patterns.iter().all(|pattern| general.iter().any(|general| reach::covers(general, pattern)))
        });
        if let Some((general, _)) = general
            && let Some(seen) = entries.remove(text)
            && let Some(all) = entries.get_mut(general)
        {
            all.add(&seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(texts: &[&str]) -> Vec<String> {
        let mut entries: Entries = texts.iter().map(|text| ((*text).to_owned(), Seen::default())).collect();
        paths(&mut entries);
        entries.into_keys().collect()
    }

    #[test]
    fn crowded_folders_are_taken_as_a_whole_and_no_others() {
        let many: Vec<String> = (0..9).map(|n| format!("/srv/data/f{n}")).collect();
        let mut texts: Vec<&str> = many.iter().map(String::as_str).collect();
        texts.push("/srv/other");
        assert_eq!(folded(&texts), ["/srv/data/**", "/srv/other"]);
        let top: Vec<String> = (0..9).map(|n| format!("/srv/f{n}")).collect();
        assert_eq!(folded(&top.iter().map(String::as_str).collect::<Vec<_>>()).len(), 9);
        let home: Vec<String> = (0..9).map(|n| format!("{{home}}/a/b/f{n}")).collect();
        assert_eq!(folded(&home.iter().map(String::as_str).collect::<Vec<_>>()).len(), 9);
    }

    #[test]
    fn what_another_takes_in_is_left_out() {
        assert_eq!(folded(&["/a/b/**", "/a/b/c", "/a/*", "/a/x"]), ["/a/*", "/a/b/**"]);
    }
}
