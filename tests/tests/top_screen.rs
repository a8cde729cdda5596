//! `guard top` in a terminal: keys, sizes, and that the terminal is given back whatever happens.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::guard::binary;
use support::place::Scratch;
use support::pty::Terminal;
use support::run::Job;
use support::tmux::Tmux;

fn top(args: &[&str]) -> Job {
    let record = Path::new(env!("CARGO_MANIFEST_DIR")).join("top/record.jsonl");
    Job::new(binary(), Path::new("/")).args(["top", "--replay"]).arg(record).args(args).env("LANG", "C.UTF-8")
}

#[test]
fn a_record_is_played_looked_at_and_left() {
    let scratch = Scratch::new("top");
    let tmux = Tmux::start(&scratch, &top(&["--speed", "8"]), (80, 24), None);
    // With its own timing: the first session is there long before the last event.
    let early = tmux.wait_until("the first session", |screen| screen.contains("~/shop"));
    assert!(!early.contains("at its end"), "{early}");
    tmux.wait_for("at its end");
    tmux.keys(&["3"]);
    tmux.wait_for("pipe-to-shell");
    tmux.keys(&["g", "Enter"]);
    tmux.wait_for("Session 0a6fb001 in /home/ana/shop");
    tmux.keys(&["4", "/", "e", "n", "v", "Enter"]);
    let files = tmux.wait_for("/env");
    assert!(files.contains("/home/ana/shop/.env") && !files.contains("/usr/bin/git"), "{files}");
    tmux.keys(&["?"]);
    tmux.wait_for("verdicts as they come");
    tmux.keys(&["n"]);
    for (size, line) in [((300, 50), 300), ((60, 15), 60), ((80, 24), 80)] {
        tmux.resize(size);
        tmux.wait_until("a line across", |screen| {
            screen.lines().any(|text| text.chars().count() == line && text.chars().all(|c| c == '─'))
        });
    }
    assert!(tmux.coloured().contains("\x1b["), "{:?}", tmux.coloured());
    assert_eq!(tmux.know("#{alternate_on}"), "1");
    tmux.keys(&["q"]);
    tmux.wait_for_end();
    assert_eq!(tmux.know("#{alternate_on} #{pane_dead_status}"), "0 0");
}

#[test]
fn pause_holds_a_record_and_what_is_shown() {
    let scratch = Scratch::new("top");
    let tmux = Tmux::start(&scratch, &top(&["--speed", "2"]), (80, 24), None);
    tmux.wait_for("~/shop");
    tmux.keys(&["Space"]);
    tmux.wait_for("PAUSED");
    let time = |screen: &str| screen.lines().nth(1).map(|line| line[..8].to_owned());
    let before = time(&tmux.screen());
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(time(&tmux.screen()), before);
    tmux.keys(&["Space"]);
    tmux.keys(&["+", "+", "+"]);
    tmux.wait_for("at its end");
}

#[test]
fn a_rule_goes_to_the_clipboard() {
    let scratch = Scratch::new("top");
    let tmux = Tmux::start(&scratch, &top(&["--speed", "max", "--view", "verdicts"]), (100, 30), None);
    tmux.wait_for("at its end");
    tmux.keys(&["g", "a"]);
    tmux.wait_for("path = [\"{repo}/.env\"]");
    let clipboard = tmux.clipboard();
    assert!(clipboard.contains("[[rule]]") && clipboard.contains("action = \"allow\""), "{clipboard:?}");
}

#[test]
fn without_colour_there_is_none() {
    let scratch = Scratch::new("top");
    let tmux = Tmux::start(&scratch, &top(&["--speed", "max"]).env("NO_COLOR", "1"), (80, 24), None);
    tmux.wait_for("at its end");
    let screen = tmux.coloured();
    for (at, _) in screen.match_indices("\x1b[") {
        let end = screen[at..].find('m').map_or(at, |end| at + end);
        let codes = &screen[at + 2..end];
        assert!(codes.split(';').all(|code| ["", "0", "1", "4", "7", "39", "49"].contains(&code)), "{codes}");
    }
}

#[test]
fn signals_end_it_and_the_terminal_is_given_back() {
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        let scratch = Scratch::new("top");
        // A shell that says how it left the terminal.
        let job = top(&[]).under(["sh", "-c", "\"$0\" \"$@\"; echo \"code $?\"; stty -a; exec sleep 600"]);
        let tmux = Tmux::start(&scratch, &job, (100, 24), None);
        tmux.wait_for("~/shop");
        kill(child_of(tmux.pid()), signal).expect("it takes signals");
        let screen =
            tmux.wait_until("the shell again", |screen| screen.contains("code 0") && screen.contains("iexten"));
        assert!(screen.contains(" icanon ") && screen.contains(" echo "), "{signal}: {screen}");
        assert_eq!(tmux.know("#{alternate_on} #{cursor_flag}"), "0 1", "{signal}");
    }
}

/// The one child of a process.
fn child_of(pid: u32) -> Pid {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it runs");
    Pid::from_raw(text.trim().parse().expect("one child"))
}

#[test]
fn a_dumb_terminal_is_told_what_is_needed() {
    let mut terminal = Terminal::start(&top(&[]).env("TERM", "dumb"));
    let status = terminal.wait();
    terminal.wait_until("it is said", || {
        let said = terminal.screen();
        said.contains("TERM is dumb") && said.contains("--once")
    });
    assert!(!status.success());
}
