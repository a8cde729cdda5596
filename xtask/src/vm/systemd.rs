//! The systemd that a machine is handed over to: this machine's own, as every other program that it sees.

use std::path::Path;

use anyhow::{Result, bail};

use crate::{host, setup};

/// What `systemd.sh` runs, and Debian's package of it.
const PROGRAM: &str = "/lib/systemd/systemd";
const PACKAGE: &str = "systemd";

/// Gets it if it isn't there. Installed, it runs nothing yet: what runs a machine stays what it is.
pub fn fetch() -> Result<()> {
    if Path::new(PROGRAM).exists() {
        return Ok(());
    }
    if !host::is_root() || host::program("apt-get").is_none() {
        bail!(
            "one of the virtual machines is run by systemd, and there is no {PROGRAM}.\n    on Debian, as root: apt-get \
             install --no-install-recommends {PACKAGE}"
        );
    }
    setup::install(&[PACKAGE])
}
