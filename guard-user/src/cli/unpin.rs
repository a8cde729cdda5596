//! `guard unpin`: an end to what goes on enforcing without a daemon.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::kernel::{Folder, Left, pins};

/// End what a daemon that was killed left enforcing.
///
/// Ends what a daemon that was killed left enforcing, without another taking over. What a daemon enforces that runs stays.
#[derive(Args)]
pub struct Unpin {
    /// The daemon's folder of pins
    #[arg(long, value_name = "DIR", default_value = pins::FOLDER)]
    pins: PathBuf,
}

impl Unpin {
    /// Does it.
    ///
    /// # Errors
    /// If the folder can't be read.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        if !self.pins.exists() {
            println!("nothing was left: there is no {}", self.pins.display());
            return Ok(ExitCode::SUCCESS);
        }
        match end(&self.pins)? {
            0 => println!("nothing was left in {}", self.pins.display()),
            1 => println!("what a daemon left enforcing has ended"),
            count => println!("what {count} daemons left enforcing has ended"),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Ends what daemons that were killed have left in a folder; how many these were.
///
/// # Errors
/// If the folder can't be read.
pub fn end(pins: &Path) -> anyhow::Result<usize> {
    let left = Folder::open(pins)?.left_behind()?;
    let count = left.len();
    left.into_iter().for_each(Left::release);
    Ok(count)
}
