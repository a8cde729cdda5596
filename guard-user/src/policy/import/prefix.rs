//! Codex's own `.rules` files: its `prefix_rule`s become rules about execs.

use guard_common::words::{Action, Op, Scope};

use super::command::{Command, INTERPRETERS, base_name, word};
use super::starlark::{self, Call, Located, Value};
use super::{HEADER, Imported, Note, Refusal};
use crate::policy::draft::{Draft, Entry};
use crate::policy::{Object, Places, compile};

/// What becomes of rules that do not forbid.
#[derive(Clone, Copy, Debug)]
pub struct Choices {
    /// What is done about commands that Codex asks a person about.
    pub prompt: Action,
    /// Rules that allow become rules too. They weaken whatever policy stands behind them.
    pub allow: bool,
}

/// What Codex decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Allow,
    Prompt,
    Forbidden,
}

/// A `prefix_rule`.
struct PrefixRule {
    line: usize,
    command: Command,
    shown: String,
    verdict: Verdict,
    justification: Option<String>,
}

/// The rules that a file's text stands for; their names begin with `name`.
///
/// # Errors
/// With line and column, if something in it is not understood, or an example does not do what the file says.
pub fn codex_rules(text: &str, name: &str, choices: Choices) -> Result<Imported, Refusal> {
    let mut imported = Imported::default();
    let mut scripts = Vec::new();
    for call in starlark::read(text)? {
        match call.name.as_str() {
            "prefix_rule" => {
                let rule = prefix_rule(&call)?;
                let draft = rule.draft(name, choices);
                examples(&call, &draft)?;
                if rule.verdict == Verdict::Allow && !choices.allow {
                    let what = "allows, and is left out: it could only weaken the policy that it is put into";
                    imported.notes.push(Note::new(rule.line, &rule.shown, what));
                    continue;
                }
                scripts.push((draft.action, rule.command.script(&format!("line {}", rule.line))));
                imported.drafts.push(draft);
            }
            "network_rule" | "host_executable" => {
                let what = "is left out: it is not about what a command line begins with";
                imported.notes.push(Note::new(call.place.0, &call.name, what));
            }
            other => {
                let what = format!("guard does not know `{other}`; it reads `prefix_rule`");
                return Err(Refusal { place: Some(call.place), what });
            }
        }
    }
    for action in [Action::Deny, Action::Log, Action::Allow] {
        let entries = scripts.iter().filter(|(of, _)| *of == action).flat_map(|(_, entries)| entries.clone());
        imported.drafts.extend(script_rule(name, action, entries.collect()));
    }
    Ok(imported)
}

/// The rule for scripts that are called as commands are; none without entries.
pub fn script_rule(name: &str, action: Action, entries: Vec<Entry>) -> Option<Draft> {
    (!entries.is_empty()).then(|| Draft {
        name: format!("{name}-scripts-{}", action.word()),
        comments: vec![
            "The same commands where they are scripts: the kernel executes their interpreters.".to_owned(),
        ],
        on: vec![Op::Exec],
        lists: vec![("path", vec![Entry::new(INTERPRETERS, "")]), ("argv", entries)],
        scope: Some(Scope::Tool),
        action,
        reason: (action == Action::Deny).then(|| FORBIDDEN.to_owned()),
    })
}

/// What is said where a file gives no reason of its own.
pub const FORBIDDEN: &str = "The project's rules forbid this command. Ask a person.";

impl PrefixRule {
    fn draft(&self, name: &str, choices: Choices) -> Draft {
        let action = match self.verdict {
            Verdict::Allow => Action::Allow,
            Verdict::Prompt => choices.prompt,
            Verdict::Forbidden => Action::Deny,
        };
        let reason = match (&self.justification, action) {
            (Some(justification), _) => Some(justification.clone()),
            (None, Action::Deny) => Some(FORBIDDEN.to_owned()),
            _ => None,
        };
        Draft {
            name: format!("{name}-{}", self.line),
            comments: vec![format!("line {}: `{}` is {}", self.line, self.shown, self.verdict.word())],
            on: vec![Op::Exec],
            lists: vec![("argv", vec![self.command.direct("")])],
            scope: Some(Scope::Tool),
            action,
            reason,
        }
    }
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Prompt => "prompt",
            Self::Forbidden => "forbidden",
        }
    }
}

fn prefix_rule(call: &Call) -> Result<PrefixRule, Refusal> {
    let mut rule = PrefixRule {
        line: call.place.0,
        command: Command::default(),
        shown: String::new(),
        // Codex's own default.
        verdict: Verdict::Allow,
        justification: None,
    };
    for (name, located) in &call.arguments {
        match name.as_str() {
            "pattern" => (rule.command, rule.shown) = pattern(located)?,
            "decision" => rule.verdict = verdict(located)?,
            "justification" if located.value == Value::Nothing => {}
            "justification" => rule.justification = Some(text(located)?.to_owned()),
            "match" | "not_match" => {}
            _ => return refuse(located, format!("guard does not know the argument `{name}` of `prefix_rule`")),
        }
    }
    if rule.shown.is_empty() {
        return Err(Refusal { place: Some(call.place), what: "the rule has no `pattern`".to_owned() });
    }
    Ok(rule)
}

fn pattern(located: &Located) -> Result<(Command, String), Refusal> {
    let (mut words, mut shown) = (Vec::new(), Vec::new());
    for (number, element) in list(located)?.iter().enumerate() {
        let alternatives: Vec<&str> = match &element.value {
            Value::List(all) => all.iter().map(text).collect::<Result<_, _>>()?,
            _ => vec![text(element)?],
        };
        if alternatives.is_empty() || number == 0 && alternatives.iter().any(|name| base_name(name).is_empty()) {
            return refuse(element, "there is nothing that this could match".to_owned());
        }
        // The kernel knows which file is executed; what it was called by is its name alone.
        let name = |text: &&str| if number == 0 { base_name(text).to_owned() } else { (*text).to_owned() };
        let escaped: Vec<String> = alternatives.iter().map(|text| word(&name(text), false)).collect();
        words.push(if escaped.len() == 1 { escaped[0].clone() } else { format!("{{{}}}", escaped.join(",")) });
        shown.push(alternatives.join("|"));
    }
    match Command::of(&words) {
        Some(command) => Ok((command, shown.join(" "))),
        None => refuse(located, "the pattern has no words".to_owned()),
    }
}

fn verdict(located: &Located) -> Result<Verdict, Refusal> {
    let word = text(located)?;
    [Verdict::Allow, Verdict::Prompt, Verdict::Forbidden]
        .into_iter()
        .find(|verdict| verdict.word() == word)
        .map_or_else(
            || refuse(located, format!("expected \"allow\", \"prompt\" or \"forbidden\", found {word:?}")),
            Ok,
        )
}

/// Holds a rule against the examples that the file gives for it, as Codex does.
fn examples(call: &Call, draft: &Draft) -> Result<(), Refusal> {
    if !call.arguments.iter().any(|(name, _)| matches!(name.as_str(), "match" | "not_match")) {
        return Ok(());
    }
    let policy = compile("a rule", &format!("{HEADER}{}", draft.text())).map_err(|failure| Refusal {
        place: Some(call.place),
        what: format!("guard has no rule for it: {failure}"),
    })?;
    for (name, located) in &call.arguments {
        let expected = match name.as_str() {
            "match" => true,
            "not_match" => false,
            _ => continue,
        };
        if located.value == Value::Nothing {
            continue;
        }
        for example in list(located)? {
            let words = match &example.value {
                Value::List(words) => {
                    words.iter().map(|word| text(word).map(str::to_owned)).collect::<Result<_, _>>()?
                }
                _ => shlex::split(text(example)?).unwrap_or_default(),
            };
            let Some(program) = words.first() else {
                return refuse(example, "the example is no command".to_owned());
            };
            let path = format!("/usr/bin/{}", base_name(program));
            let argv: Vec<u8> = words.iter().flat_map(|word| word.bytes().chain([0])).collect();
            let object = Object::Command { path: path.as_bytes(), argv: &argv };
            let decided = policy.tables().decide(Op::Exec, Scope::Tool, &object, &Places::default(), 0);
            if decided.rule.is_some() != expected {
                let what = if expected { "does not match" } else { "matches" };
                return refuse(example, format!("the rule {what} this example of `{name}`"));
            }
        }
    }
    Ok(())
}

fn text(located: &Located) -> Result<&str, Refusal> {
    match &located.value {
        Value::Text(text) if text.contains('\0') => refuse(located, "a command has no NUL byte".to_owned()),
        Value::Text(text) => Ok(text),
        _ => refuse(located, "expected a string".to_owned()),
    }
}

fn list(located: &Located) -> Result<&[Located], Refusal> {
    match &located.value {
        Value::List(list) => Ok(list),
        _ => refuse(located, "expected a list".to_owned()),
    }
}

fn refuse<T>(located: &Located, what: String) -> Result<T, Refusal> {
    Err(Refusal { place: Some(located.place), what })
}
