//! A rule that would allow, or deny, what is selected: text to be put into a policy.

use guard_common::words::{Action, Op, Scope};

use super::model::Kind;
use crate::policy::escaped;
use crate::policy::{Draft, Entry};

/// What a rule is to be about.
#[derive(Clone, Debug, Default)]
pub struct Thing {
    /// The operation.
    pub op: String,
    /// What kind of thing it is.
    pub kind: Option<Kind>,
    /// Its name; of a program, its true path.
    pub name: String,
    /// Of a program, the command line, with a NUL between words.
    pub argv: String,
    /// The session's repository.
    pub repo: Option<String>,
    /// Its user's home.
    pub home: Option<String>,
    /// On whose behalf.
    pub scope: Option<String>,
    /// The rule that decides now.
    pub decided: Option<String>,
}

/// Longest name of a rule.
const MAX_NAME: usize = 48;

impl Thing {
    /// The rule's text.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn rule(&self, allow: bool) -> Result<String, String> {
        let op = Op::ALL.iter().copied().find(|op| op.word() == self.op);
        let op = op.ok_or_else(|| format!("no rule is about {}", self.op))?;
        let lists = self.lists(op)?;
        let action = if allow { Action::Allow } else { Action::Deny };
        // What is allowed is as narrow as what was seen; what is denied, is denied to all.
        let scope = Scope::ALL.iter().copied().find(|scope| Some(scope.word()) == self.scope.as_deref());
        let mut comments = vec![match &self.decided {
            Some(rule) => format!("Put it before the rule {rule}: the first that matches decides."),
            None => "The first rule that matches decides: put it before those that match the same.".to_owned(),
        }];
        if lists.is_empty() {
            comments.push("It has no condition on what: it is about all of them.".to_owned());
        }
        let reason = (!allow).then(|| "Denied by an administrator.".to_owned());
        let draft = Draft {
            name: self.rule_name(action, op),
            comments,
            on: vec![op],
            lists,
            scope: scope.filter(|_| allow),
            action,
            reason,
        };
        Ok(draft.text())
    }

    fn lists(&self, op: Op) -> Result<Vec<(&'static str, Vec<Entry>)>, String> {
        let entry = |text: String| vec![Entry::new(text, "")];
        if op == Op::Outlive {
            return Ok(Vec::new());
        }
        if self.name.is_empty() {
            return Err("its name is not known: a rule could not find it again".to_owned());
        }
        match self.kind {
            Some(Kind::Address) => {
                let address = self.name.split(" (").next().unwrap_or_default();
                Ok(vec![("to", entry(address.to_owned()))])
            }
            Some(Kind::Socket) => {
                let pattern = match self.name.strip_prefix('@') {
                    Some(name) => format!("@{}", escaped(name)),
                    None => self.pattern(),
                };
                Ok(vec![("to", entry(format!("unix:{pattern}")))])
            }
            _ if op == Op::Exec => {
                let mut lists = vec![("path", entry(self.pattern()))];
                lists.extend(words(&self.argv).map(|words| ("argv", entry(words))));
                Ok(lists)
            }
            _ => Ok(vec![("path", entry(self.pattern()))]),
        }
    }

    /// The path as a glob that matches it alone, from the repository or the home where it is in one.
    fn pattern(&self) -> String {
        for (place, folder) in [("{repo}", &self.repo), ("{home}", &self.home)] {
            let below = folder.as_deref().filter(|folder| folder.len() > 1).and_then(|folder| {
                self.name.strip_prefix(folder).filter(|below| below.starts_with('/') && below.len() > 1)
            });
            if let Some(below) = below {
                return format!("{place}{}", escaped(below));
            }
        }
        escaped(&self.name)
    }

    fn rule_name(&self, action: Action, op: Op) -> String {
        let object = match self.kind {
            Some(Kind::Address) => &self.name,
            _ => self.name.rsplit('/').next().unwrap_or_default(),
        };
        let mut name = format!("{}-{}-", action.word(), op.word());
        for c in object.chars() {
            let c = c.to_ascii_lowercase();
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                name.push(c);
            } else if !name.ends_with('-') {
                name.push('-');
            }
            if name.len() >= MAX_NAME {
                break;
            }
        }
        name.trim_end_matches('-').to_owned()
    }
}

/// What stands in events in the place of a secret.
const REDACTED: &str = "[redacted]";

/// A command line as a pattern that matches it alone; none where it was cut or says nothing.
fn words(argv: &str) -> Option<String> {
    if argv.is_empty() || argv.ends_with('…') {
        return None;
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@%+".contains(c);
    let backslashed = |text: &str| -> String {
        text.chars().flat_map(|c| (!plain(c)).then_some('\\').into_iter().chain([c])).collect()
    };
    let quote = |word: &str| {
        if word.contains(REDACTED) {
            word.split(REDACTED).map(backslashed).collect::<Vec<_>>().join("*")
        } else if !word.is_empty() && word.chars().all(plain) {
            word.to_owned()
        } else if word.contains('\'') {
            backslashed(word)
        } else {
            format!("'{word}'")
        }
    };
    let mut words = argv.split('\0');
    // The first is matched against base names.
    let first = words.next()?.rsplit('/').next().unwrap_or_default();
    let all: Vec<String> = std::iter::once(first).chain(words).map(quote).collect();
    Some(all.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Question, Source, question, read};

    fn thing(op: &str, kind: Kind, name: &str, argv: &str) -> Thing {
        Thing {
            op: op.to_owned(),
            kind: Some(kind),
            name: name.to_owned(),
            argv: argv.to_owned(),
            repo: Some("/home/u/repo".to_owned()),
            home: Some("/home/u".to_owned()),
            scope: Some("tool".to_owned()),
            decided: Some("before".to_owned()),
        }
    }

    /// What a policy of this rule alone decides.
    fn decides(rule: &str, op: Op, what: question::Thing, scope: Scope) -> &'static str {
        let others = "version = 1\n[default]\nexec = \"log\"\nread = \"log\"\nwrite = \"log\"\nconnect = \"log\"\n";
        let policy = read(Source::new("test", &format!("{others}{rule}")));
        let policy = policy.unwrap_or_else(|failure| panic!("{failure}\n{rule}"));
        let question = Question {
            op,
            thing: what,
            scope,
            repo: Some("/home/u/repo".to_owned()),
            home: Some("/home/u".to_owned()),
            exe: None,
            phase: 0,
            network_stdin: false,
        };
        policy.explain(&question, false).action
    }

    #[test]
    fn the_rule_decides_what_was_selected_and_nothing_beside() {
        let file = |name: &str| question::Thing::File(name.to_owned());
        let odd = "/home/u/repo/a*{b},[c]\\ d\n\u{1b}é";
        for name in ["/home/u/repo/.env", "/home/u/.ssh/id", "/etc/passwd", odd] {
            for allow in [true, false] {
                let rule = thing("read", Kind::File, name, "").rule(allow).expect("a rule");
                let action = if allow { "allow" } else { "deny" };
                assert_eq!(decides(&rule, Op::Read, file(name), Scope::Tool), action, "{rule}");
                assert_eq!(decides(&rule, Op::Read, file("/home/u/repo/ax"), Scope::Tool), "log", "{rule}");
            }
        }
        let rule = thing("read", Kind::File, "/home/u/repo/.env", "").rule(true).expect("a rule");
        assert!(rule.contains("{repo}/.env") && rule.contains("# Put it before the rule before:"), "{rule}");
        assert_eq!(decides(&rule, Op::Read, file("/home/u/repo/.env"), Scope::Harness), "log", "{rule}");
    }

    #[test]
    fn commands_are_matched_word_by_word() {
        let argv = "/usr/bin/sh\0-c\0cat 'a b' | x*\0\0it's [c]";
        let words = |argv: &str| argv.split('\0').map(ToOwned::to_owned).collect::<Vec<_>>();
        let command = |argv| question::Thing::Command("/usr/bin/dash".to_owned(), words(argv));
        let rule = thing("exec", Kind::Program, "/usr/bin/dash", argv).rule(true).expect("a rule");
        assert_eq!(decides(&rule, Op::Exec, command(argv), Scope::Tool), "allow", "{rule}");
        assert_eq!(decides(&rule, Op::Exec, command("/usr/bin/sh\0-c\0id"), Scope::Tool), "log", "{rule}");
        let hidden = "curl\0--header\0Authorization: Bearer [redacted]";
        let rule = thing("exec", Kind::Program, "/usr/bin/dash", hidden).rule(true).expect("a rule");
        let real = "curl\0--header\0Authorization: Bearer 0123";
        assert_eq!(decides(&rule, Op::Exec, command(real), Scope::Tool), "allow", "{rule}");
    }

    #[test]
    fn addresses_and_sockets_are_matched() {
        for (kind, name, what) in [
            (Kind::Address, "203.0.113.7:443", "203.0.113.7:443"),
            (Kind::Address, "[2001:db8::1]:443 (example.org)", "[2001:db8::1]:443"),
            (Kind::Socket, "/home/u/s.sock", "unix:/home/u/s.sock"),
            (Kind::Socket, "@name*", "unix:@name*"),
        ] {
            let rule = thing("connect", kind, name, "").rule(false).expect("a rule");
            let what = question::Thing::from_to(what).expect("a thing");
            assert_eq!(decides(&rule, Op::Connect, what, Scope::Harness), "deny", "{rule}");
        }
    }

    #[test]
    fn what_has_no_name_has_no_rule() {
        thing("read", Kind::File, "", "").rule(true).expect_err("no name");
        thing("dance", Kind::File, "/x", "").rule(true).expect_err("no operation");
        let left = Thing { kind: None, ..thing("outlive", Kind::File, "", "") };
        assert!(left.rule(true).expect("a rule").contains("all of them"));
    }
}
