//! Rules that can never decide, because an earlier one takes everything that they match.
//!
//! The check looks at the patterns' structure, one rule against one. It finds less than there is, but what
//! it finds is certain.

use guard_common::table::NODE_ROOT;
use guard_common::words::Op;

use super::net::Target;
use super::pattern::{Part, Pattern, Tail, Token};
use super::rule::{Kind, Policy, Rule};

/// Pairs of a rule that can never decide and the earlier one that takes its place.
pub fn unreachable(policy: &Policy) -> Vec<(&Rule, &Rule)> {
    let rules = &policy.rules;
    let taken = |(index, later): (usize, &Rule)| rules[..index].iter().position(|earlier| takes_all(earlier, later));
    rules.iter().enumerate().filter_map(|(index, rule)| Some((rule, &rules[taken((index, rule))?]))).collect()
}

/// Whether `earlier` matches whatever `later` does.
fn takes_all(earlier: &Rule, later: &Rule) -> bool {
    if earlier.has_except()
        || earlier.scope.is_some() && earlier.scope != later.scope
        || !later.ops.iter().all(|op| earlier.ops.contains(op))
    {
        return false;
    }
    later.ops.iter().all(|&op| {
        let path = !Kind::Path.applies(op) || all_covered(earlier.path.as_deref(), later.path.as_deref(), covers);
        let argv = !Kind::Argv.applies(op) || all_covered(earlier.argv.as_deref(), later.argv.as_deref(), covers);
        let to = !Kind::To.applies(op) || all_covered(earlier.to.as_deref(), later.to.as_deref(), covers_target);
        path && argv && to && (op != Op::Exec || !earlier.network_stdin || later.network_stdin)
    })
}

/// Whether each pattern of `later` is covered by one of `earlier`. `None` is everything.
fn all_covered<T>(earlier: Option<&[T]>, later: Option<&[T]>, covers: fn(&T, &T) -> bool) -> bool {
    match (earlier, later) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(earlier), Some(later)) => {
            later.iter().all(|later| earlier.iter().any(|earlier| covers(earlier, later)))
        }
    }
}

fn covers_target(earlier: &Target, later: &Target) -> bool {
    match (earlier, later) {
        (Target::Everything, _) => true,
        (Target::Net(earlier), Target::Net(later)) => earlier.covers(later),
        (Target::Unix(earlier), Target::Unix(later)) => covers(earlier, later),
        _ => false,
    }
}

/// Whether `general` matches every text that `special` matches.
pub fn covers(general: &Pattern, special: &Pattern) -> bool {
    if general == special || general.is_everything() {
        return true;
    }
    if general.anchor == special.anchor {
        return covers_parts(&general.parts, general.tail, &special.parts, special.tail);
    }
    if general.anchor != NODE_ROOT {
        return false;
    }
    // Seen from the root, what is anchored in a place lies under components that nobody knows yet.
    let special_parts = [&[Part::Deep], &special.parts[..]].concat();
    covers_parts(&general.parts, general.tail, &special_parts, special.tail)
}

fn covers_parts(general: &[Part], tail: Tail, special: &[Part], special_tail: Tail) -> bool {
    let Some((first, rest)) = general.split_first() else {
        return match tail {
            Tail::Any => true,
            // What is left must be one component at least.
            Tail::Below => {
                special_tail == Tail::Below || special.iter().any(|part| matches!(part, Part::Component(_)))
            }
            Tail::End => special.is_empty() && special_tail == Tail::End,
        };
    };
    match (first, special.split_first()) {
        (Part::Deep, split) => {
            covers_parts(rest, tail, special, special_tail)
                || split.is_some_and(|(_, special)| covers_parts(general, tail, special, special_tail))
        }
        (Part::Component(tokens), Some((Part::Component(other), special))) => {
            covers_tokens(tokens, other) && covers_parts(rest, tail, special, special_tail)
        }
        (Part::Component(_), _) => false,
    }
}

fn covers_tokens(general: &[Token], special: &[Token]) -> bool {
    match (general.split_first(), special.split_first()) {
        (None, None) => true,
        (Some((Token::Star, rest)), split) => {
            covers_tokens(rest, special) || split.is_some_and(|(_, special)| covers_tokens(general, special))
        }
        (Some((Token::Set(set), rest)), Some((Token::Set(other), special))) => {
            set.covers(other) && covers_tokens(rest, special)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{argv, glob};
    use super::*;

    fn check(
        parse: fn(&str) -> Result<Vec<Pattern>, super::super::pattern::Fault>,
        general: &str,
        special: &str,
    ) -> bool {
        covers(&parse(general).expect(general)[0], &parse(special).expect(special)[0])
    }

    #[test]
    fn paths() {
        let yes = [
            ("**/.env", "/a/b/.env"),
            ("**/.env", "**/x/.env"),
            ("**/.env", "{repo}/.env"),
            ("**/*", "{home}/**"),
            ("/a/**", "/a/b/**"),
            ("/a/**", "/a/**/b"),
            ("/a/**/b", "/a/b"),
            ("{home}/.ssh/**", "{home}/.ssh/id_*"),
            ("**/.*", "**/.env*"),
            ("/a/*", "/a/?"),
            ("/a/[ab]", "/a/b"),
        ];
        for (general, special) in yes {
            assert!(check(glob::parse, general, special), "{general} takes {special}");
        }
        let no = [
            ("/a/**", "/a"),
            ("/a/*", "/a/b/**"),
            ("/a/**", "/*/b"),
            ("{repo}/**", "/a/**"),
            ("{repo}/**", "{home}/a"),
            ("/.env", "{repo}/.env"),
            ("**/a/*", "**/a/**"),
            ("**/.env?", "**/.env*"),
            ("/a/**/b/**", "/a/b"),
        ];
        for (general, special) in no {
            assert!(!check(glob::parse, general, special), "{general} does not take {special}");
        }
    }

    #[test]
    fn command_lines() {
        assert!(check(argv::parse, "git *", "git"));
        assert!(check(argv::parse, "git *", "git push * origin"));
        assert!(check(argv::parse, "* push", "git push"));
        assert!(!check(argv::parse, "git push", "git push *"));
        assert!(!check(argv::parse, "git * push", "git *"));
    }
}
