//! Who is told of denials by a daemon that the unit limits: what docs/notifications.md has laid beside it is enough for that.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use support::guard::policies;
use support::http::{Response, Server};
use support::pty::Terminal;
use support::run::{Job, Running};

use crate::Step;
use crate::drop_in::FOLDER;
use crate::ground::Ground;
use crate::manager::{daemon, said, systemctl, wait};

pub const STEPS: &[Step] =
    &[("by what docs/notifications.md has laid beside the unit, terminal, desktop and webhook are told", told)];

/// A user who has a name, which a bus wants, and as whom nobody works.
const USER: &str = "games";
/// The address in the example.
const EXAMPLE: &str = "https://alerts.example.org/guard";
/// Where the daemon keeps what was not delivered yet.
const SPOOL: &str = "/var/lib/guard/webhook";

/// The examples of docs/notifications.md as one file, with the options of all.
fn laid(webhook: &str) -> String {
    const COMMAND: &str = "ExecStart=guard daemon --events /var/log/guard/events.jsonl";
    let page = fs::read_to_string(policies().join("../docs/notifications.md")).expect("a page");
    let examples: Vec<&str> = page.split("```ini\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 2, "one for terminals and desktops, one for webhooks");
    let (commands, rest): (Vec<&str>, Vec<&str>) =
        examples.iter().flat_map(|example| example.lines()).partition(|line| line.starts_with("ExecStart="));
    // Without security hooks from here on: there are fewer programs to load then, which is most of what a start takes in an
    // emulated machine; and what guard does without them has to get on with the unit as well.
    let mut command = format!("{COMMAND} --without-hooks");
    for options in commands.iter().filter_map(|line| line.strip_prefix(COMMAND)) {
        command += options;
    }
    assert!(command.contains(" --notify terminal,desktop") && command.contains(EXAMPLE), "{command}");
    let text = format!("{}\n[Service]\nExecStart=\n{command}\n", rest.join("\n"));
    text.replace(EXAMPLE, webhook)
}

/// A user with a bus, on which nobody shows notifications.
struct User {
    uid: u32,
    bus: Running,
}

impl User {
    fn new(ground: &Ground) -> Self {
        let uid = nix::unistd::User::from_name(USER).expect("users").expect("this one").uid.as_raw();
        let folder = format!("/run/user/{uid}");
        fs::create_dir_all(&folder).expect("a runtime folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("theirs");
        chown(&folder, Some(uid), Some(uid)).expect("theirs");
        let options = ["--session", "--nofork", "--nopidfile", &format!("--address=unix:path={folder}/bus")];
        let bus = Job::new("dbus-daemon", ground.stage.path()).args(options).under(as_user(uid)).start();
        wait("their bus", || Path::new(&folder).join("bus").exists());
        Self { uid, bus }
    }
}

fn as_user(uid: u32) -> Vec<String> {
    ["setpriv", &format!("--reuid={uid}"), &format!("--regid={uid}"), "--clear-groups"].map(str::to_owned).to_vec()
}

/// With what is laid beside the unit now.
fn restart() {
    let before = daemon();
    for words in [["daemon-reload"].as_slice(), &["restart", "guard"]] {
        drop(systemctl(words).succeeded());
    }
    assert_ne!(daemon(), before);
}

fn told(ground: &Ground) {
    let arrived = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&arrived);
    let receiver = Server::start(0, move |request| {
        *into.lock().unwrap_or_else(PoisonError::into_inner) += &String::from_utf8_lossy(&request.body);
        Response::status(204, "taken")
    });
    let receiver = receiver.expect("a receiver");
    let user = User::new(ground);
    let file = Path::new(FOLDER).join("told.conf");
    fs::create_dir_all(FOLDER).expect("a folder");
    fs::write(&file, laid(&format!("http://{}/guard", receiver.addr()))).expect("written");
    restart();

    // The terminal is theirs, as it is when they log in.
    let mut words = ["sh", "-c", "chown \"$0\" \"$(tty)\" && exec \"$@\"", USER].map(str::to_owned).to_vec();
    words.extend(as_user(user.uid));
    let job = Job::new(ground.stage.agent(), ground.stage.path());
    // It stays until the line is there.
    let script = "cat denied/secret; read -r x";
    let mut terminal = Terminal::start(&job.args(["in", "fork", "exec", "/bin/bash", "-c", script]).under(words));
    terminal
        .wait_until("a line on the terminal", || terminal.screen().contains("; rule secrets: Nobody's business."));
    terminal.type_in("\r");
    terminal.wait();
    // Whether anybody shows notifications is what the bus answers to those alone whom it has let in.
    said(4, "nobody on their session bus shows notifications");
    wait("the webhook", || arrived.lock().unwrap_or_else(PoisonError::into_inner).contains("\"secrets\""));
    let waits = |file: fs::DirEntry| file.file_name().as_encoded_bytes().ends_with(b".jsonl");
    wait("nothing to be sent any more", || fs::read_dir(SPOOL).is_ok_and(|files| !files.flatten().any(waits)));
    drop(user.bus);
    fs::remove_dir_all(format!("/run/user/{}", user.uid)).expect("removed");
    fs::remove_file(file).expect("removed");
    // So that nothing more waits for the webhook.
    restart();
}
