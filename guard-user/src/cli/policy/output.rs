//! Where a policy that guard has written goes.

use std::io::Write as _;
use std::path::Path;
use std::{fs, io};

use anyhow::Context as _;

/// Writes `text` to a file, or to standard output where there is none or it is `-`.
pub fn write(to: Option<&Path>, text: &str) -> anyhow::Result<()> {
    match to.filter(|path| path.as_os_str() != "-") {
        Some(path) => fs::write(path, text).with_context(|| format!("{} cannot be written", path.display())),
        None => io::stdout().write_all(text.as_bytes()).context("standard output cannot be written"),
    }
}
