//! What moving a folder would change, found out from its two names alone.

use guard::policy::{Compiled, Object, Places, Tables, compile};
use guard_common::below::{BROUGHT, MOVED, bit};
use guard_common::words::{Action, Op, Scope};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

const PLACES: Places<'static> = Places { repo: Some(b"/a/b"), home: Some(b"/c") };
/// How many policies are made up.
const CASES: u32 = 2000;

fn policy(rules: &[String]) -> Compiled {
    let text = format!("version = 1\n{}", rules.join(""));
    compile("test", &text).unwrap_or_else(|failure| panic!("{failure}\n{text}"))
}

fn rule(name: &str, on: &str, path: &str, more: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\non = [{on}]\npath = [\"{path}\"]\n{more}\n")
}

fn deny(name: &str, on: &str, path: &str) -> String {
    rule(name, on, path, "action = \"deny\"")
}

/// What the move would make possible that is denied, and what it would bring where it is denied; a bit each.
fn moved(tables: &mut Tables<'_>, old: &str, new: &str) -> (u32, u32) {
    let mut inside = |path: &str| tables.inside(path.as_bytes(), Scope::Tool, &PLACES).expect("short");
    let (before, after) = (inside(old), inside(new));
    (before.lost(&after), before.brought(&after))
}

/// The operations on a path that are denied, a bit each.
fn denied(tables: &mut Tables<'_>, path: &str) -> u32 {
    let mut denies =
        |op: Op| tables.decide(op, Scope::Tool, &Object::Path(path.as_bytes()), &PLACES, 0).action >= Action::Deny;
    [Op::Read, Op::Write, Op::Create, Op::Delete]
        .into_iter()
        .filter(|&op| denies(op))
        .fold(0, |all, op| all | bit(op))
}

#[test]
fn what_no_rule_tells_apart_is_moved() {
    let policy = policy(&[
        deny("anywhere", "\"read\"", "**/.env"),
        deny("keys", "\"read\"", "{home}/.ssh/**"),
        deny("deep", "\"read\"", "/srv/*/secret/**"),
        deny("ci", "\"write\"", "{repo}/.github/**"),
    ]);
    let mut tables = policy.tables();
    for (old, new) in [
        ("/a/b/src", "/a/b/lib"),
        ("/a/b/src", "/tmp/src"),
        ("/srv/one", "/srv/two"),
        ("/c/.ssh/x", "/c/.ssh/y"),
        ("/c/.config", "/c/.local"),
    ] {
        assert_eq!(moved(&mut tables, old, new), (0, 0), "{old} to {new}");
    }
}

#[test]
fn what_would_get_around_a_rule_is_told() {
    let policy = policy(&[
        rule("public", "\"read\"", "{home}/.ssh/config", "action = \"allow\""),
        deny("keys", "\"read\"", "{home}/.ssh/**"),
        deny("deep", "\"read\"", "/srv/*/secret/**"),
        deny("ci", "\"write\"", "{repo}/.github/**"),
        deny("chained", "\"delete\"", "{repo}/data/**/keep/*"),
    ]);
    let mut tables = policy.tables();
    let (read, write, delete) = (bit(Op::Read), bit(Op::Write), bit(Op::Delete));
    for (old, new, lost, brought) in [
        // The folder, what leads to it, and what is above the place where the pattern begins.
        ("/c/.ssh", "/tmp/x", read, 0),
        ("/c", "/d", read, 0),
        ("/srv/one", "/tmp/one", read, 0),
        ("/srv/one/secret", "/srv/one/open", read, 0),
        ("/srv", "/tmp/srv", read, 0),
        ("/a/b/.github", "/a/b/x", write, 0),
        ("/a/b/x", "/a/b/.github", 0, write),
        // Wherever below.
        ("/a/b/data", "/a/b/other", delete, 0),
        ("/a/b/data/x/keep", "/a/b/x", delete, 0),
        ("/a", "/z", write | delete, 0),
    ] {
        assert_eq!(moved(&mut tables, old, new), (lost, brought), "{old} to {new}");
    }
}

fn component() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b"), Just("ab"), Just("c")]
}

fn pattern() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        5 => component(),
        2 => Just("**"),
        2 => prop_oneof![Just("*"), Just("a*"), Just("*b"), Just("?")],
    ];
    let anchor = prop_oneof![3 => Just("/"), 1 => Just("{repo}/"), 1 => Just("{home}/")];
    (anchor, vec(part, 1..=4)).prop_map(|(anchor, mut parts)| {
        parts.dedup_by(|next, before| *next == "**" && *before == "**");
        if parts == ["**"] {
            parts.push("a");
        }
        format!("{anchor}{}", parts.join("/"))
    })
}

fn made_rule() -> impl Strategy<Value = (String, Option<String>, &'static str, &'static str)> {
    let on = prop_oneof![Just("\"read\""), Just("\"write\", \"create\""), Just("\"read\", \"delete\"")];
    let action = prop_oneof![3 => Just("deny"), 1 => Just("allow"), 1 => Just("log")];
    (pattern(), proptest::option::weighted(0.25, pattern()), on, action)
}

fn path(components: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = String> {
    vec(component(), components).prop_map(|parts| format!("/{}", parts.join("/")))
}

/// Whatever is inside of a folder, if it is denied by its old name and not by its new one, or the other way round, the move
/// is known to do that.
#[test]
fn nothing_is_moved_around_a_rule() {
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        max_global_rejects: 100 * CASES,
        failure_persistence: None,
        ..Config::default()
    });
    let names = (path(1..=4), path(1..=4));
    let case = (vec(made_rule(), 1..=6), vec((names, vec(path(1..=4), 8)), 12));
    runner
        .run(&case, |(rules, moves)| {
            let rules: Vec<String> = rules
                .iter()
                .enumerate()
                .map(|(number, (path, except, on, action))| {
                    let except = except.as_ref().map_or(String::new(), |except| format!("except = [\"{except}\"]\n"));
                    rule(&format!("r{number}"), on, path, &format!("{except}action = \"{action}\""))
                })
                .collect();
            // One with a rule that could never decide is none.
            let text = format!("version = 1\n{}", rules.join(""));
            let Ok(policy) = compile("test", &text) else { return Err(TestCaseError::reject("no policy")) };
            let mut tables = policy.tables();
            for ((old, new), inside) in moves {
                let (lost, brought) = moved(&mut tables, &old, &new);
                for below in inside {
                    let before = denied(&mut tables, &format!("{old}{below}"));
                    let after = denied(&mut tables, &format!("{new}{below}"));
                    prop_assert_eq!(before & !after & MOVED & !lost, 0, "{}{} to {}", old, below, new);
                    prop_assert_eq!(after & !before & BROUGHT & !brought, 0, "{} to {}{}", old, new, below);
                }
            }
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}
