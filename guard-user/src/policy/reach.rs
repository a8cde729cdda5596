//! Rules that can never decide, because an earlier one takes everything that they match.
//!
//! The check looks at the patterns' structure, one rule against one. It finds less than there is, but what
//! it finds is certain.

use guard_common::table::NODE_ROOT;
use guard_common::words::Op;

use super::net::Target;
use super::pattern::{Part, Pattern, Tail, Token};
use super::rule::{Kind, Policy, Rule};

/// Comparisons of patterns beyond which a policy is not checked: a second or so.
const MAX_COMPARISONS: usize = 20_000_000;

/// Pairs of a rule that can never decide and the earlier one that takes its place.
pub fn unreachable(policy: &Policy) -> Vec<(&Rule, &Rule)> {
    let rules = &policy.rules;
    let patterns = |rule: &Rule| [&rule.path, &rule.argv].into_iter().flatten().map(Vec::len).sum::<usize>() + 1;
    let comparisons = rules.iter().map(patterns).sum::<usize>().saturating_mul(rules.len());
    if comparisons > MAX_COMPARISONS {
        return Vec::new();
    }
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
fn spelled_out(parts: &[Part], tail: Tail) -> Vec<Part> {
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
