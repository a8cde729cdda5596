//! `guard service uninstall`.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use nix::unistd::Group;

use super::install::call;
use super::made::{self, Made, Part, RECORD};
use super::parts::{DROP_INS, EVENTS, PACKAGED, SPOOL, UNIT_FILE};
use super::systemd::Systemd;
use crate::cli::unpin;
use crate::kernel::pins;

/// Stop the daemon, and remove what install has made.
///
/// Stops the daemon, ends what one that was killed left enforcing, and removes what `guard service install` has made. A
/// policy that was changed stays, and so do the events that were written.
#[derive(Args)]
pub struct Uninstall {
    /// Only remove the files: for images, where no systemd runs
    #[arg(long)]
    offline: bool,
}

impl Uninstall {
    /// Does it.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        super::require_root("uninstall")?;
        let systemd = Systemd::find(self.offline, "uninstall")?;
        let Some(made) = Made::read()? else {
            let packaged = PACKAGED.iter().any(|unit| Path::new(unit).exists());
            let help = if packaged {
                ". A package has installed it: remove that, such as by apt-get remove guard"
            } else {
                ""
            };
            bail!("guard service has installed nothing here: there is no {RECORD}{help}");
        };
        if Path::new(UNIT_FILE).exists() {
            systemd.disable()?;
        }
        // A daemon that was killed has left something enforcing, which nobody would expect after this.
        if !self.offline && Path::new(pins::FOLDER).exists() {
            match unpin::end(Path::new(pins::FOLDER)) {
                Ok(0) => {}
                Ok(_) => println!("ended   what a daemon that was killed had left enforcing"),
                Err(error) => {
                    println!("stays   what a daemon may have left enforcing: {error:#}. `guard unpin` ends it");
                }
            }
        }
        // Made at the daemon's start, outside of what it may change.
        let _other_daemons = fs::remove_dir(pins::FOLDER);
        for part in made.backwards() {
            remove(part)?;
        }
        systemd.forget()?;
        if !waits(Path::new(SPOOL)) {
            let _absent = fs::remove_dir_all(SPOOL);
        }
        made::forget()?;
        if Path::new(DROP_INS).exists() {
            println!("stays   {DROP_INS}, which holds for the next installation");
        }
        if Path::new(EVENTS).exists() {
            println!("stays   {EVENTS}, the events that were written");
        }
        if Path::new(SPOOL).exists() {
            println!("stays   {SPOOL}, the events that no webhook has taken yet");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether events wait in this folder.
fn waits(spool: &Path) -> bool {
    let ends = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.path().extension().is_some_and(|ending| ending == "jsonl"))
    };
    fs::read_dir(spool).is_ok_and(|mut entries| entries.any(ends))
}

/// Removes a part, if it still is what was made, and says what became of it.
fn remove(part: &Part) -> anyhow::Result<()> {
    match part {
        Part::File { path, text } => {
            if let Some(text) = text
                && fs::read(path).is_ok_and(|found| found != text.as_bytes())
            {
                println!("stays   {}, which was changed", path.display());
                return Ok(());
            }
            gone(path, fs::remove_file(path))
        }
        Part::Folder { path } => match fs::remove_dir(path) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
                println!("stays   {}, which is not empty", path.display());
                Ok(())
            }
            result => gone(path, result),
        },
        Part::Group { name } => {
            if Group::from_name(name).context("groups can't be looked up")?.is_some() {
                call("groupdel", &[name])?;
                println!("removed group {name}");
            }
            Ok(())
        }
    }
}

fn gone(path: &Path, result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Ok(()) => println!("removed {}", path.display()),
        // Somebody was faster.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("{} can't be removed", path.display())),
    }
    Ok(())
}
