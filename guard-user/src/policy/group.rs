//! Globs over control groups, by which `[scope]` names whose processes are all guarded.

use guard_common::table::NODE_ROOT;

use super::glob;
use super::pattern::{Fault, Pattern, Tail};

/// Globs that name every group there is.
const EVERYTHING: [&str; 4] = ["**", "/**", "**/*", "/*"];

/// The patterns that `text` stands for: those of the group that it names, and of all groups below it.
pub fn parse(text: &str) -> Result<Vec<Pattern>, Fault> {
    if EVERYTHING.contains(&text) {
        return Err(Fault::new("every process on the machine would be guarded")
            .help("name the groups whose processes are to be, like `/system.slice/actions.runner.*.service`"));
    }
    let named = glob::parse(text)?;
    if named.iter().any(|pattern| pattern.anchor != NODE_ROOT) {
        return Err(Fault::new("control groups lie in no session's folders")
            .help("write the path that /proc/PID/cgroup shows for a process in the group, what follows its `0::`"));
    }
    let below = named.iter().filter(|pattern| pattern.tail == Tail::End);
    let below: Vec<Pattern> = below.map(|pattern| Pattern { tail: Tail::Below, ..pattern.clone() }).collect();
    Ok([named, below].concat())
}
