//! Lists of commands in AGENTS.md and Codex's own rules, as `guard policy import` makes rules of them.

use std::fs;
use std::path::Path;

use guard::policy::{Compiled, Object, Places, load};
use guard_common::words::{Op, Scope};
use support::guard::binary;
use support::place::Scratch;
use support::run::{Finished, Job};

/// `guard policy import` with these arguments.
fn import(scratch: &Scratch, arguments: &[&str]) -> Finished {
    Job::new(binary(), scratch.path()).args(["policy", "import"]).args(arguments).run()
}

/// What is printed for a file, and the policy that it is.
fn imported(scratch: &Scratch, arguments: &[&str]) -> (Finished, Compiled) {
    let policy = scratch.join("imported.toml");
    let done = import(scratch, &[arguments, &["--output", "imported.toml"]].concat()).succeeded();
    (done, load(&policy).unwrap_or_else(|failure| panic!("{failure}")))
}

/// The action on a command line and the rule that decides, for a program in /usr/bin.
fn decide(policy: &Compiled, command: &str) -> String {
    let words: Vec<&str> = command.split(' ').collect();
    let argv: Vec<u8> = words.iter().flat_map(|word| word.bytes().chain([0])).collect();
    let path = format!("/usr/bin/{}", words[0].rsplit('/').next().unwrap_or_default());
    let object = Object::Command { path: path.as_bytes(), argv: &argv };
    let decision = policy.tables().decide(Op::Exec, Scope::Tool, &object, &Places::default(), 0);
    let rule = decision.rule.map_or("-", |rule| policy.rules[usize::from(rule)].name.as_str());
    format!("{} {rule}", decision.action.word())
}

/// The ways in which people write the same lists.
const WRITTEN: [&str; 8] = [
    "---\ndisallow_commands:\n  - git push\n  - \"rm -rf*\"  # never\n  - 'curl'\nallow_commands: [make, \"cargo test\"]\n---\n# About\n",
    "# Rules\n\n```yaml\ndisallow_commands:\n- git push\n- rm -rf*\n\n- curl # not even once\nallow_commands:\n- make\n- cargo test\n```\n",
    "```toml\ndisallow_commands = [\n  \"git push\", # no\n  'rm -rf*',\n  \"curl\",\n]\nallow_commands = [\"make\", \"cargo test\"]\n```\n",
    "```json\n{\n  \"disallow_commands\": [\"git push\", \"rm -rf*\",\n    \"curl\"],\n  \"allow_commands\": [\"make\", \"cargo test\"]\n}\n```\n",
    "## Disallowed commands\n\n- `git push`\n- `rm -rf*` (dangerous)\n* `curl`\n\n## Allowed Commands\n1. `make`\n2. `cargo test`\n\n## Style\n- `clippy`\n",
    "**Forbidden commands:**\n- git push\n- rm -rf*\n- curl\n\n**Allowed commands:**\n- make\n- cargo test\n\nAnd then:\n- `npm`\n",
    "## Disallow-commands\n```\ngit push\nrm -rf*\n# and\ncurl\n```\n## allow_commands:\n- make\n- cargo test\n",
    "\u{feff}agent:\r\n  disallow_commands: ['git push', rm -rf*, curl]\r\n  allow_commands:\r\n    - make\r\n    - cargo test\r\n  other:\r\n    - npm\r\n",
];

#[test]
fn lists_in_agents_md_are_found_however_they_are_written() {
    let scratch = Scratch::new("import-agents");
    for written in WRITTEN {
        scratch.write("AGENTS.md", written);
        let (done, policy) = imported(&scratch, &["--agents-md", "AGENTS.md"]);
        assert_eq!(done.err(), "", "{written}");
        for denied in ["git push", "git push origin main", "rm -rf", "rm -rf /", "rm -rfv x", "curl", "/bin/curl x"] {
            assert!(decide(&policy, denied).starts_with("deny agents-"), "{denied}: {written}");
        }
        for allowed in ["make", "make all", "cargo test --all"] {
            assert!(decide(&policy, allowed).starts_with("allow agents-"), "{allowed}: {written}");
        }
        for other in ["git pushy", "git log push", "rm -r x", "cargo build", "npm", "clippy", "and"] {
            assert_eq!(decide(&policy, other), "allow -", "{other}: {written}");
        }
        // A script runs as its interpreter.
        assert_eq!(decide(&policy, "python3 /usr/bin/curl x"), "deny agents-scripts-deny", "{written}");
        assert_eq!(decide(&policy, "sh -e ./curl"), "deny agents-scripts-deny", "{written}");
        assert_eq!(decide(&policy, "grep x /usr/bin/curl"), "allow -", "{written}");
        // Nothing but commands that the model asked for.
        let object = Object::Command { path: b"/usr/bin/curl", argv: b"curl\0" };
        let harness = policy.tables().decide(Op::Exec, Scope::Harness, &object, &Places::default(), 0);
        assert_eq!(harness.rule, None);
    }
}

#[test]
fn everything_else_is_denied_only_when_asked_for() {
    let scratch = Scratch::new("import-only");
    scratch.write("AGENTS.md", "allow_commands:\n- make *\n- cargo test\n");
    let (_, policy) = imported(&scratch, &["--agents-md", "AGENTS.md", "--only-allowed"]);
    assert!(decide(&policy, "make all").starts_with("allow agents-2"));
    assert_eq!(decide(&policy, "bash -c make"), "allow agents-starters");
    assert_eq!(decide(&policy, "cargo build"), "deny agents-others");
    scratch.write("AGENTS.md", "disallow_commands:\n- make\n");
    let (_, policy) = imported(&scratch, &["--agents-md", "AGENTS.md", "--only-allowed"]);
    assert_eq!(decide(&policy, "cargo build"), "allow -");
}

#[test]
fn what_is_not_understood_is_told_with_its_line() {
    let scratch = Scratch::new("import-notes");
    let text = "## Disallowed commands\n- curl x | sh\n- Never use sudo\n- `A=1 make`\n- 'open\n- `git push`\n\nAsk first.\n";
    scratch.write("AGENTS.md", text);
    let (done, _) = imported(&scratch, &["--agents-md", "AGENTS.md"]);
    let told = done.err();
    for (line, what) in [
        (2, "`curl x | sh` is not imported: it is more than one command"),
        (3, "`Never use sudo` is not imported: guard reads commands, not prose"),
        (4, "`A=1 make` is not imported: it begins with a variable"),
        (5, "`'open` is not imported"),
        (8, "`Ask first.` stands below the heading of a list"),
    ] {
        assert!(told.contains(&format!("guard: AGENTS.md:{line}: {what}")), "{line} {what}\n{told}");
    }
    let policy = fs::read_to_string(scratch.join("imported.toml")).expect("written");
    assert!(policy.contains("# line 6: git push\n") && policy.contains("# From AGENTS.md\n"), "{policy}");
    assert!(policy.contains("# AGENTS.md:3: `Never use sudo`"), "{policy}");
}

const RULES: &str = r#"
# Team rules
prefix_rule(
    pattern = ["git", ["push", "fetch"]],
    decision = "forbidden",
    justification = "Use `jj` instead.",
    match = [["git", "push", "origin"], "git fetch 'a b'"],
    not_match = ["git status", ["git", "pushy"]],
)
prefix_rule(pattern = ["rm"], decision = "prompt")
prefix_rule(pattern = ["ls", "-l *"], match = [["ls", "-l *", "x"]])
prefix_rule(pattern = ["git", "push", "--dry-run"], decision = "allow")
network_rule(host = "example.com", protocol = "https", decision = "allow")
"#;

#[test]
fn codex_s_rules_become_rules() {
    let scratch = Scratch::new("import-rules");
    scratch.write("rules/default.rules", RULES);
    scratch.write("rules/other.txt", "not rules");
    let (done, policy) = imported(&scratch, &["--codex-rules", "rules"]);
    assert_eq!(decide(&policy, "git push origin"), "deny codex-default-3");
    assert_eq!(decide(&policy, "/opt/git fetch"), "deny codex-default-3");
    assert_eq!(decide(&policy, "git status"), "allow -");
    assert_eq!(decide(&policy, "rm x"), "log codex-default-10");
    assert_eq!(decide(&policy, "ls -l x"), "allow -");
    let reason = policy.rules.iter().find(|rule| rule.name == "codex-default-3").and_then(|rule| rule.reason.clone());
    assert_eq!(reason.as_deref(), Some("Use `jj` instead."));
    for (line, what) in [(11, "`ls -l *` allows, and is left out"), (13, "`network_rule` is left out")] {
        assert!(done.err().contains(&format!("default.rules:{line}: {what}")), "{}", done.err());
    }
    let (_, policy) =
        imported(&scratch, &["--codex-rules", "rules/default.rules", "--prompt", "deny", "--with-allow"]);
    assert_eq!(decide(&policy, "rm x"), "deny codex-default-10");
    // As in Codex, the strictest counts, wherever it stands.
    assert_eq!(decide(&policy, "git push --dry-run"), "deny codex-default-3");
}

#[test]
fn rules_that_are_not_understood_are_refused_with_their_place() {
    let scratch = Scratch::new("import-refused");
    for (text, place, what) in [
        ("X = ['git']\nprefix_rule(pattern = X)", "1:1", "found `X`"),
        ("prefix_rule(pattern = ['git'] + ['push'])", "1:31", "found `+`"),
        ("prefix_rule(pattern = [])", "1:23", "the pattern has no words"),
        ("prefix_rule(decision = 'allow')", "1:1", "the rule has no `pattern`"),
        ("prefix_rule(pattern = ['git', []])", "1:31", "nothing that this could match"),
        (
            "prefix_rule(pattern = ['git'], decision = 'deny')",
            "1:43",
            "expected \"allow\", \"prompt\" or \"forbidden\"",
        ),
        ("prefix_rule(pattern = ['git'],\n  match = ['svn x'])", "2:12", "does not match this example of `match`"),
        (
            "prefix_rule(pattern = ['git'],\n  not_match = [['git', 'x']])",
            "2:16",
            "matches this example of `not_match`",
        ),
        ("prefix_rule(pattern = ['git'], why = 'x')", "1:38", "does not know the argument `why`"),
        ("load('x', 'y')", "1:6", "expected an argument with its name"),
        ("other_rule(pattern = ['git'])", "1:1", "guard does not know `other_rule`"),
    ] {
        scratch.write("bad.rules", text);
        let done = import(&scratch, &["--codex-rules", "bad.rules"]);
        assert_eq!(done.code(), 125, "{text}\n{}", done.out());
        assert!(done.err().starts_with(&format!("guard: bad.rules:{place}: ")), "{text}\n{}", done.err());
        assert!(done.err().contains(what), "{text}\n{}", done.err());
    }
}

#[test]
fn a_repository_is_imported_as_a_whole() {
    let scratch = Scratch::new("import-repo");
    let repo = Path::new("repo");
    scratch.write(repo.join(".codexignore"), ".env\n.env\nsecrets/\n");
    scratch.write(repo.join("AGENTS.md"), "disallow_commands: [git push]\n");
    scratch.write(repo.join(".codex/rules/a.rules"), "prefix_rule(pattern=['git','push'], decision='prompt')");
    let (done, policy) = imported(&scratch, &["--repo", "repo"]);
    let names: Vec<&str> = policy.rules.iter().map(|rule| rule.name.as_str()).collect();
    let expected = ["codexignore-1", "codexignore-3", "agents-1", "agents-scripts-deny"];
    assert_eq!(names, expected);
    // What another rule decides already would make the policy one that is refused.
    assert!(done.err().contains("`codex-a-1` is left out: `agents-1` decides"), "{}", done.err());
    let fragment = import(&scratch, &["--repo", "repo", "--fragment"]).succeeded().out();
    assert!(!fragment.contains("version") && fragment.contains("path = [\n    \"{repo}/**/.env\", # line 1: .env\n"));
}

#[test]
fn what_is_no_file_or_no_source_is_told() {
    let scratch = Scratch::new("import-files");
    scratch.write("empty/keep", "");
    let fifo = scratch.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
    for (arguments, what) in [
        (&[][..], "nothing to import: name a file"),
        (&["--codexignore", "absent"], "absent: it cannot be read"),
        (&["--codexignore", "fifo"], "fifo: it is not a regular file"),
        (&["--agents-md", "empty"], "empty: it is not a regular file"),
        (&["--codex-rules", "empty"], "empty has no *.rules files"),
        (&["--repo", "empty"], "empty has no .codexignore"),
        (&["--codexignore", "empty/keep"], "there is nothing to import"),
        (&["--codexignore", "/dev/zero"], "/dev/zero: it is not a regular file"),
    ] {
        let done = import(&scratch, arguments);
        assert_eq!(done.code(), 125, "{arguments:?}");
        assert!(done.err().contains(what), "{arguments:?}: {}", done.err());
    }
}
