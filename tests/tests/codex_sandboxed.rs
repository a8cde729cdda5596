//! `codex exec` in its own sandbox: its tools run in namespaces of their own, behind bwrap and seccomp.

use support::codex::{Desk, Mode};
use support::guard::Guard;
use support::model::Model;
use support::{net, session};

#[test]
fn a_denied_file_stays_out_of_the_model_and_the_session_goes_on() {
    net::alone(|| {
        let model = Model::start(8765, session::script(), &[]).expect("a model");
        let desk = Desk::new("sandboxed", &model);
        let guard = Guard::new(desk.scratch(), &session::policy(&desk));
        let guarded = guard.run(&desk.exec(&desk.native(), Mode::Sandboxed, "do it"));
        assert_eq!(guarded.done.code(), 0, "{}", guarded.done.err());
        assert!(guarded.done.out().contains("All done."), "{}", guarded.done.out());
        session::check(&desk, &model, &guarded);
    });
}
