//! JSON schemas of policies and of their cases, for editors.
//!
//! Keys and words are those that the readers go by, so the schemas can't say something else. What no schema can say,
//! such as that a name is given twice, `guard policy check` does.

use guard_common::words::{Action, Mode, Op, Scope};
use serde_json::{Map, Value, json};

use super::cases::{CASE_KEYS, CASE_REQUIRED, HOME, REPO, TOP_KEYS as CASES_KEYS};
use super::reading::words;
use super::rule::OPS;
use super::syntax::{AGENT_KEYS, IMPORT_KEYS, PHASE_KEYS, RULE_KEYS, RULE_REQUIRED, SCOPE_KEYS, TOP_KEYS};

/// The form of names.
const NAME: &str = "^[a-z0-9-]+$";
/// How a path glob begins, or a list that holds some.
const GLOB: &str = r"^(@|/|\*\*$|\*\*/|\{repo\}/|\{home\}/)";

/// How a glob over control groups begins, or a list that holds some.
const GROUP: &str = r"^(@|/|\*\*/)";

/// The schema of policies.
#[must_use]
pub fn policy() -> Value {
    schema("A policy of guard", object(TOP_KEYS, &["version"], top))
}

/// The schema of a policy's cases.
#[must_use]
pub fn cases() -> Value {
    schema("Cases for a policy of guard", object(CASES_KEYS, &[], case_top))
}

fn schema(title: &str, mut schema: Value) -> Value {
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!(title);
    schema
}

/// A table with these keys and no others.
fn object(keys: &[&str], required: &[&str], of: fn(&str) -> Value) -> Value {
    let properties: Map<String, Value> = keys.iter().map(|&key| (key.to_owned(), of(key))).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// A table with any names for keys, and one kind of value.
fn named(value: &Value) -> Value {
    json!({"type": "object", "propertyNames": {"pattern": NAME}, "additionalProperties": value})
}

fn described(mut value: Value, description: &str) -> Value {
    value["description"] = json!(description);
    value
}

fn one_of(words: &[&str]) -> Value {
    json!({"enum": words})
}

fn strings() -> Value {
    json!({"type": "array", "items": {"type": "string"}})
}

fn globs() -> Value {
    json!({"type": "array", "items": {"type": "string", "pattern": GLOB}})
}

/// A value by itself, or a list of such.
fn one_or_more(value: &Value) -> Value {
    json!({"anyOf": [value, {"type": "array", "items": value, "minItems": 1}]})
}

fn ops() -> Value {
    one_of(&words(&OPS, Op::word))
}

fn action() -> Value {
    one_of(&words(Action::ALL, Action::word))
}

fn scope() -> Value {
    one_of(&words(Scope::ALL, Scope::word))
}

/// The keys of a policy.
fn top(key: &str) -> Value {
    match key {
        "version" => described(json!({"const": 1}), "Version of the policy language."),
        "mode" => described(
            one_of(&words(Mode::ALL, Mode::word)),
            "`enforce`, or `audit`: everything is decided and reported, nothing is carried out.",
        ),
        "agent" => described(
            named(&object(AGENT_KEYS, AGENT_KEYS, |_| described(globs(), "Executables that start a session."))),
            "The programs whose processes are guarded, by name.",
        ),
        "scope" => described(
            object(SCOPE_KEYS, &[], |_| {
                described(
                    json!({"type": "array", "items": {"type": "string", "pattern": GROUP}}),
                    "Globs over the paths of control groups, whose processes are all guarded, and those of the groups below.",
                )
            }),
            "Who is guarded whatever it runs.",
        ),
        "list" => described(
            json!({"type": "object", "additionalProperties": strings()}),
            "Entries that rules use as `@NAME`. Lists may name lists.",
        ),
        "import" => described(
            object(IMPORT_KEYS, &[], |_| {
                described(
                    json!({"type": "boolean"}),
                    "Whether the .codexignore of each session's repository forbids more than the policy does.",
                )
            }),
            "What people wrote for others to obey.",
        ),
        "phase" => described(
            json!({"type": "array", "items": object(PHASE_KEYS, &["name"], phase)}),
            "The phases of a session, in their order.",
        ),
        "default" => {
            let ops: Map<String, Value> = OPS.iter().map(|op| (op.word().to_owned(), action())).collect();
            described(
                json!({"type": "object", "properties": ops, "additionalProperties": false}),
                "What is done where no rule matches; `allow` for operations that are not named.",
            )
        }
        "rule" => described(
            json!({"type": "array", "items": object(RULE_KEYS, RULE_REQUIRED, rule)}),
            "Rules, in order. The first that matches decides.",
        ),
        _ => json!({}),
    }
}

/// The keys of a phase.
fn phase(key: &str) -> Value {
    match key {
        "name" => described(json!({"type": "string", "pattern": NAME}), "What rules call it."),
        "marker" => described(strings(), "Command lines that begin it."),
        _ => json!({}),
    }
}

/// The keys of a rule.
fn rule(key: &str) -> Value {
    match key {
        "name" => described(json!({"type": "string", "pattern": NAME}), "What events call it."),
        "on" => {
            described(json!({"type": "array", "items": ops(), "minItems": 1}), "The operations that it is about.")
        }
        "path" => described(globs(), "Globs, one of which the true path must match."),
        "argv" => described(strings(), "Command-line patterns, one of which must match."),
        "to" => described(strings(), "Addresses and sockets, one of which must match."),
        "except" => described(strings(), "Patterns that must not match."),
        "scope" => described(scope(), "Only what the model asked for, or only the agent's own work."),
        "by" => described(globs(), "Executables of which the process must run one."),
        "phase" => described(
            one_or_more(&json!({"type": "string", "pattern": NAME})),
            "The phase, or phases, of the session in which it holds.",
        ),
        "stdin" => described(one_of(&["network"]), "Standard input is a pipe that brings data from the network."),
        "action" => described(action(), "What is done."),
        "reason" => described(json!({"type": "string"}), "Said to whoever is refused: write what to do instead."),
        _ => json!({}),
    }
}

/// The keys of a file of cases.
fn case_top(key: &str) -> Value {
    match key {
        "case" => described(
            json!({"type": "array", "items": object(CASE_KEYS, CASE_REQUIRED, case)}),
            "What is tried, and what is to be decided.",
        ),
        "repo" | "home" | "scope" => case(key),
        _ => json!({}),
    }
}

/// The keys of a case.
fn case(key: &str) -> Value {
    let string = json!({"type": "string"});
    match key {
        "name" => described(string, "What it is called where it fails."),
        "op" => described(one_or_more(&ops()), "The operation, or several."),
        "path" => described(
            one_or_more(&string),
            "The true path of the file, or several; `{repo}/` and `{home}/` may begin it.",
        ),
        "argv" => described(
            json!({"anyOf": [string, strings()]}),
            "The command line, as a shell would split it or as the list of its words.",
        ),
        "to" => described(one_or_more(&string), "The address and port, or `unix:` and a socket; or several."),
        "stdin" => described(one_of(&["network"]), "Standard input is a pipe that brings data from the network."),
        "scope" => described(scope(), "On whose behalf; `tool` where nothing is said."),
        "exe" => described(string, "The true path of the executable that the process runs, for rules with `by`."),
        "phase" => described(string, "The phase that the session is in; the first where nothing is said."),
        "repo" => described(string, &format!("The session's repository; `{REPO}` where nothing is said.")),
        "home" => described(string, &format!("The user's home; `{HOME}` where nothing is said.")),
        "expect" => described(action(), "What is to be decided."),
        "rule" => described(string, "The rule that is to decide; `default` where none is to."),
        _ => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every schema below `value` that accepts anything.
    fn empty(value: &Value) -> usize {
        match value {
            Value::Object(map) if map.is_empty() => 1,
            Value::Object(map) => map.values().map(empty).sum(),
            Value::Array(all) => all.iter().map(empty).sum(),
            _ => 0,
        }
    }

    #[test]
    fn every_key_is_described() {
        assert_eq!((empty(&policy()), empty(&cases())), (0, 0));
        for (keys, of) in [(TOP_KEYS, top as fn(&str) -> Value), (RULE_KEYS, rule), (PHASE_KEYS, phase)] {
            assert!(keys.iter().all(|key| of(key)["description"].is_string()), "{keys:?}");
        }
    }
}
