//! Which repository a session works in.

use std::path::{Path, PathBuf};

/// Top level of the git repository that `folder` lies in, or `folder` itself where there is none.
///
/// A worktree's top level has a file `.git` instead of a folder; both count.
#[must_use]
pub fn top_level(folder: &Path) -> PathBuf {
    folder.ancestors().find(|above| above.join(".git").exists()).unwrap_or(folder).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_from_below_and_absent_outside() {
        let base = std::env::temp_dir().join(format!("guard-repo-{}", std::process::id()));
        let deep = base.join("repo/src/deep");
        std::fs::create_dir_all(&deep).expect("a scratch folder");
        assert_eq!(top_level(&deep), deep);
        std::fs::write(base.join("repo/.git"), "gitdir: elsewhere\n").expect("a file");
        assert_eq!(top_level(&deep), base.join("repo"));
        std::fs::remove_dir_all(&base).expect("cleaning up");
    }
}
