//! The interactive Codex: its tools run under a server that it starts, each in a session of its own, and leaves running.

use support::codex::{Desk, quit};
use support::guard::{Guard, Guarded};
use support::model::Model;
use support::pty::Terminal;
use support::run::Finished;
use support::{net, session};

/// Started by the user, with the daemon looking on: nothing but its path says that it is an agent.
#[test]
fn what_runs_under_its_server_is_held_back_too() {
    net::alone(|| {
        let model = Model::start(8765, session::script(), &[]).expect("a model");
        let desk = Desk::new("tui", &model);
        let daemon = Guard::new(desk.scratch(), &session::policy(&desk)).daemon();
        let mut terminal = Terminal::start(&desk.interactive("do it"));
        terminal.wait_until("the turn is over", || terminal.screen().contains("All done."));
        quit(&mut terminal);
        desk.clear();
        session::check(&desk, &model, &daemon.stop());
    });
}

/// Under `guard run`, in the user's terminal.
#[test]
fn guard_run_leaves_the_terminal_to_it() {
    net::alone(|| {
        let model = Model::start(8765, session::script(), &[]).expect("a model");
        let desk = Desk::new("tui", &model);
        let guard = Guard::new(desk.scratch(), &session::policy(&desk));
        let mut terminal = Terminal::start(&guard.job(&desk.interactive("do it")));
        terminal.wait_until("the turn is over", || terminal.screen().contains("All done."));
        quit(&mut terminal);
        let status = terminal.wait();
        let done = Finished {
            status,
            stdout: terminal.screen().into(),
            stderr: Vec::new(),
            took: std::time::Duration::ZERO,
        };
        session::check(&desk, &model, &Guarded { done, events: guard.events() });
    });
}
