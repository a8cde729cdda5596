//! What people are told of policies that are not accepted, and that nothing they write makes guard stumble.

use std::cell::Cell;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use guard::policy::{Compiled, Failure, Object, Places, compile, default_text};
use guard_common::words::{Op, Scope};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

fn failure(text: &str) -> String {
    compile("policy.toml", text).expect_err(text).to_string()
}

/// The failure of a policy whose text, after the version, is `text`.
fn told(text: &str) -> String {
    failure(&format!("version = 1\n{text}"))
}

/// The first line of each error.
fn messages(text: &str) -> Vec<String> {
    told(text).lines().filter_map(|line| line.strip_prefix("error: ")).map(str::to_owned).collect()
}

fn rule(body: &str) -> String {
    format!("[[rule]]\nname = \"r\"\n{body}\n")
}

#[test]
fn an_unknown_key_is_shown_with_what_was_meant() {
    assert_eq!(
        told("[[rule]]\nname = \"r\"\non = [\"read\"]\n  pth = [\"/a\"]\naction = \"deny\"\n"),
        "error: unknown key `pth`
 --> policy.toml:5:3
  |
5 |   pth = [\"/a\"]
  |   ^^^ expected one of `name`, `on`, `path`, `argv`, `to`, `except`, `scope`, `by`, `phase`, `stdin`, `action` and `reason`
  = help: did you mean `path`?
"
    );
    assert_eq!(messages("zzz = 1\nmoed = \"audit\""), ["unknown key `zzz`", "unknown key `moed`"]);
}

#[test]
fn a_bad_glob() {
    assert_eq!(
        told(&rule("on = [\"read\"]\npath = [\"/ok\", \".env\"]\naction = \"deny\"")),
        "error: bad pattern `.env`
 --> policy.toml:5:16
  |
5 | path = [\"/ok\", \".env\"]
  |                ^^^^^^ it can never match, for a true path starts with `/`
  = help: to match it in every folder write `**/.env`, in the repository `{repo}/.env`
"
    );
}

#[test]
fn a_bad_glob_in_a_list_is_told_once() {
    let text = "[list]\nkeys = [\"/a[\"]\n[[rule]]\nname = \"a\"\non = [\"read\"]\npath = [\"@keys\"]\naction = \"deny\"\n\
                [[rule]]\nname = \"b\"\non = [\"write\"]\npath = [\"@keys\"]\naction = \"deny\"\n";
    assert_eq!(
        told(text),
        "error: bad pattern `/a[`
 --> policy.toml:3:9
  |
3 | keys = [\"/a[\"]
  |         ^^^^^ `[` is never closed
  = note: in the list `keys`
  = help: for the character itself write `\\[`
"
    );
}

#[test]
fn an_unknown_list() {
    assert_eq!(
        told(&format!("[list]\nsecrets = []\n{}", rule("on = [\"read\"]\npath = [\"@secret\"]\naction = \"deny\""))),
        "error: unknown list `secret`
 --> policy.toml:7:9
  |
7 | path = [\"@secret\"]
  |         ^^^^^^^^^
  = help: did you mean `secrets`?
"
    );
    let text = format!(
        "[list]\na = [\"@b\"]\nb = [\"@a\"]\n{}",
        rule("on = [\"read\"]\npath = [\"@a\"]\naction = \"deny\"")
    );
    assert_eq!(messages(&text), ["the list `a` contains itself"]);
}

#[test]
fn a_name_that_is_given_twice() {
    let one = rule("on = [\"read\"]\npath = [\"/a\"]\naction = \"deny\"");
    let two = rule("on = [\"read\"]\npath = [\"/b\"]\naction = \"deny\"");
    assert_eq!(
        told(&format!("{one}{two}")),
        "error: two rules have the name `r`
 --> policy.toml:8:8
  |
8 | name = \"r\"
  |        ^^^ a rule before it has the name too
  = help: events name the rule that decided: give each its own
"
    );
    assert!(messages("[agent.x]\nexe = [\"/x\"]\n[agent.x]\nexe = [\"/y\"]")[0].contains("duplicate key"));
    assert_eq!(
        messages(&rule("on = [\"read\"]\naction = \"deny\"").replace("\"r\"", "\"My Rule\"")),
        ["bad rule name `My Rule`"]
    );
}

#[test]
fn a_rule_that_can_never_decide() {
    let text = "[[rule]]\nname = \"all\"\non = [\"read\", \"write\"]\npath = [\"**/.env*\"]\naction = \"allow\"\n\
                [[rule]]\nname = \"env\"\non = [\"read\"]\npath = [\"{repo}/.env\"]\nscope = \"tool\"\naction = \"deny\"\n";
    assert_eq!(
        told(text),
        "error: the rule `env` can never decide
 --> policy.toml:8:8
  |
8 | name = \"env\"
  |        ^^^^^ the rule `all` before it matches everything that this one does
  = help: put it before `all`, or remove it
"
    );
    let argv = "[[rule]]\nname = \"a\"\non = [\"exec\"]\nargv = [\"git *\"]\naction = \"log\"\n\
                [[rule]]\nname = \"b\"\non = [\"exec\"]\npath = [\"/bin/git\"]\nargv = [\"git push\"]\naction = \"deny\"\n";
    assert_eq!(messages(argv), ["the rule `b` can never decide"]);
    let to = "[[rule]]\nname = \"a\"\non = [\"connect\"]\nto = [\"10.0.0.0/8\"]\naction = \"log\"\n\
              [[rule]]\nname = \"b\"\non = [\"connect\"]\nto = [\"10.1.0.0/16:80\"]\naction = \"deny\"\n";
    assert_eq!(messages(to), ["the rule `b` can never decide"]);
    let stdin = "[[rule]]\nname = \"a\"\non = [\"exec\"]\nstdin = \"network\"\naction = \"deny\"\n\
                 [[rule]]\nname = \"b\"\non = [\"exec\"]\naction = \"log\"\n";
    assert!(compile("policy.toml", &format!("version = 1\n{stdin}")).is_ok());
}

#[test]
fn operations() {
    assert_eq!(
        told(&rule("on = [\"raed\"]\naction = \"deny\"")),
        "error: unknown operation `raed`
 --> policy.toml:4:7
  |
4 | on = [\"raed\"]
  |       ^^^^^^ expected one of `exec`, `read`, `write`, `create`, `delete`, `rename`, `link`, `chmod`, `connect`, `send`, `bind`, `signal`, `ptrace`, `mount`, `privilege` and `outlive`
  = help: did you mean `read`?
"
    );
    assert_eq!(
        messages(&rule("on = [\"rename\", \"ptrace\", \"enrol\"]\naction = \"deny\"")),
        ["unknown operation `enrol`"]
    );
    assert_eq!(
        messages(&rule("on = [\"bind\"]\nto = [\"unix:/run/x\"]\naction = \"deny\"")),
        ["`bind` is about internet addresses only"]
    );
    assert_eq!(
        messages("[default]\nraed = \"deny\"\nread = \"no\""),
        ["unknown operation `raed`", "unknown action `no`"]
    );
}

#[test]
fn an_action_that_is_none() {
    assert_eq!(
        told(&rule("on = [\"read\"]\naction = \"dney\"")),
        "error: unknown action `dney`
 --> policy.toml:5:10
  |
5 | action = \"dney\"
  |          ^^^^^^ expected one of `allow`, `log`, `deny` and `kill`
  = help: did you mean `deny`?
"
    );
}

#[test]
fn versions() {
    assert_eq!(
        failure("version = 2"),
        "error: this version of the policy language is not known
 --> policy.toml:1:11
  |
1 | version = 2
  |           ^ expected `1`
  = help: a newer guard may read it
"
    );
    assert!(failure("").starts_with("error: the policy does not say its version\n"));
}

#[test]
fn conditions_must_mean_something_to_the_operations() {
    assert_eq!(
        told(&rule("on = [\"read\", \"connect\"]\npath = [\"/a\"]\naction = \"deny\"")),
        "error: the rule would decide every `connect`
 --> policy.toml:4:15
  |
4 | on = [\"read\", \"connect\"]
  |               ^^^^^^^^^ `path` means nothing to it
  = help: give it a rule of its own
"
    );
    let messages = |body: &str| messages(&rule(&format!("{body}\naction = \"deny\"")));
    assert_eq!(messages("on = [\"read\"]\nargv = [\"x\"]"), ["`argv` means nothing to the operations of this rule"]);
    assert_eq!(messages("on = [\"exec\"]\nto = [\"*\"]"), ["`to` means nothing to the operations of this rule"]);
    assert_eq!(
        messages("on = [\"outlive\"]\npath = [\"/a\"]"),
        ["`path` means nothing to the operations of this rule"]
    );
    assert_eq!(messages("on = [\"read\", \"exec\"]\nstdin = \"network\""), ["the rule would decide every `read`"]);
    assert_eq!(messages("on = [\"read\"]\npath = []"), ["`path` has no patterns, so the rule can never decide"]);
    assert_eq!(messages("on = []"), ["the rule is about no operation"]);
    assert_eq!(
        messages("on = [\"read\", \"connect\"]\npath = [\"/a\"]\nto = [\"*\"]\nexcept = [\"/b\"]"),
        ["`except` could belong to `path` or to `to`"]
    );
}

#[test]
fn wrong_types_and_wrong_toml() {
    assert_eq!(
        told(&rule("on = \"read\"\naction = 3")),
        "error: `on` has the wrong type
 --> policy.toml:4:6
  |
4 | on = \"read\"
  |      ^^^^^^ expected a list of operations, found a string
  = help: put it into brackets: `[...]`

error: `action` has the wrong type
 --> policy.toml:5:10
  |
5 | action = 3
  |          ^ expected a string, found an integer
"
    );
    assert!(told("mode = \n[x").starts_with("error: not valid TOML: "));
    assert_eq!(messages("[agent.x]\nexe = [\"**\"]"), ["every program on the machine would be this agent"]);
    assert_eq!(messages("[agent]\nx = 1\n[agent.y]"), ["`agent.x` has the wrong type", "the agent `y` has no `exe`"]);
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let text = "mode = \"of\"\nrule = [{ name = \"A\", on = [\"read\", \"x\"], path = [\"a\", \"/b/\"], action = \"deny\", y = 1 }]";
    assert_eq!(messages(text).len(), 6, "{}", told(text));
}

#[test]
fn control_characters_are_not_passed_on() {
    let told = failure("version = 1\n# \u{1b}[31m\nx = \"\u{1b}[31m");
    assert!(!told.contains('\u{1b}'), "{told:?}");
    assert!(!messages("\"\\u001b[1m\" = 1")[0].contains('\u{1b}'));
}

/// Texts made to cost much more than they are long.
#[test]
fn no_text_takes_long() {
    let rule = |path: &str| {
        format!("version = 1\n[[rule]]\nname = \"r\"\non = [\"read\"]\npath = [{path}]\naction = \"log\"\n")
    };
    let stars = "*a".repeat(1000);
    let two = format!(
        "{}{}",
        rule(&format!("'/{stars}'")),
        rule(&format!("'/{stars}b'")).replace("version = 1", "").replace("\"r\"", "\"s\"")
    );
    let doubling = (0..60).fold(String::new(), |all, n| all + &format!("l{n} = [\"@l{0}\", \"@l{0}\"]\n", n + 1));
    for text in [
        "x = ".to_owned() + &"[".repeat(100_000),
        "x".to_owned() + &".x".repeat(100_000) + " = 1",
        "[x".to_owned() + &".x".repeat(100_000) + "]",
        two,
        rule("\"@l0\"") + "[list]\n" + &doubling + "l60 = []",
        rule(&format!("'/{}'", "{".repeat(4000))),
        rule(&format!("'/{}'", "{a,b}".repeat(800))),
        rule(&format!("'/{}'", "[!a]*".repeat(800))),
        rule(&format!("'/{}'", "**/a/".repeat(100))),
    ] {
        let started = std::time::Instant::now();
        drop(compile("long", &text).map_err(|failure| failure.to_string()));
        assert!(started.elapsed().as_secs() < 10, "{}", &text[..60]);
    }
}

#[test]
fn a_list_that_nobody_uses_is_remarked_upon() {
    let policy = compile("policy.toml", "version = 1\n[list]\nspare = [\"/a\"]\n").expect("accepted");
    assert_eq!(policy.warnings.len(), 1);
    assert!(
        policy.warnings[0].to_string().starts_with("warning: the list `spare` is never used\n --> policy.toml:3:1\n")
    );
}

const PATTERNS: &[&str] = &[
    "**",
    "/**",
    "**/*",
    "**/a",
    "/a",
    "/a/**",
    "/a/b",
    "/*",
    "/a/*",
    "/?/b",
    "{repo}/**",
    "{home}/a",
    "{repo}/*",
    "**/a/**",
    "**/*a",
    "**/a*",
    "/**/a/*/b",
    "/a/**/b/**",
    "/[ab]/**/a",
    "**/b/a",
];
const COMMANDS: &[&str] = &["**", "a", "a *", "a b", "a ** b", "* b", "a* *", "** b", "a b *", "? ?"];
const TARGETS: &[&str] = &[
    "*",
    "10.0.0.0/8",
    "10.0.0.1",
    "10.0.0.0/30:80",
    "*:80",
    "*:1-100",
    "0.0.0.0/0",
    "::/0",
    "unix:/a",
    "unix:/**",
    "unix:**/a",
];

/// A few rules, each as its own text.
fn rules() -> impl Strategy<Value = Vec<String>> {
    let list = |all: &'static [&'static str]| vec(prop::sample::select(all), 1..3);
    let ops = prop::sample::subsequence(vec!["exec", "read", "write", "connect", "send"], 1..=5);
    let scope = prop::option::weighted(0.3, prop::sample::select(vec!["tool", "harness"]));
    let conditions = (list(PATTERNS), prop::option::weighted(0.3, list(COMMANDS)), list(TARGETS));
    let rule = (ops, scope, conditions, any::<[bool; 3]>());
    vec(rule, 2..6).prop_map(|rules| {
        let numbered = rules.into_iter().enumerate();
        let written = numbered.map(|(number, (ops, scope, (path, argv, to), [stdin, with_path, with_except]))| {
            let has = |any: &[&str]| ops.iter().any(|op| any.contains(op));
            let mut text = format!("[[rule]]\nname = \"r{number}\"\non = {ops:?}\naction = \"log\"\n");
            if has(&["exec", "read", "write"]) && (with_path || has(&["connect", "send"])) {
                writeln!(text, "path = {path:?}").expect("strings take everything");
            }
            if let Some(argv) = argv.filter(|_| ops == ["exec"]) {
                writeln!(text, "argv = {argv:?}").expect("strings take everything");
            }
            if has(&["connect", "send"]) {
                writeln!(text, "to = {to:?}").expect("strings take everything");
            } else if with_except && ops != ["exec"] {
                text += "except = [\"/a/a\"]\n";
            }
            if stdin && ops == ["exec"] {
                text += "stdin = \"network\"\n";
            }
            if let Some(scope) = scope {
                writeln!(text, "scope = {scope:?}").expect("strings take everything");
            }
            text
        });
        written.collect()
    })
}

/// For each object of a small world, whether the policy's first rule matches it.
fn matching(policy: &Compiled) -> Vec<bool> {
    let places = Places { repo: Some(b"/a"), home: Some(b"/b/a") };
    let names = ["a", "b", "ab", "c"];
    let mut paths: Vec<String> = vec![String::new()];
    for depth in 0..3 {
        let longer: Vec<String> = paths.iter().filter(|path| path.matches('/').count() == depth).cloned().collect();
        paths.extend(longer.iter().flat_map(|path| names.map(|name| format!("{path}/{name}"))));
    }
    paths.remove(0);
    let mut matches = Vec::new();
    let mut tables = policy.tables();
    let mut note = |op, scope, object: &Object<'_>, facts| {
        matches.push(tables.decide(op, scope, object, &places, facts).rule == Some(0));
    };
    for &scope in Scope::ALL {
        for path in &paths {
            note(Op::Read, scope, &Object::Path(path.as_bytes()), 0);
            note(Op::Write, scope, &Object::Path(path.as_bytes()), 0);
            for op in [Op::Connect, Op::Send] {
                note(op, scope, &Object::Socket(path.as_bytes()), 0);
            }
            for rest in ["", "a\0", "b\0", "a\0b\0", "b\0a\0"] {
                for facts in [0, guard_common::walk::FACT_NETWORK_STDIN] {
                    let argv = format!("x\0{rest}");
                    note(Op::Exec, scope, &Object::Command { path: path.as_bytes(), argv: argv.as_bytes() }, facts);
                }
            }
        }
        for ip in [[10, 0, 0, 1], [10, 0, 0, 2], [10, 9, 0, 1], [9, 9, 9, 9]] {
            for port in [80, 90, 443] {
                for op in [Op::Connect, Op::Send] {
                    note(op, scope, &Object::Address { ip: Ipv4Addr::from(ip).into(), port }, 0);
                }
            }
        }
    }
    matches
}

/// The rules that a failure calls unreachable.
fn unreachable(failure: &Failure) -> Vec<usize> {
    let rule = |message: &str| message.strip_prefix("the rule `r")?.strip_suffix("` can never decide")?.parse().ok();
    failure.problems.iter().filter_map(|problem| rule(&problem.message)).collect()
}

/// A rule that is said never to decide never does: whatever it matches when it stands alone, an earlier one
/// matches when it stands alone.
#[test]
fn rules_that_are_called_unreachable_are() {
    let found = Cell::new(0);
    let config = ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&rules(), |rules| {
        let Err(failure) = compile("made", &format!("version = 1\n{}", rules.concat())) else { return Ok(()) };
        let named = unreachable(&failure);
        prop_assert_eq!(named.len(), failure.problems.len(), "{}", failure);
        let matches = |rule: &String| matching(&compile("made", &format!("version = 1\n{rule}")).expect("one rule"));
        let worlds: Vec<Vec<bool>> = rules.iter().map(matches).collect();
        for rule in named {
            let decides =
                (0..worlds[rule].len()).find(|&n| worlds[rule][n] && !worlds[..rule].iter().any(|world| world[n]));
            prop_assert_eq!(decides, None, "r{} decides\n{}", rule, rules.concat());
            found.set(found.get() + 1);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(found.get() > 100, "only {} rules were called unreachable", found.get());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// No text makes the compiler panic, nor the words of policies in any order.
    #[test]
    fn no_text_is_stumbled_over(text in ".{0,200}") {
        drop(compile("garbage", &text).map_err(|failure| failure.to_string()));
    }

    #[test]
    fn no_pattern_is_stumbled_over(
        pattern in r"(\*\*/|/|\{repo\}/|unix:|\[|@)?([abé/ *?\[\]{},!^'\\:@.0-9-]|\*\*|/\*\*){0,24}",
        key in prop::sample::select(vec!["path", "argv", "to", "except"]),
        op in prop::sample::select(vec!["exec", "read", "connect"]),
    ) {
        let text = format!("version = 1\n[[rule]]\nname = \"r\"\non = [\"{op}\"]\n{key} = ['''{pattern}''']\naction = \"deny\"\n");
        match compile("garbage", &text) {
            Ok(policy) => drop(matching(&policy)),
            Err(failure) => drop(failure.to_string()),
        }
    }

    #[test]
    fn no_damage_to_a_policy_is_stumbled_over(at in any::<prop::sample::Index>(), length in 0usize..40, put in ".{0,3}") {
        let mut text: Vec<char> = default_text().chars().collect();
        let at = at.index(text.len());
        let end = (at + length).min(text.len());
        text.splice(at..end, put.chars());
        drop(compile("damaged", &text.into_iter().collect::<String>()).map_err(|failure| failure.to_string()));
    }
}
