//! What an administrator lays beside the unit.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use support::guard::policies;

use crate::Step;
use crate::ground::Ground;
use crate::hammer::Hammer;
use crate::manager::{daemon, journal_text, of_unit, said, systemctl};

pub const STEPS: &[Step] =
    &[("restarted, it enforces throughout, and honours what docs/install.md has laid beside the unit", honoured)];

/// Where they are laid, by `systemctl edit` among others.
pub const FOLDER: &str = "/etc/systemd/system/guard.service.d";
/// Names of two.
const LAID: [&str; 2] = ["override.conf", "patience.conf"];

/// The example of a page.
fn example(page: &str) -> String {
    let text = fs::read_to_string(policies().join("../docs").join(page)).expect("a page");
    let example = text.split_once("```ini\n").and_then(|(_, rest)| rest.split_once("```"));
    example.unwrap_or_else(|| panic!("no example in {page}")).0.to_owned()
}

/// What the example of docs/install.md is for: Prometheus scrapes over TCP.
fn scraped() -> String {
    let mut stream = TcpStream::connect("127.0.0.1:9470").expect("metrics are served");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: guard\r\nConnection: close\r\n\r\n").expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

/// Both are in force.
pub fn in_force() {
    assert_eq!(of_unit("DropInPaths"), LAID.map(|name| format!("{FOLDER}/{name}")).join(" "));
    assert!(scraped().contains("\nguard_enforcing{"), "{}", scraped());
    assert_eq!(of_unit("WatchdogUSec"), "4s");
    assert_eq!(of_unit("ActiveState"), "active", "{}", journal_text());
}

fn honoured(ground: &Ground) {
    fs::create_dir_all(FOLDER).expect("a folder");
    // Without security hooks, as before this.
    let example = example("install.md").replace(" --metrics ", " --without-hooks --metrics ");
    assert!(example.contains(" --without-hooks "), "{example}");
    let texts = [example, "[Service]\nWatchdogSec=4\nEnvironment=GUARD_LOG=debug\n".to_owned()];
    for (name, text) in LAID.iter().zip(texts) {
        fs::write(Path::new(FOLDER).join(name), text).expect("written");
    }
    let before = daemon();
    let hammer = Hammer::on(ground);
    for words in [["daemon-reload"].as_slice(), &["restart", "guard"]] {
        drop(systemctl(words).succeeded());
    }
    hammer.was_stopped();
    assert_ne!(daemon(), before);
    assert_eq!(["NRestarts", "Result"].map(of_unit), ["0", "success"]);
    in_force();
    assert!(!of_unit("StatusText").contains("lsm"), "{}", of_unit("StatusText"));
    said(7, "session");
}
