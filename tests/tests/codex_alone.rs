//! The scripted model and the real Codex, without guard: that the rig itself works, and that what guard stops would
//! otherwise happen.

use support::codex::{Desk, Mode, PATCH, SECRET, quit};
use support::model::{Model, Script};
use support::net;
use support::pty::Terminal;

fn session(mode: Mode) {
    net::alone(|| {
        let script = Script::new().run("cat .env").patch(PATCH).run("python3 -m unittest -q").say("All done.");
        let model = Model::start(8765, script, &[]).expect("a model");
        let desk = Desk::new("alone", &model);
        let done = desk.exec(&desk.native(), mode, "do it").run().succeeded();
        assert!(done.out().contains("All done."), "{}\n{}", done.out(), done.err());
        assert!(model.was_told(SECRET), "nobody held it back: {:?}", model.results());
        assert_eq!(model.turns(), 4);
        assert!(model.results()[2].contains("OK"), "{:?}", model.results());
    });
}

#[test]
fn bypassed() {
    session(Mode::Bypass);
}

#[test]
fn sandboxed() {
    session(Mode::Sandboxed);
}

/// Interactive, the tools run under a server that Codex leaves running: what guard has to follow there is not below the
/// program that the user started.
#[test]
fn interactive() {
    net::alone(|| {
        let model = Model::start(8765, Script::new().run("cat .env").say("All done."), &[]).expect("a model");
        let desk = Desk::new("alone", &model);
        let mut terminal = Terminal::start(&desk.interactive("do it"));
        terminal.wait_until("the turn is over", || terminal.screen().contains("All done."));
        assert!(model.was_told(SECRET), "nobody held it back: {:?}", model.results());
        quit(&mut terminal);
        assert_ne!(desk.left(), Vec::<i32>::new(), "the server that it started lives on");
        desk.clear();
        assert_eq!(desk.left(), Vec::<i32>::new());
    });
}
