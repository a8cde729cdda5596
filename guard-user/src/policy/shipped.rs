//! The policies that guard ships, by their names.

use std::path::Path;
use std::sync::Arc;

use super::failure::{Failure, Problem, Source};
use super::reading::{list, suggest};
use super::source;

/// Names and texts of the policies that guard ships.
pub const SHIPPED: [(&str, &str); 6] = [
    ("audit", include_str!("../../../policies/audit.toml")),
    ("default", default_text()),
    ("isolated", include_str!("../../../policies/isolated.toml")),
    ("local-model", include_str!("../../../policies/local-model.toml")),
    ("strict", include_str!("../../../policies/strict.toml")),
    ("supply-chain", include_str!("../../../policies/supply-chain.toml")),
];

/// The policy that is used where none is given.
#[must_use]
pub const fn default_text() -> &'static str {
    include_str!("../../../policies/default.toml")
}

/// The policy that `wanted` names, if it is one that guard ships: `strict` is, `./strict` and `strict.toml` are files.
#[must_use]
pub fn shipped(wanted: &Path) -> Option<Arc<Source>> {
    let (name, text) = SHIPPED.iter().find(|(name, _)| wanted.as_os_str() == *name)?;
    Some(Source::new(&format!("the policy `{name}` that guard ships"), text))
}

/// The text of the policy that `wanted` names: one that guard ships, or a file.
pub fn named(wanted: &Path) -> Result<Arc<Source>, Failure> {
    if let Some(source) = shipped(wanted) {
        return Ok(source);
    }
    match wanted.to_str() {
        Some(name) if !name.contains(['/', '.']) && !wanted.exists() => Err(unknown(name)),
        _ => source(wanted),
    }
}

/// What is said where a name is neither a policy's nor a file's.
fn unknown(name: &str) -> Failure {
    let names = SHIPPED.map(|(name, _)| name);
    let problem = Problem::whole("there is no such file, and guard ships no policy of this name".to_owned());
    Failure::new(
        &Source::new(name, ""),
        vec![suggest(problem.help(format!("it ships {}", list(&names))), name, &names)],
    )
}
