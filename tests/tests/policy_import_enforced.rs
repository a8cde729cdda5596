//! What was imported holds in the kernel: files that git would ignore, commands and scripts that lists forbid.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use support::guard::{Guard, Guarded, binary};
use support::run::Job;
use support::stage::Stage;

/// Runs a script as a tool command of an agent, in a repository, under what is imported from there.
fn run(stage: &Stage, script: &str) -> Guarded {
    let repo = stage.path().join("repo");
    let import = Job::new(binary(), &repo).args(["policy", "import", "--repo", ".", "--fragment"]).run().succeeded();
    let policy = format!("version = 1\n[agent.tester]\nexe = [\"{}\"]\n{}", stage.agent().display(), import.out());
    let label = ["in", "fork", "exec", "/usr/bin/env", "CODEX_TOOL_CALL_ID=call_1", "/bin/sh", "-c", script];
    Guard::new(stage.scratch(), &policy).run(&Job::new(stage.agent(), &repo).args(label))
}

/// The rules that denied something, in order.
fn denied(guarded: &Guarded) -> Vec<&str> {
    guarded.events.denials().filter_map(|event| event["verdict"]["rule"].as_str()).collect()
}

#[test]
fn files_and_commands_are_denied_by_the_kernel() {
    let stage = Stage::new("import-enforced");
    let scratch = stage.scratch();
    fs::create_dir_all(scratch.join("repo/.git")).expect("a folder");
    scratch.write("repo/.codexignore", "*.key\n!public.key\nnotes/\n");
    scratch.write("repo/AGENTS.md", "## Disallowed commands\n- `deploy prod`\n- `touch`\n");
    scratch
        .write("repo/.codex/rules/a.rules", "prefix_rule(pattern = [\"mkdir\", \"-p\"], decision = \"forbidden\")");
    for (name, text) in [("my.key", "private"), ("public.key", "public"), ("notes/a", "private"), ("main.c", "code")]
    {
        scratch.write(format!("repo/{name}"), text);
    }
    let script = scratch.write("repo/deploy", "#!/bin/sh\necho deployed $1\n");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("a file of ours");

    let fine = run(&stage, "cat public.key main.c; ls notes; ./deploy test; mkdir made; mkdir made/too");
    assert_eq!(
        (fine.done.out().as_str(), denied(&fine)),
        ("publiccodea\ndeployed test\n", vec![]),
        "{}",
        fine.events
    );
    for (script, rule) in [
        ("cat my.key; true", "codexignore-1"),
        ("cat notes/a; true", "codexignore-3"),
        ("cat ../repo/notes/../notes/a; true", "codexignore-3"),
        ("touch x; true", "agents-3"),
        ("./deploy prod; true", "agents-scripts-deny"),
        ("sh ./deploy prod; true", "agents-scripts-deny"),
        ("env mkdir -p x/y; true", "codex-a-1"),
    ] {
        let guarded = run(&stage, script);
        assert_eq!((guarded.done.out().as_str(), denied(&guarded)), ("", vec![rule]), "{script}\n{}", guarded.events);
    }
    assert!(!scratch.join("repo/x").exists());
}
