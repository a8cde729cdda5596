//! Signals to `guard run`: the command decides what they mean.

use std::time::Duration;

use nix::sys::signal::Signal;
use support::guard::Guard;
use support::pty::Terminal;
use support::run::{Job, Running};
use support::stage::{Stage, until};

/// Says `ready`, and what it answers to signals.
const SCRIPT: &str = r"
    trap 'echo interrupted; exit 7' INT
    trap 'echo terminated; exit 8' TERM
    trap 'echo hung up; exit 9' HUP
    echo ready
    i=0; while test $i -lt 400; do i=$((i + 1)); sleep 0.05; done
";

fn start(stage: &Stage, guard: &Guard) -> Running {
    let running = guard.job(&stage.script(SCRIPT)).start();
    until("the command is ready", || running.stdout().contains("ready"));
    running
}

/// Who asks guard to end asks its command.
#[test]
fn termination_and_hangup_are_passed_on() {
    let stage = Stage::new("signals");
    for (signal, code, word) in [(Signal::SIGTERM, 8, "terminated"), (Signal::SIGHUP, 9, "hung up")] {
        let guard = stage.guard("");
        let running = start(&stage, &guard);
        running.signal(signal);
        let done = running.wait();
        assert_eq!((done.code(), done.out()), (code, format!("ready\n{word}\n")), "{}", done.err());
        // guard was there until the end, and told of it.
        let ends: Vec<_> = guard.events().op("exit").map(|event| event["exit"]["code"].clone()).collect();
        assert!(ends.contains(&code.into()), "{ends:?}");
        assert_eq!(guard.events().op("session-end").count(), 1);
    }
}

/// An interrupt of guard's alone is not for the command: the terminal sends it to both.
#[test]
fn an_interrupt_of_guard_alone_is_nothing() {
    let stage = Stage::new("signals");
    let guard = stage.guard("");
    let mut running = start(&stage, &guard);
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        running.signal(signal);
        std::thread::sleep(Duration::from_millis(100));
        assert!(!running.ended(), "guard stays: {}", running.stderr());
    }
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().code(), 8);
}

/// Ctrl-C in a terminal: the command answers it, and guard waits for what that is.
#[test]
fn the_command_answers_ctrl_c() {
    let stage = Stage::new("signals");
    let guard = stage.guard("");
    let mut terminal = Terminal::start(&guard.job(&stage.script(SCRIPT)));
    until("the command is ready", || terminal.screen().contains("ready"));
    terminal.type_in("\x03");
    assert_eq!(terminal.wait().code(), Some(7), "{}", terminal.screen());
    assert!(terminal.screen().contains("interrupted"), "{}", terminal.screen());

    // Who ignores it goes on.
    let guard = stage.guard("");
    let ignores = "trap '' INT; echo ready; sleep 1; echo done";
    let mut terminal = Terminal::start(&guard.job(&stage.script(ignores)));
    until("the command is ready", || terminal.screen().contains("ready"));
    terminal.type_in("\x03");
    assert_eq!(terminal.wait().code(), Some(0), "{}", terminal.screen());
}

/// Input is the command's, and its output goes out at once, not when guard ends.
#[test]
fn standard_input_and_output_are_the_command_s() {
    let stage = Stage::new("signals");
    let guard = stage.guard("");
    let job = guard.job(&Job::new("sh", stage.path()).args(["-c", "read line; echo heard $line; sleep 60"]));
    let mut piped = job.under(["timeout", "--signal=TERM", "12", "sh", "-c", "echo hello | \"$@\"", "sh"]).start();
    until("the line is out", || piped.stdout().contains("heard hello"));
    assert!(!piped.ended());
    // timeout asks everybody to end, the command among them, and says that it had to.
    assert_eq!(piped.wait().code(), 124);
}
