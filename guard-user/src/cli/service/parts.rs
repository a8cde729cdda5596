//! What an installation consists of: the texts, and where they go.

use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::policy::default_text;

/// The unit's name.
pub const UNIT: &str = "guard.service";
/// Where administrators' units lie; packages put theirs elsewhere.
pub const UNIT_FILE: &str = "/etc/systemd/system/guard.service";
/// Where administrators lay what changes that unit.
pub const DROP_INS: &str = "/etc/systemd/system/guard.service.d";
/// Where packages put their units.
pub const PACKAGED: [&str; 2] = ["/usr/lib/systemd/system/guard.service", "/lib/systemd/system/guard.service"];
/// Where logrotate looks for what to rotate.
pub const ROTATED: &str = "/etc/logrotate.d";
/// Where guard is put, if it isn't at a place where programs belong.
pub const PROGRAM: &str = "/usr/local/bin/guard";
/// Where the unit has events written.
pub const EVENTS: &str = "/var/log/guard";
/// Where events wait for the webhook.
pub const SPOOL: &str = "/var/lib/guard/webhook";

/// A file to be made.
pub struct Wanted {
    /// Where.
    pub path: PathBuf,
    /// What is in it.
    pub content: Vec<u8>,
    /// With which permissions.
    pub mode: u32,
    /// Whether people change it: then one that is there is kept.
    pub configuration: bool,
}

/// The files of an installation whose program is at `program`. `rotates`: logrotate is there.
///
/// # Errors
/// If a unit can't name the program.
pub fn files(program: &Path, rotates: bool) -> anyhow::Result<Vec<Wanted>> {
    let text = |path: &str, content: &str, configuration| Wanted {
        path: path.into(),
        content: content.into(),
        mode: 0o644,
        configuration,
    };
    let mut files = vec![text(super::super::SYSTEM_POLICY, default_text(), true)];
    if rotates {
        let rotation = include_str!("../../../../deploy/logrotate/guard");
        files.push(text(&format!("{ROTATED}/guard"), rotation, true));
    }
    files.push(text(UNIT_FILE, &unit(program)?, false));
    Ok(files)
}

/// The unit that packages install, with the program's place in it.
fn unit(program: &Path) -> anyhow::Result<String> {
    /// Where packages put the program.
    const PACKAGED: &str = "/usr/bin/guard";
    let shown = program.to_string_lossy();
    // Whatever means something to systemd.
    if shown.contains(|c: char| c.is_whitespace() || c.is_control() || "%$'\"\\;\u{fffd}".contains(c)) {
        bail!("guard is at {shown:?}, a path that a unit can't name; move it to {PROGRAM} and call that");
    }
    let text = include_str!("../../../../deploy/systemd/guard.service");
    Ok(text.replace(&format!("={PACKAGED} "), &format!("={shown} ")))
}

/// Whether programs belong where this one is: nobody throws away a build folder below it.
pub fn stays(program: &Path) -> bool {
    ["/usr", "/opt"].iter().any(|top| program.starts_with(top))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_names_the_program() {
        let unit_of = |path: &str| unit(Path::new(path));
        let unit = unit_of("/opt/guard/bin/guard").expect("fine");
        assert!(unit.contains("\nExecStart=/opt/guard/bin/guard daemon "), "{unit}");
        assert!(unit.contains("\nExecReload=/opt/guard/bin/guard policy reload\n"), "{unit}");
        for odd in ["/opt/my tools/guard", "/opt/100%/guard", "/opt/$HOME/guard"] {
            assert!(format!("{:#}", unit_of(odd).expect_err(odd)).contains(PROGRAM));
        }
        assert!(stays(Path::new("/usr/bin/guard")) && !stays(Path::new("/home/u/target/release/guard")));
    }
}
