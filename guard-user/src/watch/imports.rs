//! What the repositories of running sessions forbid beyond the policy: their `.codexignore`.
//!
//! A repository's file is read when a session starts there, and holds as long as one of its sessions runs; what changes in
//! it meanwhile changes nothing. Where another session starts and finds another text, both hold. The rules name absolute
//! paths and stand before the policy's own, and all of them deny: nothing is allowed by them.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use guard_common::tree::Id;

use super::Watch;
use crate::policy::import::{Anchor, MAX_BYTES, Refusal, Symlinks, codexignore, read};
use crate::policy::{self, Compiled, Failure, Imported, Source};

/// The file's name.
const FILE: &str = ".codexignore";

/// What is imported, by repository.
#[derive(Default)]
pub(super) struct Imports(BTreeMap<String, Repository>);

/// A repository with a file, and the sessions that run in it.
#[derive(Default)]
struct Repository {
    /// Each text that a session found.
    texts: Vec<(Vec<u8>, Imported)>,
    sessions: HashSet<Id>,
}

impl Imports {
    /// A session starts in `repo`; whether there are rules that were not there before.
    fn session_starts(&mut self, tree: Id, repo: &Path) -> Result<bool, Refusal> {
        let path = repo.join(FILE);
        if std::fs::symlink_metadata(&path).is_err() {
            return Ok(false);
        }
        let text = read(&path, MAX_BYTES, Symlinks::Refused)?;
        let Some(folder) = repo.to_str() else {
            return Err(Refusal { place: None, what: "the folder's name is not UTF-8 text".to_owned() });
        };
        let imported = codexignore(&text, Anchor::Folder(folder))?;
        let repository = self.0.entry(folder.to_owned()).or_default();
        repository.sessions.insert(tree);
        if repository.texts.iter().any(|(known, _)| *known == text) {
            return Ok(false);
        }
        repository.texts.push((text, imported));
        Ok(true)
    }

    /// A session is over; whether there are rules that nobody needs any more.
    fn session_ends(&mut self, tree: Id) -> bool {
        let before = self.0.len();
        self.0.retain(|_, repository| !(repository.sessions.remove(&tree) && repository.sessions.is_empty()));
        self.0.len() != before
    }

    /// Says what is imported.
    fn tell(&self) {
        for (folder, repository) in &self.0 {
            let rules: usize = repository.texts.iter().map(|(_, imported)| imported.drafts.len()).sum();
            tracing::info!("{folder}/{FILE} is enforced: {rules} rules");
        }
    }

    /// All rules.
    fn rules(&self) -> Vec<Imported> {
        self.0.values().flat_map(|repository| &repository.texts).map(|(_, imported)| imported.clone()).collect()
    }
}

impl Watch<'_> {
    /// A session starts in `repo`.
    pub(super) fn import(&mut self, tree: Id, repo: &[u8]) {
        if !self.policy.import_codexignore {
            return;
        }
        let repo = Path::new(OsStr::from_bytes(repo));
        match self.imports.session_starts(tree, repo) {
            Ok(true) => self.import_again(),
            Ok(false) => {}
            Err(refusal) => not_imported(&repo.join(FILE).display().to_string(), &refusal),
        }
    }

    /// A session is over.
    pub(super) fn forget_import(&mut self, tree: Id) {
        if self.imports.session_ends(tree) {
            self.import_again();
        }
    }

    /// Puts the policy in force with all that is imported now; where that fails, what was in force stays.
    fn import_again(&mut self) {
        let result = self
            .compile_with_imports(&self.source)
            .map_err(|failure| anyhow::anyhow!("{failure}"))
            .and_then(|compiled| self.put_in_force(compiled));
        match result {
            Ok(()) => self.imports.tell(),
            Err(error) => self.none_imported(&error),
        }
    }

    /// The policy in `source`, which compiles to `plain`, with all that is imported if it wants that: without, where both
    /// together are too large.
    pub(super) fn with_imports(&self, source: &Arc<Source>, plain: Compiled) -> Compiled {
        if !plain.import_codexignore || self.imports.0.is_empty() {
            return plain;
        }
        self.compile_with_imports(source).unwrap_or_else(|failure| {
            self.none_imported(&failure);
            plain
        })
    }

    fn compile_with_imports(&self, source: &Arc<Source>) -> Result<Compiled, Failure> {
        let mut rules = self.imports.rules();
        rules.push(self.own.rules());
        policy::read_with(Arc::clone(source), &rules).map(|whole| whole.compiled)
    }

    fn none_imported(&self, why: &dyn std::fmt::Display) {
        let folders: Vec<&str> = self.imports.0.keys().map(String::as_str).collect();
        not_imported(&format!("{FILE} of {}", folders.join(", ")), why);
    }
}

fn not_imported(what: &str, why: &dyn std::fmt::Display) {
    tracing::warn!("{what} is not enforced: {why}");
}
