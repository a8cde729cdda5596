//! Path globs: gitignore's, over true paths, with an anchor.

use guard_common::table::{NODE_HOME, NODE_REPO, NODE_ROOT};

use super::pattern::{Fault, Lexer, Part, Pattern, Tail, Token, alternatives, collapse, is_star, parts};

const PLACES: [(&str, u16); 2] = [("{repo}", NODE_REPO), ("{home}", NODE_HOME)];

/// The patterns that `text` stands for.
pub fn parse(text: &str) -> Result<Vec<Pattern>, Fault> {
    let (anchor, rest) = anchor(text)?;
    if text.ends_with('/') && !text.ends_with("\\/") {
        return Err(Fault::new("a path never ends in `/`")
            .help(format!("for what lies in the folder write `{text}**`, for the folder itself leave the `/` out")));
    }
    if let Some((place, _)) = PLACES.iter().find(|(place, _)| rest.contains(place)) {
        return Err(Fault::new(format!("`{place}` can only stand at the beginning")));
    }
    let atoms = Lexer { separator: b'/', words: false }.atoms(rest)?;
    alternatives(&atoms)?.iter().map(|atoms| normal(anchor, parts(atoms)?)).collect()
}

/// A name, or a path, as a glob that matches it alone.
#[must_use]
pub fn escaped(name: &str) -> String {
    name.chars().flat_map(|c| "\\*?[]{},".contains(c).then_some('\\').into_iter().chain([c])).collect()
}

/// Where `text` is anchored, and what follows the anchor and its `/`.
fn anchor(text: &str) -> Result<(u16, &str), Fault> {
    for (place, node) in PLACES {
        if let Some(rest) = text.strip_prefix(place) {
            return match rest.strip_prefix('/') {
                Some(rest) => Ok((node, rest)),
                None => Err(Fault::new(format!("`{place}` must be followed by `/`"))
                    .help(format!("for everything in it write `{place}/**`"))),
            };
        }
    }
    if let Some(rest) = text.strip_prefix('/') {
        return Ok((NODE_ROOT, rest));
    }
    if text == "**" || text.starts_with("**/") {
        return Ok((NODE_ROOT, text));
    }
    let fault = Fault::new("it can never match, for a true path starts with `/`");
    if let Some(rest) = text.strip_prefix("~/") {
        return Err(fault.help(format!("for the user's home write `{{home}}/{rest}`")));
    }
    if text.starts_with("{/") {
        return Err(fault.help("write the first `/` before the braces"));
    }
    let rest = text.trim_start_matches("./");
    Err(fault.help(format!("to match it in every folder write `**/{rest}`, in the repository `{{repo}}/{rest}`")))
}

/// The pattern of these parts, in normal form.
fn normal(anchor: u16, mut parts: Vec<Part>) -> Result<Pattern, Fault> {
    for part in &parts {
        let Part::Component(tokens) = part else { continue };
        if tokens.is_empty() {
            return Err(Fault::new("it has an empty component, which no path has"));
        }
        let dots = |token: &Token| matches!(token, Token::Set(set) if set.len() == 1 && set.contains(b'.'));
        if tokens.len() <= 2 && tokens.iter().all(dots) {
            return Err(Fault::new("it has a component `.` or `..`, which no true path has"));
        }
    }
    collapse(&mut parts);
    let mut tail = Tail::End;
    if let [.., Part::Deep, last] = &parts[..]
        && is_star(last)
    {
        // One component, whatever it is, at any depth: that is what `**` at the end means.
        parts.pop();
    }
    if parts.last() == Some(&Part::Deep) {
        parts.pop();
        tail = Tail::Below;
    }
    Ok(Pattern { anchor, parts, tail })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        let fault = parse(text).expect_err(text);
        fault.help.map_or(fault.what.clone(), |help| format!("{} | {help}", fault.what))
    }

    #[test]
    fn what_can_never_match_is_refused_with_the_remedy() {
        assert_eq!(
            fault(".env"),
            "it can never match, for a true path starts with `/` | to match it in every folder write `**/.env`, in the \
             repository `{repo}/.env`"
        );
        assert_eq!(
            fault("~/.ssh/**"),
            "it can never match, for a true path starts with `/` | for the user's home write `{home}/.ssh/**`"
        );
        assert_eq!(
            fault("/etc/"),
            "a path never ends in `/` | for what lies in the folder write `/etc/**`, for the folder itself leave the \
             `/` out"
        );
        assert_eq!(fault("/a/{repo}/b"), "`{repo}` can only stand at the beginning");
        assert_eq!(fault("{home}"), "`{home}` must be followed by `/` | for everything in it write `{home}/**`");
        assert_eq!(fault("/a//b"), "it has an empty component, which no path has");
        assert_eq!(fault("/a/../b"), "it has a component `.` or `..`, which no true path has");
        assert_eq!(fault(""), fault(".").replace("`**/.`", "`**/`").replace("`{repo}/.`", "`{repo}/`"));
    }

    #[test]
    fn syntax_errors_say_how_to_write_the_character() {
        assert_eq!(fault("/a[b"), "`[` is never closed | for the character itself write `\\[`");
        assert_eq!(fault("/a{b"), "`{` is never closed | for the character itself write `\\{`");
        assert_eq!(fault("/a}b"), "`}` closes nothing | for the character itself write `\\}`");
        assert_eq!(fault("/a\\"), "the backslash at the end escapes nothing | write `\\\\`");
        assert_eq!(fault("/[z-a]"), "the range `z-a` is the wrong way round");
        assert_eq!(
            fault("/a**/b"),
            "`**` must stand alone between separators | for any characters within one component write `*`"
        );
        let many = format!("/{}", "{0,1,2,3,4,5,6,7,8,9}".repeat(4));
        assert_eq!(fault(&many), "its braces stand for more than 1000 patterns");
    }

    #[test]
    fn stars_at_the_end_have_one_form() {
        assert_eq!(parse("/a/**"), parse("/a/**/*"));
        assert_eq!(parse("/a/**/**/b"), parse("/a/**/b"));
        assert!(parse("**").expect("valid")[0].is_everything());
        assert!(parse("/**").expect("valid")[0].is_everything());
        assert!(parse("**/*").expect("valid")[0].is_everything());
        assert!(!parse("{repo}/**").expect("valid")[0].is_everything());
        assert!(!parse("/*").expect("valid")[0].is_everything());
    }

    #[test]
    fn braces_multiply_out() {
        assert_eq!(parse("/{a,b/c}/{d,e{f,}}").expect("valid").len(), 6);
        assert_eq!(parse("/{a,b}").expect("valid")[1], parse("/b").expect("valid")[0]);
    }
}
