//! The real Codex under each of the policies that guard ships, as each is meant to be used: what should work does, with
//! nothing stopped that is fine, and what should not is stopped and told.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use support::codex::{Desk, Mode, PATCH, SECRET, quit};
use support::guard::{Events, Guard, Guarded, binary, policies};
use support::http::{Response, Server};
use support::model::{Model, Script};
use support::net;
use support::place::Scratch;
use support::pty::Terminal;
use support::run::Job;
use support::stage::{text, until};

/// What the model has done in every session: look around, correct the mistake, try it, commit it.
const WORK: [&str; 5] = [
    "ls -la && git status --short && git log --oneline && git diff",
    "python3 -m unittest -q",
    "git commit -qam 'Correct the tax' && git show --stat",
    "find / -xdev -maxdepth 2 -name '*.md' 2>/dev/null | head; grep -n tax *.py; ls -l /etc | tail -3",
    "t=$(mktemp) && echo x > $t && rm $t; mkdir -p build && cp price.py build/ && rm -r build && echo tidy",
];

/// The session: that work, and then these commands.
fn script(then: &[&str]) -> Script {
    let [look, rest @ ..] = WORK;
    let commands = rest.iter().chain(then);
    commands.fold(Script::new().run(look).patch(PATCH), |script, command| script.run(*command)).say("All done.")
}

/// How many results the work has before those of the commands behind it.
const WORKED: usize = WORK.len() + 1;

/// A desk with what a user has beside a repository.
fn desk(name: &str, model: &Model) -> Desk {
    let desk = Desk::new(name, model);
    desk.scratch().write("home/.codex/auth.json", r#"{"OPENAI_API_KEY":"none"}"#);
    desk.scratch().write("home/.gitconfig", "[user]\nname = user\nemail = user@localhost\n");
    desk
}

fn guard(desk: &Desk, policy: &str) -> Guard {
    Guard::of(desk.scratch(), policies().join(policy).with_extension("toml"))
}

/// What is not simply allowed, with its rule, but for Codex's own look for plugins: whether it comes to that depends on how
/// long the session lasts.
fn told(events: &Events) -> Vec<(&str, &Value)> {
    events.none_lost();
    let judged = events.0.iter().filter(|event| !["", "allow"].contains(&text(event, "/verdict/action")));
    judged.filter(|event| !looks_for_plugins(event)).map(|event| (text(event, "/verdict/rule"), event)).collect()
}

/// Codex has git do it, and asks for a name itself.
fn looks_for_plugins(event: &Value) -> bool {
    text(event, "/scope") == "harness" && (event["port"] == 53 || text(event, "/verdict/rule") == "codex-plugins")
}

/// The rules of all that was told.
fn rules<'a>(told: &[(&'a str, &Value)]) -> Vec<&'a str> {
    let mut rules: Vec<&str> = told.iter().map(|(rule, _)| *rule).collect();
    rules.dedup();
    rules
}

/// Fails unless the session came to its end and the work was done, but for the commit, which Codex's own sandbox refuses.
/// Returns the results of the commands behind it.
fn worked(model: &Model, guarded: &Guarded, mode: Mode, then: usize) -> Vec<String> {
    let (done, results) = (&guarded.done, model.results());
    assert_eq!(done.code(), 0, "{}", done.err());
    assert!(done.out().contains("All done."), "{}\n{}", done.out(), done.err());
    assert_eq!(results.len(), WORKED + then, "{results:?}");
    assert!(results[2].contains("\nOK"), "the tests pass: {results:?}");
    let committed = results[3].contains("price.py");
    assert!(committed || mode == Mode::Sandboxed, "the correction is committed: {results:?}");
    assert!(results[5].contains("tidy"), "temporary files can be written: {results:?}");
    results[WORKED..].to_vec()
}

/// One session under a policy; what was told of it, which must be these rules in this order, and nothing else.
fn session(policy: &str, mode: Mode, then: &[&str], expected: &[&str]) {
    net::alone(|| {
        let model = Model::start(8765, script(then), &[("/data", "fetched")]).expect("a model");
        let desk = desk(policy, &model);
        let guarded = guard(&desk, policy).run(&desk.exec(&desk.native(), mode, "do it"));
        let results = worked(&model, &guarded, mode, then.len());
        assert!(!results.iter().any(|result| result.contains("fetched")), "{results:?}");
        assert!(!model.was_told(SECRET), "{results:?}");
        let told = told(&guarded.events);
        assert_eq!(rules(&told), expected, "{told:#?}");
        assert!(told.iter().all(|(_, event)| event["verdict"]["enforced"] == true), "{told:#?}");
    });
}

const FETCH: &str = "curl -sS http://127.0.0.1:8765/data";
const OUTSIDE: &str = "echo x > ../outside; ls ..";
const READ_SECRET: &str = "cat .env";

#[test]
fn default() {
    session("default", Mode::Bypass, &[READ_SECRET], &["secrets"]);
}

#[test]
fn default_around_codexs_own_sandbox() {
    session("default", Mode::Sandboxed, &[READ_SECRET], &["secrets"]);
}

#[test]
fn strict() {
    session("strict", Mode::Bypass, &[FETCH, OUTSIDE, READ_SECRET], &["no-network", "elsewhere", "secrets"]);
}

#[test]
fn strict_around_codexs_own_sandbox() {
    session("strict", Mode::Sandboxed, &[READ_SECRET], &["secrets"]);
}

/// The interactive Codex has a server of its own, that it talks to over a socket in its folder.
#[test]
fn strict_in_a_terminal() {
    net::alone(|| {
        let model = Model::start(8765, script(&[FETCH]), &[("/data", "fetched")]).expect("a model");
        let desk = desk("strict", &model);
        let guard = guard(&desk, "strict");
        let mut terminal = Terminal::start(&guard.job(&desk.interactive("do it")));
        terminal.wait_until("the turn is over", || terminal.screen().contains("All done."));
        quit(&mut terminal);
        assert!(terminal.wait().code().is_some(), "it was not killed: {}", terminal.screen());
        let results = model.results();
        assert!(results[WORKED - 1].contains("tidy") && !results[WORKED].contains("fetched"), "{results:?}");
        let events = guard.events();
        let told = told(&events);
        assert_eq!(rules(&told), ["no-network"], "{told:#?}");
    });
}

/// What a script sets up before, with the network and with keys, is all that there is then.
#[test]
fn isolated() {
    let then = ["cat package; git log --oneline | wc -l", FETCH, READ_SECRET, OUTSIDE];
    for switch in ["$GUARD phase execution", ":"] {
        net::alone(|| {
            let model = Model::start(8765, script(&then), &[("/data", "fetched")]).expect("a model");
            let desk = desk("isolated", &model);
            // Codex itself begins the phase where nobody else does.
            let setup =
                format!("{FETCH} > package && . ./.env && echo $STRIPE_KEY > ../key && {switch} && exec \"$@\"");
            let codex = desk.exec(&desk.native(), Mode::Bypass, "do it").under(["sh", "-c", &setup, "sh"]);
            let guarded = guard(&desk, "isolated").run(&codex.env("GUARD", binary()));
            let results = worked(&model, &guarded, Mode::Bypass, then.len());
            assert!(results[0].contains("fetched"), "{results:?}");
            assert!(!results[1].contains("fetched") && !model.was_told(SECRET), "{results:?}");
            assert!(fs::read_to_string(desk.scratch().join("key")).is_ok_and(|key| key.contains(SECRET)));
            let told = told(&guarded.events);
            assert_eq!(rules(&told), ["no-network", "secrets", "elsewhere"], "{told:#?}");
            let begun: Vec<&str> = guarded.events.op("phase").map(|event| text(event, "/phase")).collect();
            assert_eq!(begun, ["execution"], "{switch}");
        });
    }
}

/// Where sessions begin with Codex they begin without the network, even if what it was told makes its command line too long to
/// be judged.
#[test]
fn isolated_guarded_by_the_daemon() {
    net::alone(|| {
        let model = Model::start(8765, script(&[FETCH]), &[("/data", "fetched")]).expect("a model");
        let desk = desk("isolated", &model);
        let policy = fs::read_to_string(policies().join("isolated.toml")).expect("the policy");
        // No other Codex that happens to run on this machine.
        let own = format!("exe = [\"{}/**/codex\"]", desk.scratch().path().display());
        let daemon = Guard::new(desk.scratch(), &policy.replacen("exe = [\"**/codex\"]", &own, 1)).daemon();
        let prompt = "do it ".repeat(1000);
        let done = desk.exec(&desk.native(), Mode::Bypass, &prompt).run();
        let guarded = Guarded { done, ..daemon.stop() };
        let results = worked(&model, &guarded, Mode::Bypass, 1);
        assert!(!results[0].contains("fetched"), "{results:?}");
        let told = told(&guarded.events);
        assert_eq!(rules(&told), ["no-network"], "{told:#?}");
        assert_eq!(text(guarded.events.op("phase").next().expect("a phase"), "/phase"), "execution");
    });
}

const SEND: &str = "python3 -c 'import socket; \
                    socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b\"x\", (\"2001:db8::1\", 9))'";
const LOOK_UP: &str = "python3 -c 'import socket; \
                       socket.socket(type=socket.SOCK_DGRAM).sendto(b\"x\", (\"127.0.0.1\", 53))'";
const LEAVE: &str = "curl -sS --max-time 5 http://198.51.100.1/";

#[test]
fn local_model() {
    session("local-model", Mode::Bypass, &[LEAVE, SEND, LOOK_UP], &["leaves", "names"]);
}

/// A server of one's own on this machine is no way out.
#[test]
fn local_model_leaves_this_machine_alone() {
    net::alone(|| {
        let model = Model::start(8765, script(&[FETCH]), &[("/data", "fetched")]).expect("a model");
        let desk = desk("local-model", &model);
        let guarded = guard(&desk, "local-model").run(&desk.exec(&desk.native(), Mode::Bypass, "do it"));
        assert!(worked(&model, &guarded, Mode::Bypass, 1)[0].contains("fetched"));
        assert_eq!(rules(&told(&guarded.events)), Vec::<&str>::new());
    });
}

/// Codex itself sends nothing elsewhere either, and what it would have sent is not asked of anybody.
#[test]
fn local_model_stops_codex_where_its_model_is_elsewhere() {
    net::alone(|| {
        let model = Model::start(8765, script(&[]), &[]).expect("a model");
        let desk = desk("local-model", &model);
        let config = desk.home().join(".codex/config.toml");
        let elsewhere =
            fs::read_to_string(&config).expect("a configuration").replace("127.0.0.1:8765", "198.51.100.1");
        fs::write(&config, elsewhere).expect("it can be written");
        let codex = desk.exec(&desk.native(), Mode::Bypass, "do it");
        let running = guard(&desk, "local-model").job(&codex).start();
        // It would go on trying.
        until("a refusal", || running.stderr().contains(" connecting to 198.51.100.1:80; rule leaves"));
        assert_eq!(model.turns(), 0);
    });
}

/// Nothing is stopped, and all of it is told.
#[test]
fn audit() {
    let then = [READ_SECRET, FETCH, OUTSIDE];
    net::alone(|| {
        let model = Model::start(8765, script(&then), &[("/data", "fetched")]).expect("a model");
        let desk = desk("audit", &model);
        let guarded = guard(&desk, "audit").run(&desk.exec(&desk.native(), Mode::Bypass, "do it"));
        let results = worked(&model, &guarded, Mode::Bypass, then.len());
        assert!(results[0].contains(SECRET) && results[1].contains("fetched"), "{results:?}");
        assert!(desk.scratch().join("outside").exists());
        let told = told(&guarded.events);
        assert!(told.iter().all(|(_, event)| event["verdict"]["enforced"] == false), "{told:#?}");
        let (commands, others): (Vec<_>, Vec<_>) = told.iter().copied().partition(|(rule, _)| *rule == "commands");
        assert_eq!(rules(&others), ["secrets", "network", "elsewhere"], "{others:#?}");
        // One line for each command that the model asked for, with its text.
        assert_eq!(commands.len(), WORK.len() + then.len(), "{commands:#?}");
        for (command, (_, event)) in WORK.iter().chain(&then).zip(&commands) {
            assert_eq!(event["argv"][2], **command, "{event}");
        }
        assert!(told.iter().all(|(_, event)| text(event, "/scope") == "tool"), "{told:#?}");
    });
}

/// A registry on this machine, with one package in it.
fn registry(scratch: &Scratch) -> Server {
    scratch.write("package/package.json", r#"{"name":"demo","version":"1.0.0","description":"fetched"}"#);
    let packed = Command::new("tar").args(["-cz", "package"]).current_dir(scratch.path()).output();
    let packed = packed.expect("tar is installed").stdout;
    let server = Server::start(0, move |request| match request.path.as_str() {
        "/demo" => {
            let tarball = format!("http://{}/demo.tgz", request.header("host").unwrap_or_default());
            let version = json!({"name": "demo", "version": "1.0.0", "dist": {"tarball": tarball}});
            let package = json!({"name": "demo", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}});
            Response::ok("application/json", package.to_string())
        }
        "/demo.tgz" => Response::ok("application/octet-stream", packed.clone()),
        path => Response::status(404, path),
    });
    server.expect("a registry")
}

#[test]
fn supply_chain() {
    net::alone(|| {
        let scratch = Scratch::new("registry");
        let registry = registry(&scratch);
        let port = registry.addr().port();
        let install = format!("npm install --no-audit --no-fund --registry http://127.0.0.1:{port} demo@1.0.0");
        let then = [
            &format!("{install} && cat node_modules/demo/package.json"),
            "git add package.json package-lock.json && git commit -qm 'Add demo' && git checkout -q HEAD~1 \
             && git checkout -q main && echo back",
            "echo x >> package-lock.json",
            "npm config set registry http://127.0.0.1:9",
            "npm publish",
        ];
        let model = Model::start(8765, script(&then), &[]).expect("a model");
        let desk = desk("supply-chain", &model);
        let guarded = guard(&desk, "supply-chain").run(&desk.exec(&desk.native(), Mode::Bypass, "do it"));
        let results = worked(&model, &guarded, Mode::Bypass, then.len());
        assert!(results[0].contains("fetched") && results[1].contains("back"), "{results:?}");
        let lock = fs::read_to_string(desk.repo().join("package-lock.json")).expect("npm wrote it");
        assert!(lock.contains("demo.tgz") && lock.ends_with("}\n"), "{lock}");

        let told = told(&guarded.events);
        let expected = ["installs", "fetches", "checked-out", "lock-files", "registries", "publish"];
        assert_eq!(rules(&told), expected, "{told:#?}");
        assert!(told[0].1["argv"].to_string().contains("demo@1.0.0"), "{told:#?}");
        for (_, event) in told.iter().filter(|(rule, _)| *rule == "fetches") {
            assert_eq!((&event["addr"], &event["port"]), (&json!("127.0.0.1"), &json!(port)), "{event}");
        }
    });
}

/// It tells of one install just as well, without an agent.
#[test]
fn supply_chain_of_one_command() {
    net::alone(|| {
        let scratch = Scratch::new("registry");
        let registry = registry(&scratch);
        scratch.write("project/package.json", r#"{"name":"project","version":"1.0.0"}"#);
        let job = Job::new("npm", &scratch.join("project")).env("HOME", scratch.join("home"));
        let job = job.args(["install", "--no-audit", "--no-fund", "demo", "--registry"]);
        let policy = policies().join("supply-chain.toml");
        let guarded = Guard::of(&scratch, policy).run(&job.arg(format!("http://{}", registry.addr())));
        assert_eq!(guarded.done.code(), 0, "{}", guarded.done.err());
        assert_eq!(rules(&told(&guarded.events)), ["installs", "fetches"]);
    });
}
