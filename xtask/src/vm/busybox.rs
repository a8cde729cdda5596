//! The first program that a machine runs. It has to stand alone: there is no library yet.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::kernels::folder;
use super::package::unpack;
use crate::{host, setup};

const PROGRAM: &str = "busybox";
/// The Debian package with the one that stands alone. It takes the place of the other, which is not removed for a test's sake.
const PACKAGE: &str = "busybox-static";

/// Gets it if it isn't there.
pub fn fetch() -> Result<()> {
    if program().is_ok() {
        return Ok(());
    }
    if !host::is_root() || host::program("apt-get").is_none() {
        bail!(
            "virtual machines take a {PROGRAM} that needs no libraries, which is not installed.\n    on Debian, as root: \
             apt-get install --no-install-recommends {PACKAGE}"
        );
    }
    match host::program(PROGRAM) {
        None => setup::install(&[PACKAGE]),
        Some(_) => unpack(PACKAGE, &unpacked()?, "1 MB"),
    }
}

/// Where it is.
pub fn program() -> Result<PathBuf> {
    let mut places = host::program(PROGRAM).into_iter().chain([unpacked()?.join("bin").join(PROGRAM)]);
    places.find(|place| stands_alone(place)).context("there is no busybox that needs no libraries")
}

fn unpacked() -> Result<PathBuf> {
    Ok(folder()?.join("busybox"))
}

/// Whether it names no program that would have to load it.
fn stands_alone(program: &Path) -> bool {
    const LOADER: &[u8] = b"/ld-linux";
    fs::read(program).is_ok_and(|bytes| !bytes.windows(LOADER.len()).any(|text| text == LOADER))
}
