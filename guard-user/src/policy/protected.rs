//! Which files a policy means when it denies reading or writing: those that are worth being asked about before they are opened.
//!
//! A rule that takes all that lies in `/etc`, or everything but the repository, means no file in particular. Being asked
//! about each of those would have half of the machine wait for an answer, so they are left to the other backends.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use guard_common::table::{NODE_HOME, NODE_REPO, NODE_ROOT};
use guard_common::words::{Action, Op};

use super::pattern::{Part, Pattern, Tail, Token};
use super::rule::{Policy, Rule};
use super::tables::Places;

/// What a policy protects, as far as it can be said without looking at files.
#[derive(Debug, Default)]
pub(super) struct Protected {
    /// By the rule's number: where it takes all there is.
    sweeps: Vec<Sweep>,
    /// Where files may lie that rules mean by absolute paths: folders, or the files themselves.
    pub(super) places: Vec<PathBuf>,
    /// Some rule means files that may lie anywhere.
    pub(super) floats: bool,
}

/// Where a rule takes all there is.
#[derive(Debug, Default)]
struct Sweep {
    everywhere: bool,
    /// Anchors, and the paths below them.
    folders: Vec<(u16, Vec<u8>)>,
}

impl Protected {
    pub(super) fn of(policy: &Policy) -> Self {
        let mut protected = Self::default();
        for rule in &policy.rules {
            let denies = rule.action >= Action::Deny && rule.ops.iter().any(|op| matches!(op, Op::Read | Op::Write));
            let mut sweep = Sweep::default();
            if denies {
                protected.take(rule, &mut sweep);
            }
            protected.sweeps.push(sweep);
        }
        protected.places.sort();
        protected.places.dedup();
        // What lies in one of them is found there.
        let all = protected.places.clone();
        protected.places.retain(|place| !all.iter().any(|other| other != place && place.starts_with(other)));
        protected
    }

    fn take(&mut self, rule: &Rule, sweep: &mut Sweep) {
        let Some(patterns) = &rule.path else {
            sweep.everywhere = true;
            return;
        };
        for pattern in patterns {
            let literal = literal(pattern);
            if sweeps(pattern, literal.len()) {
                if literal.len() < pattern.parts.len() {
                    sweep.everywhere = true;
                } else {
                    sweep.folders.push((pattern.anchor, joined(&literal)));
                }
            } else if pattern.anchor == NODE_ROOT {
                if literal.is_empty() {
                    self.floats = true;
                } else {
                    self.places.push(PathBuf::from(OsString::from_vec(joined(&literal))));
                }
            }
        }
    }

    /// Whether the rule of this number takes the file at `path` only along with all around it.
    pub(super) fn sweeps(&self, rule: usize, path: &[u8], places: &Places<'_>) -> bool {
        let Some(sweep) = self.sweeps.get(rule) else { return false };
        sweep.everywhere
            || sweep.folders.iter().any(|(anchor, folder)| {
                let below = match *anchor {
                    NODE_REPO => places.repo.and_then(|repo| path.strip_prefix(repo)),
                    NODE_HOME => places.home.and_then(|home| path.strip_prefix(home)),
                    _ => Some(path),
                };
                let inside = below.and_then(|below| below.strip_prefix(folder.as_slice()));
                inside.is_some_and(|inside| inside.first() == Some(&b'/'))
            })
    }
}

/// Whether a pattern takes all there is in the root, in a folder of the root, in the repository or in the home.
fn sweeps(pattern: &Pattern, literal: usize) -> bool {
    let deepest = usize::from(pattern.anchor == NODE_ROOT);
    let all = |part: &Part| match part {
        Part::Deep => true,
        Part::Component(tokens) => matches!(tokens.as_slice(), [Token::Star]),
    };
    let rest = &pattern.parts[literal..];
    literal <= deepest && rest.iter().all(all) && (pattern.tail != Tail::End || !rest.is_empty())
}

/// The components at a pattern's beginning that only one name matches.
fn literal(pattern: &Pattern) -> Vec<Vec<u8>> {
    let name = |part: &Part| match part {
        Part::Deep => None,
        Part::Component(tokens) => tokens
            .iter()
            .map(|token| match token {
                Token::Set(set) => set.only(),
                Token::Star => None,
            })
            .collect::<Option<Vec<u8>>>(),
    };
    pattern.parts.iter().map_while(name).collect()
}

/// `/` and each of them.
fn joined(names: &[Vec<u8>]) -> Vec<u8> {
    names.iter().flat_map(|name| [b"/", name.as_slice()].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Compiled, compile};
    use super::*;

    fn policy(rules: &str) -> Compiled {
        compile("test", &format!("version = 1\n{rules}")).unwrap_or_else(|failure| panic!("{failure}"))
    }

    #[test]
    fn what_is_meant_is_told_from_what_is_swept_along() {
        let policy = policy(
            r#"
[[rule]]
name = "open"
on = ["read"]
path = ["**/open.env"]
action = "allow"
[[rule]]
name = "secrets"
on = ["read"]
path = ["**/*.env", "{home}/.ssh/**", "/opt/app/keys/**", "/opt/app/keys/more/*.key"]
except = ["**/*.pub"]
action = "deny"
[[rule]]
name = "startup"
on = ["write"]
path = ["/etc/**", "{home}/.profile", "/srv/*/conf"]
scope = "tool"
action = "deny"
[[rule]]
name = "outside"
on = ["write"]
except = ["{repo}/**"]
action = "deny"
"#,
        );
        let places = Places { repo: Some(b"/home/u/repo"), home: Some(b"/home/u") };
        let mut tables = policy.tables();
        for (path, expected) in [
            ("/home/u/repo/a.env", true),
            ("/tmp/a.env", true),
            ("/home/u/repo/open.env", false),
            ("/home/u/.ssh/id", true),
            ("/home/u/.ssh/id.pub", false),
            ("/home/u/.profile", true),
            ("/home/u/other", false),
            ("/home/v/.ssh/id", false),
            ("/etc/passwd", false),
            ("/etc/a.env", true),
            ("/opt/app/keys/k", true),
            ("/srv/a/conf", true),
        ] {
            assert_eq!(tables.protects(path.as_bytes(), &places), expected, "{path}");
        }
        assert_eq!(policy.protected_places(), ["/opt/app/keys", "/srv"].map(PathBuf::from));
        assert!(tables.may_protect_inside(b"/home/u/anything", &places), "a file called x.env may lie anywhere");
    }

    #[test]
    fn folders_in_which_nothing_is_protected_need_not_be_looked_into() {
        let policy = policy(
            r#"
[[rule]]
name = "keys"
on = ["read", "write"]
path = ["{home}/.ssh/**", "{home}/a/*/key"]
action = "deny"
"#,
        );
        let places = Places { repo: Some(b"/home/u/repo"), home: Some(b"/home/u") };
        let mut tables = policy.tables();
        for (folder, expected) in [
            ("/home/u", true),
            ("/home/u/.ssh", true),
            ("/home/u/.ssh/deep", true),
            ("/home/u/a", true),
            ("/home/u/a/b", true),
            ("/home/u/a/b/c", false),
            ("/home/u/repo", false),
        ] {
            assert_eq!(tables.may_protect_inside(folder.as_bytes(), &places), expected, "{folder}");
        }
    }

    #[test]
    fn a_rule_for_some_programs_leaves_the_others() {
        let policy = policy(
            r#"
[[rule]]
name = "tool"
on = ["read"]
path = ["**/key"]
by = ["/usr/bin/tool"]
action = "allow"
[[rule]]
name = "keys"
on = ["read"]
path = ["**/key"]
action = "deny"
"#,
        );
        assert!(policy.tables().protects(b"/a/key", &Places::default()));
    }
}
