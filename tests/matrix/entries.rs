//! Names in folders: making, removing, moving and changing them.

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::stage::{FINE, SECRET, text};

use crate::Check;
use crate::ground::Ground;

pub const CHECKS: &[Check] = &[
    ("names: what may be changed is changed, and told of", allowed),
    ("names: what may not be changed is not", kept),
    ("names: nor is what may not be removed replaced", replaced),
    ("names: a secret is not moved to where it could be read", files_moved),
    ("names: nor in a folder", folders_moved),
    ("names: nor is anything put where it could not be written", brought),
    ("names: and what no rule tells apart is moved", harmless),
];

/// Makes everything anew: where the kernel does not ask, the attempts succeed.
pub fn fresh(place: &Path) {
    for folder in ["kept", "open", "denied", "outer", "outer/inner", "open/sub", "once"] {
        let folder = place.join(folder);
        if folder.exists() {
            fs::remove_dir_all(&folder).expect("a folder of ours");
        }
        fs::create_dir_all(&folder).expect("a folder");
    }
    fs::create_dir(place.join("kept/empty")).expect("a folder");
    for (file, content) in [
        ("kept/file", SECRET),
        ("denied/secret", SECRET),
        ("outer/inner/secret", SECRET),
        ("once/file", FINE),
        ("open/file", FINE),
        ("open/other", FINE),
        ("open/sub/file", FINE),
    ] {
        fs::write(place.join(file), content).expect("written");
    }
}

/// What is attempted: its words, what the event calls it, what was attempted on which names.
type Attempt = (&'static [&'static str], &'static str, &'static str, &'static str, Option<&'static str>);

/// Makes each of the attempts on fresh ground; each is denied by this rule, and told as what it is.
fn each_denied(ground: &Ground, rule: &str, attempts: &[Attempt]) {
    each(ground, attempts, |place, how, words| Some(ground.held(rule, place, how, words)));
}

/// The same, of what shows only where the kernel asks.
fn each_denied_if_asked(ground: &Ground, rule: &str, attempts: &[Attempt]) {
    each(ground, attempts, |place, how, words| ground.held_if_asked(rule, place, how, words));
}

fn each(ground: &Ground, attempts: &[Attempt], held: impl Fn(&Path, &str, &[&str]) -> Option<Value>) {
    for place in &ground.places {
        for &(words, how, op, path, new_path) in attempts {
            fresh(place);
            let before = fingerprint(place);
            let Some(event) = held(place, how, words) else { continue };
            let name = |path: &str| Value::from(place.join(path).to_str().expect("a path of ASCII"));
            assert_eq!((text(&event, "/op"), text(&event, "/how")), (op, how), "{words:?}: {event}");
            assert_eq!(event["path"], name(path), "{words:?}: {event}");
            assert_eq!(event["new_path"], new_path.map_or(Value::Null, name), "{words:?}: {event}");
            assert!(!ground.kernel.asks(how) || fingerprint(place) == before, "{words:?} changed something");
        }
    }
}

/// What is replaced by renaming something else counts as removed.
fn replaced(ground: &Ground) {
    const WORDS: &[&str] = &["rename", "open/other", "once/file"];
    each_denied_if_asked(ground, "replaced", &[(WORDS, "rename", "delete", WORDS[1], Some(WORDS[2]))]);
    for place in &ground.places {
        fresh(place);
        ground.allowed(place, ["rename", "open/other", "once/new"]);
    }
}

/// Everything below a folder: names, sizes, owners and permissions.
fn fingerprint(place: &Path) -> String {
    let listed = support::run::Job::new("find", place)
        .args(["kept", "open", "denied", "outer", "-printf", "%p %s %y %m %U %n\n"])
        .run();
    assert_eq!(listed.code(), 0, "{}", listed.err());
    let mut lines: Vec<String> = listed.out().lines().map(str::to_owned).collect();
    lines.sort();
    lines.join("\n")
}

fn allowed(ground: &Ground) {
    for place in &ground.places {
        fresh(place);
        for words in [
            &["mkdir", "open/new"][..],
            &["make", "file", "open/made"],
            &["make", "pipe", "open/pipe"],
            &["make", "socket", "open/socket"],
            &["symlink", "file", "open/soft"],
            &["link", "open/file", "open/hard"],
            &["rename", "open/other", "open/renamed"],
            &["rename", "--exchange", "open/file", "open/renamed"],
            &["chmod", "open/file"],
            &["chown", "open/file"],
            &["cut", "open/file"],
            &["unlink", "open/hard"],
            &["rmdir", "open/new"],
        ] {
            ground.allowed(place, words);
        }
        let path = place.join("open/hard").display().to_string();
        let event = ground.told("an allowed removal", |event| event["op"] == "delete" && event["path"] == path);
        assert_eq!((text(&event, "/verdict/action"), text(&event, "/how")), ("allow", "unlink"), "{event}");
    }
}

fn kept(ground: &Ground) {
    each_denied(
        ground,
        "kept",
        &[
            (&["mkdir", "kept/new"], "mkdir", "create", "kept/new", None),
            (&["make", "file", "kept/new"], "make", "create", "kept/new", None),
            (&["make", "pipe", "kept/new"], "make", "create", "kept/new", None),
            (&["make", "socket", "kept/new"], "make", "create", "kept/new", None),
            (&["create", "kept/new"], "make", "create", "kept/new", None),
            (&["unlink", "kept/file"], "unlink", "delete", "kept/file", None),
            (&["rmdir", "kept/empty"], "rmdir", "delete", "kept/empty", None),
            (&["rename", "kept/file", "open/new"], "rename", "rename", "kept/file", Some("open/new")),
            (&["rename", "open/file", "kept/new"], "rename", "create", "open/file", Some("kept/new")),
            (&["link", "kept/file", "open/new"], "link", "link", "kept/file", Some("open/new")),
            (&["symlink", "file", "kept/new"], "symlink", "create", "kept/new", None),
            (&["chmod", "kept/file"], "chmod", "chmod", "kept/file", None),
            (&["chown", "kept/file"], "chown", "chmod", "kept/file", None),
        ],
    );
    each_denied(ground, "secrets", &[(&["cut", "denied/secret"], "truncate", "write", "denied/secret", None)]);
    if ground.kernel.version() >= (5, 11) {
        each_denied_if_asked(
            ground,
            "kept",
            &[
                (&["unlink", "--uring", "kept/file"], "unlink", "delete", "kept/file", None),
                (&["rename", "--uring", "kept/file", "open/new"], "rename", "rename", "kept/file", Some("open/new")),
            ],
        );
    }
}

fn files_moved(ground: &Ground) {
    each_denied(
        ground,
        "secrets",
        &[
            (&["rename", "denied/secret", "open/new"], "rename", "read", "denied/secret", Some("open/new")),
            (&["link", "denied/secret", "open/new"], "link", "read", "denied/secret", Some("open/new")),
        ],
    );
    // Each of the two names gets the other's file. 5.10 asks for both, without saying why.
    for place in &ground.places {
        for names in [["denied/secret", "open/file"], ["open/file", "denied/secret"]] {
            fresh(place);
            let before = fingerprint(place);
            ground.held("secrets", place, "exchange", ["rename", "--exchange"].into_iter().chain(names));
            assert!(!ground.kernel.asks("exchange") || fingerprint(place) == before, "{names:?} changed something");
        }
    }
}

fn folders_moved(ground: &Ground) {
    each_denied_if_asked(
        ground,
        "secrets",
        &[(&["rename", "denied", "open/new"], "rename", "read", "denied", Some("open/new"))],
    );
    each_denied_if_asked(
        ground,
        "inner",
        &[
            // What leads to it, and it itself.
            (&["rename", "outer", "open/new"], "rename", "read", "outer", Some("open/new")),
            (&["rename", "outer/inner", "outer/new"], "rename", "read", "outer/inner", Some("outer/new")),
        ],
    );
}

fn brought(ground: &Ground) {
    each_denied(
        ground,
        "secrets",
        &[
            (&["rename", "open/file", "denied/new"], "rename", "write", "open/file", Some("denied/new")),
            (&["link", "open/file", "denied/new"], "link", "write", "open/file", Some("denied/new")),
            (&["symlink", "file", "denied/new"], "symlink", "write", "denied/new", None),
        ],
    );
    each_denied_if_asked(
        ground,
        "inner",
        &[(&["rename", "open/sub", "open/inner"], "rename", "write", "open/sub", Some("open/inner"))],
    );
    // It has no name before. Not on the disk: what may lie over it makes no such files.
    let [_, memory] = &ground.places;
    fresh(memory);
    ground.held("secrets", memory, "link", ["make-later", "open", "denied/new"]);
    assert_eq!(memory.join("denied/new").exists(), !ground.kernel.asks("link"));
}

fn harmless(ground: &Ground) {
    for place in &ground.places {
        fresh(place);
        for words in
            [&["rename", "open/sub", "open/sub2"][..], &["rename", "outer", "outer2"], &["rename", "outer2", "outer"]]
        {
            ground.allowed(place, words);
        }
    }
}
