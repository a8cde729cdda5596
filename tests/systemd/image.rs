//! Before the machine is up: guard is installed in what is only an image yet.

use std::fs;

use crate::ground::{self, INSTALLED, traces};

/// Installs it, for the boot that follows.
pub fn install() {
    let before = traces();
    assert!(before.is_empty(), "something of guard is there already: {before:#?}");
    // As where there is logrotate.
    fs::create_dir_all("/etc/logrotate.d").expect("a folder");
    let done = ground::service(&["install", "--offline"]).succeeded();
    assert!(done.out().contains("enabled guard.service, from the next boot on"), "{}", done.out());
    for made in [INSTALLED, "/etc/systemd/system/guard.service", "/etc/logrotate.d/guard", ground::POLICY] {
        assert!(done.out().contains(&format!("made    {made}\n")), "{made}\n{}", done.out());
    }
}
