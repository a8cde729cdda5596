//! Codex as npm puts it on the user's path: a script of node's that starts the native program.

use support::codex::{Desk, Mode};
use support::guard::Guard;
use support::model::Model;
use support::{net, session};

#[test]
fn a_denied_file_stays_out_of_the_model_and_the_session_goes_on() {
    net::alone(|| {
        let model = Model::start(8765, session::script(), &[]).expect("a model");
        let desk = Desk::new("wrapper", &model);
        let guard = Guard::new(desk.scratch(), &session::policy(&desk));
        let guarded = guard.run(&desk.exec(&desk.wrapper(), Mode::Bypass, "do it"));
        assert_eq!(guarded.done.code(), 0, "{}", guarded.done.err());
        assert!(guarded.done.out().contains("All done."), "{}", guarded.done.out());
        session::check(&desk, &model, &guarded);
    });
}
