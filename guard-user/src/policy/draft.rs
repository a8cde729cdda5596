//! Rules that guard itself writes: what imports and learning propose, as the text of a policy.

use std::fmt::Write as _;

use guard_common::words::{Action, Op, Scope};

/// A rule as it is going to stand in a policy's text.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its name.
    pub name: String,
    /// Said above it, a line each.
    pub comments: Vec<String>,
    /// The operations.
    pub on: Vec<Op>,
    /// Its lists by key, in the order they are written: `path`, `argv`, `to`, `except`. Empty ones are left out.
    pub lists: Vec<(&'static str, Vec<Entry>)>,
    /// Whom it is about, where that is not everybody.
    pub scope: Option<Scope>,
    /// What is done.
    pub action: Action,
    /// What is said to whoever is refused.
    pub reason: Option<String>,
}

/// An entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The pattern.
    pub text: String,
    /// Said beside it; nothing where it is empty.
    pub comment: String,
}

impl Entry {
    /// An entry with a comment.
    pub fn new(text: impl Into<String>, comment: impl Into<String>) -> Self {
        Self { text: text.into(), comment: comment.into() }
    }
}

impl Draft {
    /// The rule's text, ended by a line's end.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.comments {
            text.push_str(&comment(line));
        }
        let on: Vec<String> = self.on.iter().map(|op| string(op.word())).collect();
        let _ = writeln!(text, "[[rule]]\nname = {}\non = [{}]", string(&self.name), on.join(", "));
        for (key, entries) in self.lists.iter().filter(|(_, entries)| !entries.is_empty()) {
            list(&mut text, key, entries);
        }
        if let Some(scope) = self.scope {
            let _ = writeln!(text, "scope = {}", string(scope.word()));
        }
        let _ = writeln!(text, "action = {}", string(self.action.word()));
        if let Some(reason) = &self.reason {
            let _ = writeln!(text, "reason = {}", string(reason));
        }
        text
    }
}

/// A list: on one line where it is short and nothing is said beside its entries.
fn list(text: &mut String, key: &str, entries: &[Entry]) {
    if entries.len() <= 3 && entries.iter().all(|entry| entry.comment.is_empty()) {
        let entries: Vec<String> = entries.iter().map(|entry| string(&entry.text)).collect();
        let _ = writeln!(text, "{key} = [{}]", entries.join(", "));
        return;
    }
    let _ = writeln!(text, "{key} = [");
    for entry in entries {
        let _ = write!(text, "    {},", string(&entry.text));
        let beside = if entry.comment.is_empty() { "\n".to_owned() } else { format!(" {}", comment(&entry.comment)) };
        text.push_str(&beside);
    }
    text.push_str("]\n");
}

/// A TOML string.
pub fn string(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A comment of one line. Whatever a file of somebody else's holds, it can't end the line.
pub fn comment(text: &str) -> String {
    if text.is_empty() {
        return "#\n".to_owned();
    }
    let mut line = "# ".to_owned();
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_gets_out_of_its_place() {
        let nasty = "a\"b'c\\d\n[[rule]]\r\u{7f}\u{1}é''' \"\"\"";
        let draft = Draft {
            name: "one".to_owned(),
            comments: vec![nasty.to_owned(), String::new()],
            on: vec![Op::Read, Op::Write],
            lists: vec![("path", vec![Entry::new(nasty, nasty)]), ("except", Vec::new())],
            scope: Some(Scope::Tool),
            action: Action::Deny,
            reason: Some(nasty.to_owned()),
        };
        let table: toml::Table = draft.text().parse().expect("valid TOML");
        let rule = &table["rule"][0];
        assert_eq!(rule["path"][0].as_str(), Some(nasty));
        assert_eq!(rule["reason"].as_str(), Some(nasty));
        assert_eq!(rule.as_table().map(toml::Table::len), Some(6));
    }
}
