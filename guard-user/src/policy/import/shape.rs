//! What import has to know of patterns as sets of paths: whether two have a path in common, which those are, and
//! what a pattern means at one depth.
//!
//! A shape is a pattern's parts with its tail written out, so that `a/**` is `a`, `**`, `*`. It begins at the folder
//! that the patterns are about.

use guard_common::table::NODE_REPO;

use crate::policy::lint::overlap::overlap;
use crate::policy::pattern::{Part, Pattern, Tail, Token, is_star};
use crate::policy::reach;

/// A set of paths.
pub type Shape = Vec<Part>;

/// Shapes that one may be divided into.
const MAX_SHAPES: usize = 64;

/// One component, whatever it is.
pub fn any() -> Part {
    Part::Component(vec![Token::Star])
}

/// What lies below.
pub fn below(shape: &[Part]) -> Shape {
    [shape, &[Part::Deep, any()]].concat()
}

/// The folder whose whole contents the shape is.
pub fn folder(shape: &[Part]) -> Option<&[Part]> {
    match shape {
        [folder @ .., Part::Deep, last] if is_star(last) => Some(folder),
        _ => None,
    }
}

/// How deep the paths lie, where all lie equally deep.
pub fn depth(shape: &[Part]) -> Option<usize> {
    (!shape.contains(&Part::Deep)).then_some(shape.len())
}

/// Whether `general` certainly holds every path of `special`.
pub fn covers(general: &[Part], special: &[Part]) -> bool {
    reach::covers(&pattern(general), &pattern(special))
}

/// Whether two shapes have a path in common.
pub fn meet(a: &[Part], b: &[Part]) -> bool {
    overlap(&pattern(a), &pattern(b))
}

/// The shape as a pattern.
fn pattern(shape: &[Part]) -> Pattern {
    Pattern { anchor: NODE_REPO, parts: shape.to_vec(), tail: Tail::End }
}

/// Shapes that together hold the paths that both hold; none where they are too many.
pub fn common(a: &[Part], b: &[Part]) -> Option<Vec<Shape>> {
    let components = |a: &Part, b: &Part| match (a, b) {
        (Part::Component(a), Part::Component(b)) => {
            let tokens = Common::of(a, b, &Token::Star, &|a, b| Some(bytes_common(a, b).into_iter().collect()))?;
            Some(tokens.into_iter().map(Part::Component).collect())
        }
        _ => Some(Vec::new()),
    };
    Common::of(a, b, &Part::Deep, &components)
}

fn bytes_common(a: &Token, b: &Token) -> Option<Token> {
    match (a, b) {
        (Token::Set(a), Token::Set(b)) => Some(Token::Set(a.common(b))).filter(|_| a.meets(b)),
        _ => None,
    }
}

/// What two elements have in common, as elements; nothing where those are too many.
type Elements<'a, T> = dyn Fn(&T, &T) -> Option<Vec<T>> + 'a;

/// Collects the sequences that two sequences have in common, where `star` stands for any number of elements.
struct Common<'a, T> {
    star: &'a T,
    elements: &'a Elements<'a, T>,
    found: Vec<Vec<T>>,
    /// Steps left before they are too many.
    steps: usize,
}

impl<'a, T: Clone + PartialEq> Common<'a, T> {
    fn of(a: &[T], b: &[T], star: &'a T, elements: &'a Elements<'a, T>) -> Option<Vec<Vec<T>>> {
        let mut common = Self { star, elements, found: Vec::new(), steps: 2000 };
        common.gather(a, b, &mut Vec::new())?;
        Some(common.found)
    }

    fn gather(&mut self, a: &[T], b: &[T], head: &mut Vec<T>) -> Option<()> {
        self.steps = self.steps.checked_sub(1)?;
        match (a, b) {
            ([], []) => self.add(head),
            ([one, rest_a @ ..], [other, rest_b @ ..]) if one == self.star && other == self.star => {
                // One of the two ends first; up to there it is any number of elements.
                self.after(self.star, rest_a, b, head)?;
                self.after(self.star, a, rest_b, head)
            }
            ([one, rest @ ..], other) | (other, [one, rest @ ..]) if one == self.star => {
                self.gather(rest, other, head)?;
                let [next, others @ ..] = other else { return Some(()) };
                let with_star = [std::slice::from_ref(self.star), rest].concat();
                self.after(next, &with_star, others, head)
            }
            ([one, rest_a @ ..], [other, rest_b @ ..]) => {
                for element in (self.elements)(one, other)? {
                    self.after(&element, rest_a, rest_b, head)?;
                }
                Some(())
            }
            _ => Some(()),
        }
    }

    /// Goes on behind `element`.
    fn after(&mut self, element: &T, a: &[T], b: &[T], head: &mut Vec<T>) -> Option<()> {
        head.push(element.clone());
        let gathered = self.gather(a, b, head);
        head.pop();
        gathered
    }

    fn add(&mut self, head: &[T]) -> Option<()> {
        let mut sequence = head.to_vec();
        sequence.dedup_by(|next, before| next == self.star && before == self.star);
        if !self.found.contains(&sequence) {
            self.found.push(sequence);
        }
        (self.found.len() <= MAX_SHAPES).then_some(())
    }
}

/// The shape's paths that lie `depth` deep.
pub fn at_depth(shape: &[Part], depth: usize) -> Option<Vec<Shape>> {
    let Some(stars) = depth.checked_sub(least_depth(shape)) else { return Some(Vec::new()) };
    if stars > 0 && !shape.contains(&Part::Deep) {
        return Some(Vec::new());
    }
    spread(shape, stars, false)
}

/// The shape's paths that lie deeper than `depth`.
pub fn beyond(shape: &[Part], depth: usize) -> Option<Vec<Shape>> {
    let stars = (depth + 1).saturating_sub(least_depth(shape));
    if stars > 0 && !shape.contains(&Part::Deep) {
        return Some(Vec::new());
    }
    spread(shape, stars, true)
}

fn least_depth(shape: &[Part]) -> usize {
    shape.iter().filter(|part| **part != Part::Deep).count()
}

/// Puts `stars` single components into the places of the `**`, in every way; `deep` keeps those too.
fn spread(shape: &[Part], stars: usize, deep: bool) -> Option<Vec<Shape>> {
    let mut heads: Vec<(Shape, usize)> = vec![(Vec::new(), stars)];
    let mut places = shape.iter().filter(|part| **part == Part::Deep).count();
    for part in shape {
        if *part != Part::Deep {
            for (head, _) in &mut heads {
                head.push(part.clone());
            }
            continue;
        }
        places -= 1;
        let mut next = Vec::new();
        for (head, left) in heads {
            // The last place takes all that is left.
            for here in if places == 0 { left..=left } else { 0..=left } {
                let mut head = head.clone();
                head.extend(std::iter::repeat_n(any(), here));
                if deep {
                    head.push(Part::Deep);
                }
                next.push((head, left - here));
            }
        }
        if next.len() > MAX_SHAPES {
            return None;
        }
        heads = next;
    }
    Some(heads.into_iter().map(|(head, _)| head).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::glob;

    fn shape(text: &str) -> Shape {
        let pattern = glob::parse(&format!("{{repo}}/{text}")).expect(text).remove(0);
        match pattern.tail {
            Tail::End => pattern.parts,
            Tail::Below | Tail::Any => below(&pattern.parts),
        }
    }

    #[test]
    fn what_two_have_in_common() {
        for (a, b) in
            [("**/*.log", "keep*"), ("a/**", "a/b/c"), ("**/a/**", "**/b/**"), ("*a*", "*b*"), ("**/x", "x")]
        {
            assert!(meet(&shape(a), &shape(b)) && meet(&shape(b), &shape(a)), "{a} {b}");
            assert!(!common(&shape(a), &shape(b)).expect("few").is_empty(), "{a} {b}");
        }
        for (a, b) in [("**/*.log", "**/*.txt"), ("a/**", "a"), ("a/*", "a/b/c"), ("[ab]", "[cd]"), ("**/a/b", "b/b")]
        {
            assert!(!meet(&shape(a), &shape(b)) && !meet(&shape(b), &shape(a)), "{a} {b}");
            assert!(common(&shape(a), &shape(b)).expect("few").is_empty(), "{a} {b}");
        }
        assert_eq!(common(&shape("**/.*"), &shape("a/*/.git")), Some(vec![shape("a/*/.git")]));
        assert_eq!(common(&shape("a*"), &shape("*b")), Some(vec![shape("a*b")]));
        let pairs = common(&shape("**/a/**"), &shape("**/b")).expect("few");
        assert_eq!(pairs, [shape("**/a/**/b")]);
    }

    #[test]
    fn at_one_depth_and_beyond() {
        assert_eq!(at_depth(&shape("**/a"), 3), Some(vec![shape("*/*/a")]));
        assert_eq!(at_depth(&shape("a/**/b/**"), 4).expect("few").len(), 2);
        assert_eq!(at_depth(&shape("a/b"), 1), Some(Vec::new()));
        assert_eq!(beyond(&shape("a/b"), 1), Some(vec![shape("a/b")]));
        assert_eq!(beyond(&shape("a/b"), 2), Some(Vec::new()));
        assert_eq!(beyond(&shape("**/a"), 2), Some(vec![shape("*/*/**/a")]));
    }
}
