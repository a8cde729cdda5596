//! What `guard service install` has made on this machine, so that `uninstall` takes away that and nothing else. It is written
//! down before it is made: an installation that was interrupted can be uninstalled.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::parts::Wanted;

/// Where it is written down.
pub const RECORD: &str = "/var/lib/guard/service.json";

/// One thing that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Part {
    /// A folder that was missing.
    Folder {
        /// Where.
        path: PathBuf,
    },
    /// A file.
    File {
        /// Where.
        path: PathBuf,
        /// What was written, where people change it; else it is removed whatever is in it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
    /// A group.
    Group {
        /// Its name.
        name: String,
    },
}

/// All that was made, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    parts: Vec<Part>,
}

/// What became of a file that was to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is there now.
    Written,
    /// A configuration that was there is there still.
    Kept,
}

impl Made {
    /// What was made here; nothing where guard was never installed.
    ///
    /// # Errors
    /// If that can't be read.
    pub fn read() -> anyhow::Result<Option<Self>> {
        match fs::read_to_string(RECORD) {
            Ok(text) => Ok(Some(serde_json::from_str(&text).with_context(|| {
                format!(
                    "{RECORD}, which says what was installed, is not understood; was it written by a newer guard?"
                )
            })?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(RECORD),
        }
    }

    /// The parts, the last one first: in this order they are removed.
    pub fn backwards(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().rev()
    }

    /// Whether this file was made by an installation.
    pub fn has_file(&self, wanted: &Path) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::File { path, .. } if path == wanted))
    }

    /// Makes a file, and the folders above it.
    ///
    /// # Errors
    /// If that fails.
    pub fn file(&mut self, wanted: &Wanted) -> anyhow::Result<Outcome> {
        if wanted.configuration && wanted.path.exists() {
            return Ok(Outcome::Kept);
        }
        self.folders(&wanted.path)?;
        let text = wanted.configuration.then(|| String::from_utf8_lossy(&wanted.content).into_owned());
        self.parts.retain(|part| !matches!(part, Part::File { path, .. } if *path == wanted.path));
        self.note(Part::File { path: wanted.path.clone(), text })?;
        replace(&wanted.path, &wanted.content, wanted.mode)?;
        Ok(Outcome::Written)
    }

    /// Notes that a group is being made.
    ///
    /// # Errors
    /// If that can't be written down.
    pub fn group(&mut self, name: &str) -> anyhow::Result<()> {
        self.note(Part::Group { name: name.to_owned() })
    }

    /// Makes the folders above `path` that are missing.
    fn folders(&mut self, path: &Path) -> anyhow::Result<()> {
        let missing: Vec<_> = path.ancestors().skip(1).take_while(|folder| !folder.exists()).collect();
        for folder in missing.into_iter().rev() {
            self.note(Part::Folder { path: folder.to_owned() })?;
            fs::create_dir(folder).with_context(|| format!("{} can't be made", folder.display()))?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
                .with_context(|| format!("the permissions of {} can't be set", folder.display()))?;
        }
        Ok(())
    }

    fn note(&mut self, part: Part) -> anyhow::Result<()> {
        if !self.parts.contains(&part) {
            self.parts.push(part);
        }
        let record = Path::new(RECORD);
        let folder = record.parent().unwrap_or(record);
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        replace(record, &serde_json::to_vec_pretty(self)?, 0o644)
    }
}

/// Forgets that anything was made here.
///
/// # Errors
/// If the record can't be removed.
pub fn forget() -> anyhow::Result<()> {
    let record = Path::new(RECORD);
    fs::remove_file(record).context(RECORD)?;
    // Others may keep something there.
    if let Some(folder) = record.parent() {
        let _not_empty = fs::remove_dir(folder);
    }
    Ok(())
}

/// Puts a file in the place of what was there, in one step: a program that runs goes on with the old one.
fn replace(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let Some(name) = path.file_name() else { bail!("{} is no file", path.display()) };
    let part = path.with_file_name(format!(".{}.part", name.to_string_lossy()));
    let write = || {
        let mut file = File::create(&part)?;
        file.write_all(content)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write()
        .inspect_err(|_| fs::remove_file(&part).unwrap_or_default())
        .with_context(|| format!("{} can't be written", path.display()))
}
