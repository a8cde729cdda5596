//! Whether two patterns can match the same thing.

use guard_common::table::NODE_ROOT;

use crate::policy::net::Target;
use crate::policy::pattern::{Part, Pattern, Token};
use crate::policy::reach::spelled_out;

/// Whether there is a text that both match. Nobody knows here where a place lies, only that it is below the root.
pub fn overlap(one: &Pattern, other: &Pattern) -> bool {
    let same = one.anchor == other.anchor;
    let somewhere = [Part::Deep, Part::Component(vec![Token::Star])];
    let parts = |pattern: &Pattern| {
        let place: &[Part] = if same || pattern.anchor == NODE_ROOT { &[] } else { &somewhere };
        spelled_out(&[place, &pattern.parts].concat(), pattern.tail)
    };
    meet(&parts(one), &parts(other), &Part::Deep, |one, other| {
        matches!((one, other), (Part::Component(one), Part::Component(other))
            if meet(one, other, &Token::Star, bytes_meet))
    })
}

/// Whether there is an address or socket that both match.
pub fn targets_overlap(one: &Target, other: &Target) -> bool {
    match (one, other) {
        (Target::Everything, _) | (_, Target::Everything) => true,
        (Target::Net(one), Target::Net(other)) => one.overlaps(other),
        (Target::Unix(one), Target::Unix(other)) => overlap(one, other),
        _ => false,
    }
}

fn bytes_meet(one: &Token, other: &Token) -> bool {
    matches!((one, other), (Token::Set(one), Token::Set(other)) if one.meets(other))
}

/// Whether two sequences, in which `star` stands for any number of elements, have a sequence in common.
fn meet<T: PartialEq>(one: &[T], other: &[T], star: &T, meets: impl Fn(&T, &T) -> bool) -> bool {
    // `rest[j]` says whether what follows in `one` meets `other[j..]`; from the ends backwards.
    let mut rest: Vec<bool> = (0..=other.len()).map(|j| other[j..].iter().all(|element| element == star)).collect();
    for element in one.iter().rev() {
        let is_star = element == star;
        let mut here = vec![false; other.len() + 1];
        here[other.len()] = is_star && rest[other.len()];
        for j in (0..other.len()).rev() {
            // A star on either side takes in what is on the other, or nothing.
            here[j] = if is_star || other[j] == *star {
                rest[j] || here[j + 1]
            } else {
                rest[j + 1] && meets(element, &other[j])
            };
        }
        rest = here;
    }
    rest[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::glob;

    fn check(one: &str, other: &str) -> bool {
        let all = |text: &str| glob::parse(text).expect(text);
        let found = all(one).iter().any(|one| all(other).iter().any(|other| overlap(one, other)));
        let back = all(other).iter().any(|other| all(one).iter().any(|one| overlap(other, one)));
        assert_eq!(found, back, "{one} {other}");
        found
    }

    #[test]
    fn what_can_match_the_same_path() {
        for (one, other) in [
            ("**/.env", "/a/**"),
            ("**/a/**", "**/b/**"),
            ("/a/*x", "/a/y*"),
            ("{repo}/a", "/x/y/a"),
            ("{repo}/**", "{home}/a"),
            ("**/*.pem", "/etc/ssl/ca.pem"),
            ("/a/**/b", "/a/b"),
            ("/[a-m]/**", "/{z,c}/x"),
            ("**", "/a"),
        ] {
            assert!(check(one, other), "{one} and {other}");
        }
    }

    #[test]
    fn what_can_not() {
        for (one, other) in [
            ("**/.env", "**/*.pub"),
            ("/a/**", "/a"),
            ("/a/**", "/b/**"),
            ("{repo}/a/*", "{repo}/b/**"),
            ("{repo}/a", "/a"),
            ("{home}/.ssh/*", "**/.env/x"),
            ("/a/?", "/a/bc"),
            ("/[a-m]/**", "/{z,n}/x"),
        ] {
            assert!(!check(one, other), "{one} and {other}");
        }
    }
}
