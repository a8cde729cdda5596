//! `guard top` beside a real session of the real Codex, in a terminal: what the session does is seen as it does it.

use std::path::Path;

use support::codex::{Desk, Mode};
use support::guard::{Guard, binary};
use support::model::Model;
use support::run::Job;
use support::tmux::Tmux;
use support::{net, session};

/// What has to be seen of a session that ran the script, by somebody who looks at each view.
fn look(tmux: &Tmux, desk: &Desk) {
    let repo = desk.repo().display().to_string();
    tmux.keys(&["1"]);
    let sessions = tmux.wait_until("the session and its denial", |screen| {
        screen.lines().any(|line| line.contains("codex") && line.contains("root") && line.ends_with("deny"))
    });
    assert!(sessions.contains("enforce"), "{sessions}");
    tmux.keys(&["3"]);
    let verdicts = tmux.wait_until("the verdict", |screen| screen.contains("secrets"));
    assert!(verdicts.contains("/.env") && verdicts.contains("cat["), "{verdicts}");
    tmux.keys(&["g", "Enter"]);
    let its_folder = format!("in {repo}");
    let tree = tmux.wait_until("the process in its tree", |screen| {
        ["call call_", "cat[", &its_folder].iter().all(|what| screen.contains(what))
    });
    assert!(
        tree.lines().any(|line| line.contains("read") && line.contains(".env") && line.contains("secrets")),
        "{tree}"
    );
    tmux.keys(&["a"]);
    tmux.wait_for("[[rule]]");
    // Escape and a key right after it would be one key with Alt.
    tmux.keys(&["n", "4", "/", "price", "Enter"]);
    tmux.wait_for("price.py");
    tmux.keys(&["5"]);
    let cost = tmux.wait_for("Ring buffers");
    assert!(cost.contains("guard daemon"), "{cost}");
}

/// Runs Codex through the script, and looks.
fn session_seen(model: &Model, desk: &Desk, tmux: &Tmux) {
    let done = desk.exec(&desk.native(), Mode::Bypass, "do it").run();
    assert_eq!(done.code(), 0, "{}", done.err());
    assert_eq!(model.results().len(), 3);
    look(tmux, desk);
    for size in [(80, 24), (300, 60), (160, 45)] {
        tmux.resize(size);
        tmux.wait_for("Ring buffers");
    }
    tmux.keys(&["q"]);
    tmux.wait_for_end();
    assert_eq!(tmux.know("#{alternate_on} #{pane_dead_status}"), "0 0", "{}", tmux.screen());
}

fn top() -> Job {
    Job::new(binary(), Path::new("/")).arg("top").env("LANG", "C.UTF-8")
}

#[test]
fn beside_the_daemon() {
    net::alone(|| {
        let model = Model::start(8765, session::script(), &[]).expect("a model");
        let desk = Desk::new("top", &model);
        let guard = Guard::new(desk.scratch(), &session::policy(&desk));
        let daemon = guard.daemon();
        let tmux = Tmux::start(desk.scratch(), &top().arg("--socket").arg(daemon.socket()), (160, 45), None);
        tmux.wait_for("0 sessions");
        session_seen(&model, &desk, &tmux);

        // For scripts, the daemon says what it knows too.
        let done = top().arg("--socket").arg(daemon.socket()).args(["--json", "--wait", "0"]).run();
        let all: serde_json::Value = serde_json::from_str(&done.out()).expect("JSON");
        assert_eq!(all["status"]["pid"], daemon.pid(), "{all:#}");
        let socket = daemon.socket().to_owned();
        let stopped = daemon.stop();
        assert_eq!(stopped.done.code(), 0, "{}", stopped.done.err());

        let done = top().arg("--socket").arg(&socket).arg("--once").run();
        assert_ne!(done.code(), 0);
        for says in ["no daemon answers", "sudo guard daemon", "--standalone", "--replay"] {
            assert!(done.err().contains(says), "{says}: {}", done.err());
        }
    });
}

#[test]
fn without_a_daemon() {
    net::alone(|| {
        let model = Model::start(8765, session::script(), &[]).expect("a model");
        let desk = Desk::new("top", &model);
        let policy = desk.scratch().write("policy.toml", session::policy(&desk));
        let job = top().args(["--standalone", "--policy"]).arg(policy);
        let tmux = Tmux::start(desk.scratch(), &job, (160, 45), None);
        tmux.wait_for("0 sessions");
        session_seen(&model, &desk, &tmux);
    });
}

/// What a `top` has left that was killed is removed by the next; where somebody listens, and what is called otherwise, stays.
#[test]
fn sockets_of_the_dead_are_removed() {
    use std::os::unix::net::UnixListener;
    let scratch = support::place::Scratch::new("top");
    let folder = Path::new("/run/guard");
    std::fs::create_dir_all(folder).expect("a folder");
    // No process has these numbers.
    let [dead, alive, other] =
        ["top-4194305.sock", "top-4194306.sock", "top-other.sock"].map(|name| folder.join(name));
    for path in [&dead, &alive, &other] {
        let _none = std::fs::remove_file(path);
    }
    drop((UnixListener::bind(&dead).expect("a socket"), UnixListener::bind(&other).expect("a socket")));
    let listener = UnixListener::bind(&alive).expect("a socket");
    let policy = "version = 1\n[agent.nobody]\nexe = [\"/nowhere/agent\"]\n";
    let policy = scratch.write("policy.toml", policy);
    drop(top().args(["--standalone", "--once", "--wait", "0", "--policy"]).arg(policy).run().succeeded());
    assert_eq!([&dead, &alive, &other].map(|path| path.exists()), [false, true, true]);
    drop(listener);
    for path in [&alive, &other] {
        std::fs::remove_file(path).expect("removed");
    }
}

/// A call that hangs is ended by a key.
#[test]
fn a_call_is_ended_by_a_key() {
    net::alone(|| {
        let script = support::model::Script::new().run("echo begun; sleep 600").say("All done.");
        let model = Model::start(8765, script, &[]).expect("a model");
        let desk = Desk::new("top", &model);
        let guard = Guard::new(desk.scratch(), &session::policy(&desk));
        let daemon = guard.daemon();
        let codex = desk.exec(&desk.native(), Mode::Bypass, "do it").start();
        let tmux = Tmux::start(desk.scratch(), &top().arg("--socket").arg(daemon.socket()), (160, 45), None);
        // What is typed before the terminal is its own comes as other keys.
        tmux.wait_for("1 Sessions");
        tmux.keys(&["2", "/", "s", "l", "e", "e", "p", "Enter"]);
        tmux.wait_for("sleep[");
        // To the call's first line.
        tmux.keys(&["Home", "x"]);
        tmux.wait_for("Kill the call call_");
        tmux.keys(&["y"]);
        tmux.wait_for("was ended");
        let done = codex.wait();
        assert_eq!(done.code(), 0, "{}", done.err());
        assert!(done.out().contains("All done."), "{}", done.out());
        tmux.keys(&["q"]);
        tmux.wait_for_end();
        drop(daemon.stop());
    });
}
