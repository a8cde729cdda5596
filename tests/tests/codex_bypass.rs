//! `codex exec` without its own sandbox: the normal case on build servers.

use support::codex::{Desk, Mode};
use support::guard::Guard;
use support::model::Model;
use support::{net, session};

#[test]
fn a_denied_file_stays_out_of_the_model_and_the_session_goes_on() {
    net::alone(|| {
        let model = Model::start(8765, session::script(), &[]).expect("a model");
        let desk = Desk::new("bypass", &model);
        let guard = Guard::new(desk.scratch(), &session::policy(&desk));
        let guarded = guard.run(&desk.exec(&desk.native(), Mode::Bypass, "do it"));
        assert_eq!(guarded.done.code(), 0, "{}", guarded.done.err());
        assert!(guarded.done.out().contains("All done."), "{}", guarded.done.out());
        session::check(&desk, &model, &guarded);
    });
}

/// What Codex opens by itself is not what it was told to open: the key that it signs in with, above all.
#[test]
fn the_shipped_policy_is_quiet_on_a_session_in_which_nothing_is_wrong() {
    net::alone(|| {
        let script = support::model::Script::new()
            .run("ls -la && git status --short && git log --oneline && git diff")
            .patch(support::codex::PATCH)
            .run("python3 -m unittest -q")
            .run("git commit -qam 'Correct the tax' && git show --stat")
            .run("find / -xdev -maxdepth 2 -name '*.md' 2>/dev/null | head; grep -n tax *.py")
            .run("t=$(mktemp) && echo x > $t && rm $t; mkdir -p build && cp price.py build/ && rm -r build")
            .say("All done.");
        let model = Model::start(8765, script, &[]).expect("a model");
        let desk = Desk::new("quiet", &model);
        desk.scratch().write("home/.codex/auth.json", r#"{"OPENAI_API_KEY":"none"}"#);
        desk.scratch().write("home/.gitconfig", "[user]\nname = user\nemail = user@localhost\n");
        let guarded = Guard::shipped(desk.scratch()).run(&desk.exec(&desk.native(), Mode::Bypass, "do it"));
        assert_eq!(guarded.done.code(), 0, "{}", guarded.done.err());
        assert_eq!(model.results().len(), 6);
        assert!(model.results()[2].contains("\nOK"), "{:?}", model.results());
        assert!(model.results()[3].contains("price.py"), "{:?}", model.results());
        let said: Vec<_> = guarded.events.0.iter().filter(|event| event["verdict"]["action"] != "allow").collect();
        let said: Vec<_> = said.into_iter().filter(|event| event.get("verdict").is_some()).collect();
        assert!(said.is_empty(), "{said:#?}");
    });
}
