//! What `cargo xtask test` has packed: guard's Debian package, a newer one of the same program, and the tarball.

use std::path::{Path, PathBuf};

use crate::place::target;

/// The one file of it whose name begins and ends so.
///
/// # Panics
/// Where it isn't there.
#[must_use]
pub fn packed(begin: &str, end: &str) -> PathBuf {
    let folder = std::env::var_os("GUARD_DIST_DIR").map_or_else(|| target().join("dist-tests"), PathBuf::from);
    let files = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let named = |path: &Path| {
        path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.starts_with(begin) && name.ends_with(end)
        })
    };
    files.into_iter().find(|path| named(path)).unwrap_or_else(|| {
        panic!("{begin}*{end} is not in {}: `cargo xtask test` packs what the tests need", folder.display())
    })
}
