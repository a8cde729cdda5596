//! The policy that guard ships: what it stops, and what it must leave alone for a session to go on in peace.

use guard::policy::{Compiled, Object, Places, compile, default_text};
use guard_common::walk::FACT_NETWORK_STDIN;
use guard_common::words::{Action, Op, Scope};

const PLACES: Places<'static> = Places { repo: Some(b"/home/u/src/app"), home: Some(b"/home/u") };

fn policy() -> Compiled {
    compile("policies/default.toml", default_text()).unwrap_or_else(|failure| panic!("{failure}"))
}

/// The rule that decides, with its action.
fn decide(policy: &Compiled, op: Op, scope: Scope, object: &Object<'_>, facts: u32) -> (String, Action) {
    let decision = policy.tables().decide(op, scope, object, &PLACES, facts);
    let rule = decision.rule.map_or("-".to_owned(), |rule| policy.rules[usize::from(rule)].name.clone());
    (rule, decision.action)
}

fn file(policy: &Compiled, op: Op, scope: Scope, path: &str) -> String {
    let (rule, action) = decide(policy, op, scope, &Object::Path(path.as_bytes()), 0);
    if action >= Action::Deny { rule } else { format!("{} {rule}", action.word()) }
}

#[test]
fn it_is_accepted_without_a_remark_and_tells_reasons() {
    let policy = policy();
    assert!(policy.warnings.is_empty(), "{:?}", policy.warnings);
    for rule in policy.rules.iter().filter(|rule| !rule.agent && rule.action != Action::Allow) {
        assert!(rule.reason.is_some(), "{} has no reason", rule.name);
    }
    assert!(policy.needs_net());
}

#[test]
fn codex_and_its_copies_are_agents() {
    let policy = policy();
    let mut tables = policy.tables();
    for path in [
        "/usr/lib/node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex",
        "/home/u/.codex/packages/app-server-daemon/releases/0.169.0/bin/codex",
    ] {
        assert_eq!(tables.agent_of(path.as_bytes(), &PLACES), Some(0), "{path}");
    }
    for path in ["/usr/bin/node", "/usr/bin/codex-code-mode-host", "/home/u/codex/bin/x"] {
        assert_eq!(tables.agent_of(path.as_bytes(), &PLACES), None, "{path}");
    }
}

#[test]
fn secrets_are_kept_from_tools() {
    let policy = policy();
    for path in [
        "/home/u/src/app/.env",
        "/home/u/src/app/deep/.env.production",
        "/srv/key.pem",
        "/home/u/.ssh/id_rsa",
        "/home/u/.ssh/work/key",
        "/backup/id_ed25519",
        "/home/u/.aws/credentials",
        "/home/u/.codex/auth.json",
        "/data/.codex/auth.json",
        "/home/u/.kube/config",
        "/home/u/.git-credentials",
        "/home/u/.netrc",
        "/home/u/.gnupg/private-keys-v1.d/a.key",
        "/etc/shadow",
        "/home/u/.config/gcloud/credentials.db",
        "/home/u/.config/chromium/Default/Login Data",
        "/etc/ssl/private/key.pem",
    ] {
        assert_eq!(file(&policy, Op::Read, Scope::Tool, path), "secrets", "{path}");
        assert_eq!(file(&policy, Op::Write, Scope::Tool, path), "secrets", "{path}");
    }
}

#[test]
fn what_every_program_reads_is_left_alone() {
    let policy = policy();
    for path in [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/ssl/certs/ACCVRAIZ1.pem",
        "/usr/lib/ssl/cert.pem",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/etc/ssl/cert.pem",
        "/home/u/src/app/.venv/lib/python3.11/site-packages/certifi/cacert.pem",
        "/opt/conda/ssl/cacert.pem",
        "/usr/lib/python3/dist-packages/botocore/cacert.pem",
        "/home/u/src/app/node_modules/x/test/key.pem",
        "/home/u/src/app/.env.example",
        "/home/u/.ssh/known_hosts",
        "/home/u/.ssh/config",
        "/home/u/.ssh/id_rsa.pub",
        "/home/u/.gitconfig",
        "/home/u/.bashrc",
        "/home/u/.npmrc",
        "/etc/passwd",
        "/etc/resolv.conf",
        "/proc/self/status",
        "/home/u/src/app/.git/config",
        "/dev/null",
        "/usr/bin/bash",
        "/home/u/.codex/config.toml",
        "/home/u/.codex/shell_snapshots/x.sh",
        "/home/u/src/app/.envrc",
        "/home/u/src/app/.github/workflows/ci.yml",
        "/home/u/.docker/cli-plugins/docker-buildx",
        "/home/u/.cargo/registry/src/x/tests/key.pem",
    ] {
        assert_eq!(file(&policy, Op::Read, Scope::Tool, path), "allow -", "{path}");
    }
    for path in ["/home/u/.codex/auth.json", "/home/u/.codex/.env", "/home/u/.netrc", "/data/.codex/auth.json"] {
        assert!(file(&policy, Op::Read, Scope::Harness, path).starts_with("allow"), "{path}");
    }
    assert_eq!(file(&policy, Op::Read, Scope::Harness, "/home/u/.ssh/id_rsa"), "secrets");
}

#[test]
fn writes() {
    let policy = policy();
    for path in [
        "/home/u/src/app/.github/workflows/ci.yml",
        "/home/u/x/.gitlab-ci.yml",
        "/x/Jenkinsfile",
        "/x/.circleci/config.yml",
    ] {
        for &scope in Scope::ALL {
            assert_eq!(file(&policy, Op::Write, scope, path), "ci-files", "{path}");
        }
    }
    for path in [
        "/home/u/.bashrc",
        "/home/u/.config/fish/config.fish",
        "/etc/cron.d/x",
        "/var/spool/cron/crontabs/u",
        "/home/u/.config/systemd/user/x.service",
        "/home/u/src/app/.git/hooks/pre-commit",
        "/home/u/.ssh/config",
        "/usr/lib/systemd/system/x.service",
        "/lib/systemd/system/x.service",
        "/etc/profile.d/x.sh",
    ] {
        assert_eq!(file(&policy, Op::Write, Scope::Tool, path), "shell-startup", "{path}");
    }
    for path in [
        "/home/u/src/app/main.rs",
        "/home/u/src/app/.git/index",
        "/home/u/src/app/.git/hooks/pre-commit.sample",
        "/tmp/x",
        "/dev/null",
        "/dev/pts/1",
        "/dev/shm/x",
        "/home/u/.cache/x",
        "/home/u/.codex/sessions/x",
        "/home/u/go/pkg/mod/x",
        "/home/u/.cargo/registry/src/x/.github/workflows/ci.yml",
        "/home/u/src/app/node_modules/x/.github/workflows/ci.yml",
        "/data/.codex/history.jsonl",
        "/home/u/.local/share/x",
        "/proc/self/oom_score_adj",
    ] {
        assert_eq!(file(&policy, Op::Write, Scope::Tool, path), "allow -", "{path}");
    }
    for path in ["/home/u/other/file", "/srv/x", "/usr/local/bin/x", "/home/u/.gitconfig"] {
        assert_eq!(file(&policy, Op::Write, Scope::Tool, path), "log outside-writes", "{path}");
        assert_eq!(file(&policy, Op::Write, Scope::Harness, path), "allow -", "{path}");
    }
    assert_eq!(file(&policy, Op::Write, Scope::Tool, "/dev/sda1"), "raw-devices");
    assert_eq!(file(&policy, Op::Read, Scope::Tool, "/proc/kcore"), "raw-devices");
}

fn exec(policy: &Compiled, scope: Scope, path: &str, words: &[&str], facts: u32) -> String {
    let argv: Vec<u8> = words.iter().flat_map(|word| word.bytes().chain([0])).collect();
    decide(policy, Op::Exec, scope, &Object::Command { path: path.as_bytes(), argv: &argv }, facts).0
}

#[test]
fn what_comes_from_the_network_is_not_run() {
    let policy = policy();
    let run = |path: &str, words: &[&str]| exec(&policy, Scope::Tool, path, words, FACT_NETWORK_STDIN);
    for (path, words) in [
        ("/usr/bin/dash", &["sh"][..]),
        ("/usr/bin/bash", &["bash", "-s", "--", "-y"]),
        ("/usr/bin/bash", &["/bin/bash", "-ex"]),
        ("/usr/bin/bash", &["bash", "-"]),
        ("/usr/bin/bash", &["bash", "/dev/stdin", "x"]),
        ("/usr/bin/zsh", &["zsh", "-e", "-s", "a"]),
        ("/usr/bin/python3.11", &["python3"]),
        ("/usr/bin/python3.11", &["python3", "-", "--yes"]),
        ("/usr/bin/node", &["node"]),
        ("/bin/busybox", &["sh"]),
        ("/bin/busybox", &["busybox", "sh"]),
        ("/usr/bin/perl", &["perl"]),
    ] {
        assert_eq!(run(path, words), "pipe-to-shell", "{words:?}");
        assert_eq!(exec(&policy, Scope::Tool, path, words, 0), "-", "{words:?}");
        assert_eq!(exec(&policy, Scope::Harness, path, words, FACT_NETWORK_STDIN), "-", "{words:?}");
    }
    for (path, words) in [
        ("/usr/bin/python3.11", &["python3", "-m", "json.tool"][..]),
        ("/usr/bin/python3.11", &["python3", "-c", "import json"]),
        ("/usr/bin/bash", &["bash", "-c", "cat"]),
        ("/usr/bin/bash", &["bash", "-lc", "cat"]),
        ("/usr/bin/bash", &["bash", "script.sh"]),
        ("/usr/bin/perl", &["perl", "-ne", "print"]),
        ("/bin/busybox", &["grep", "x"]),
        ("/usr/bin/tar", &["tar", "xz"]),
        ("/usr/bin/jq", &["jq", "."]),
    ] {
        assert_eq!(run(path, words), "-", "{words:?}");
    }
}

#[test]
fn sockets_that_lead_out_of_the_tree() {
    let policy = policy();
    let connect = |path: &str| decide(&policy, Op::Connect, Scope::Tool, &Object::Socket(path.as_bytes()), 0).0;
    for path in [
        "/run/docker.sock",
        "/var/run/docker.sock",
        "/run/containerd/containerd.sock",
        "/run/user/1000/podman/podman.sock",
        "/run/podman/podman.sock",
        "/run/systemd/private",
        "/run/user/1000/docker.sock",
        "/home/u/.docker/run/docker.sock",
    ] {
        assert_eq!(connect(path), "escape", "{path}");
    }
    assert_eq!(connect("/run/dbus/system_bus_socket"), "other-servers");
    for path in
        ["/run/systemd/journal/socket", "/run/nscd/socket", "/tmp/.X11-unix/X0", "@/tmp/.X11-unix/X0", "/dev/log"]
    {
        assert_eq!(connect(path), "-", "{path}");
    }
    let address = Object::Address { ip: "1.2.3.4".parse().expect("address"), port: 443 };
    assert_eq!(decide(&policy, Op::Connect, Scope::Tool, &address, 0).0, "-");
}

#[test]
fn what_is_left_behind_is_ended() {
    let policy = policy();
    assert_eq!(decide(&policy, Op::Outlive, Scope::Tool, &Object::Unknown, 0).0, "left-behind");
    assert_eq!(decide(&policy, Op::Outlive, Scope::Harness, &Object::Unknown, 0).0, "-");
}

#[test]
fn the_examples_of_the_reference_are_accepted() {
    let text = include_str!("../../docs/policy.md");
    let examples: Vec<&str> = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 2);
    // Cases for a policy have a test of their own.
    for example in examples.into_iter().filter(|example| !example.contains("[[case]]")) {
        let policy = compile("docs/policy.md", example).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(policy.warnings.is_empty());
    }
    for op in guard::policy::OPS {
        assert!(text.contains(&format!("| `{}` |", op.word())), "{} is not in the reference", op.word());
    }
}
