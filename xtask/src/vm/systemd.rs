//! The systemd that a machine is handed over to: this machine's own, as every other program that it sees.

use std::path::Path;

use anyhow::{Result, bail};

use crate::{host, setup};

/// What `systemd.sh` and `guard-systemd` run beside guard, and Debian's package of each.
const PROGRAMS: [(&str, &str); 2] = [("/lib/systemd/systemd", "systemd"), ("/usr/bin/dbus-daemon", "dbus-daemon")];

/// Gets them if they aren't there. Installed, they run nothing yet: what runs a machine stays what it is.
pub fn fetch() -> Result<()> {
    let missing = PROGRAMS.iter().filter(|(program, _)| !Path::new(program).exists());
    let (programs, packages): (Vec<&str>, Vec<&str>) = missing.copied().unzip();
    if packages.is_empty() {
        return Ok(());
    }
    if !host::is_root() || host::program("apt-get").is_none() {
        bail!(
            "one of the virtual machines is run by systemd, and these are not there: {}.\n    on Debian, as root: apt-get \
             install --no-install-recommends {}",
            programs.join(", "),
            packages.join(" ")
        );
    }
    setup::install(&packages)
}
