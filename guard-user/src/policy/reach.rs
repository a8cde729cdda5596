//! Rules that can never decide, because an earlier one takes everything that they match.
//!
//! The check looks at the patterns' structure, one rule against one. It finds less than there is, but what
//! it finds is certain.

use guard_common::table::NODE_ROOT;
use guard_common::words::{Op, Scope};

use super::net::Target;
use super::pattern::{Part, Pattern, Tail, Token};
use super::rule::{Kind, Policy, Rule};

/// Comparisons of patterns beyond which a policy is not checked: a second or so.
const MAX_COMPARISONS: usize = 20_000_000;

/// Whether the policy is small enough to compare its rules.
pub fn comparable(policy: &Policy) -> bool {
    let patterns = |rule: &Rule| [&rule.path, &rule.argv].into_iter().flatten().map(Vec::len).sum::<usize>() + 1;
    let comparisons = policy.rules.iter().map(patterns).sum::<usize>().saturating_mul(policy.rules.len());
    comparisons <= MAX_COMPARISONS
}

/// Pairs of a rule that can never decide and the earlier one that takes its place.
pub fn unreachable(policy: &Policy) -> Vec<(&Rule, &Rule)> {
    let rules = &policy.rules;
    if !comparable(policy) {
        return Vec::new();
    }
    let taken = |(index, later): (usize, &Rule)| rules[..index].iter().position(|earlier| takes_all(earlier, later));
    rules.iter().enumerate().filter_map(|(index, rule)| Some((rule, &rules[taken((index, rule))?]))).collect()
}

/// What a rule matches, or a part of it.
#[derive(Clone, Copy)]
pub struct Extent<'a> {
    pub rule: &'a Rule,
    pub scope: Option<Scope>,
    pub path: Option<&'a [Pattern]>,
    pub argv: Option<&'a [Pattern]>,
    pub to: Option<&'a [Target]>,
}

impl<'a> Extent<'a> {
    /// All of `rule`.
    pub fn whole(rule: &'a Rule) -> Self {
        let (path, argv, to) = (rule.path.as_deref(), rule.argv.as_deref(), rule.to.as_deref());
        Self { rule, scope: rule.scope, path, argv, to }
    }
}

/// Whether `earlier` matches whatever `later` does.
fn takes_all(earlier: &Rule, later: &Rule) -> bool {
    later.ops.iter().all(|&op| takes(earlier, &Extent::whole(later), op))
}

/// Whether `earlier` matches each `op` that `later` does.
pub fn takes(earlier: &Rule, later: &Extent<'_>, op: Op) -> bool {
    if earlier.has_except() || earlier.scope.is_some() && earlier.scope != later.scope || !earlier.ops.contains(&op) {
        return false;
    }
    if !all_covered(earlier.by.as_deref(), later.rule.by.as_deref(), covers)
        || later.rule.phases.unwrap_or(u8::MAX) & !earlier.phases.unwrap_or(u8::MAX) != 0
    {
        return false;
    }
    let path = !Kind::Path.applies(op) || all_covered(earlier.path.as_deref(), later.path, covers);
    let argv = !Kind::Argv.applies(op) || all_covered(earlier.argv.as_deref(), later.argv, covers);
    let to = !Kind::To.applies(op) || all_covered(earlier.to.as_deref(), later.to, covers_target);
    path && argv && to && (op != Op::Exec || !earlier.network_stdin || later.rule.network_stdin)
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

pub fn covers_target(earlier: &Target, later: &Target) -> bool {
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
    let special_parts = if general.anchor == special.anchor {
        spelled_out(&special.parts, special.tail)
    } else if general.anchor == NODE_ROOT {
        // Seen from the root, what is anchored in a place lies under components that nobody knows yet.
        spelled_out(&[&[Part::Deep], &special.parts[..]].concat(), special.tail)
    } else {
        return false;
    };
    wild(&spelled_out(&general.parts, general.tail), &special_parts, &Part::Deep, |general, special| {
        matches!((general, special), (Part::Component(general), Part::Component(special))
            if wild(general, special, &Token::Star, covers_byte))
    })
}

/// The parts with their tail as parts too. In this order a `**` of the general pattern can take in those of
/// the special one.
pub fn spelled_out(parts: &[Part], tail: Tail) -> Vec<Part> {
    let tail: &[Part] = match tail {
        Tail::End => &[],
        Tail::Below => &[Part::Deep, Part::Component(vec![Token::Star])],
        Tail::Any => &[Part::Deep],
    };
    [parts, tail].concat()
}

fn covers_byte(general: &Token, special: &Token) -> bool {
    matches!((general, special), (Token::Set(general), Token::Set(special)) if general.covers(special))
}

/// Whether `general` covers `special`, element by element, where `star` in `general` covers any number of
/// elements, stars included. As with file names, it is enough to come back to the last star.
fn wild<T: PartialEq>(general: &[T], special: &[T], star: &T, covers: impl Fn(&T, &T) -> bool) -> bool {
    let (mut g, mut s) = (0, 0);
    let mut last_star = None;
    while s < special.len() {
        if general.get(g) == Some(star) {
            g += 1;
            last_star = Some((g, s));
        } else if general.get(g).is_some_and(|general| covers(general, &special[s])) {
            g += 1;
            s += 1;
        } else if let Some((after, from)) = &mut last_star {
            *from += 1;
            (g, s) = (*after, *from);
        } else {
            return false;
        }
    }
    general[g..].iter().all(|element| element == star)
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
