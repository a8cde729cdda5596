//! What emulates the machines: the QEMU that is installed, or one that is unpacked beside what is built. Where other packages
//! of QEMU are installed, its versions may conflict, and nothing is removed from this machine for a test's sake.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use super::kernels::folder;
use super::package::unpack;
use crate::{host, say, setup};

const PROGRAM: &str = "qemu-system-x86_64";
/// The Debian package that it is in.
const PACKAGE: &str = "qemu-system-x86";

/// Gets it if it isn't there.
pub fn fetch() -> Result<()> {
    if host::program(PROGRAM).is_some() || unpacked()?.exists() {
        return Ok(());
    }
    if !host::is_root() || host::program("apt-get").is_none() {
        bail!(
            "virtual machines take {PROGRAM}, which is not installed.\n    on Debian, as root: apt-get install \
             --no-install-recommends {PACKAGE}"
        );
    }
    if let Err(error) = setup::install(&[PACKAGE]) {
        say::step(&format!("{PACKAGE} can't be installed beside what is installed here; it is unpacked instead"));
        unpack(PACKAGE, &unpacked()?, "20 MB").map_err(|failure| failure.context(format!("{error:#}")))?;
    }
    Ok(())
}

/// The command that runs it.
pub fn command() -> Result<Command> {
    if host::program(PROGRAM).is_some() {
        return Ok(Command::new(PROGRAM));
    }
    let root = unpacked()?;
    let libraries = root.join("usr/lib/x86_64-linux-gnu");
    let mut command = Command::new(root.join("usr/bin").join(PROGRAM));
    command
        .env("LD_LIBRARY_PATH", format!("{}:{}", libraries.display(), root.join("lib/x86_64-linux-gnu").display()));
    command.env("QEMU_MODULE_DIR", libraries.join("qemu"));
    for data in ["usr/share/qemu", "usr/share/seabios"] {
        command.arg("-L").arg(root.join(data));
    }
    Ok(command)
}

fn unpacked() -> Result<PathBuf> {
    Ok(folder()?.join("qemu"))
}
