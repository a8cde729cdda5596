//! Keeps secrets in command lines out of everything that is written.
//!
//! A command line is shown in process lists anyway; a record is kept, copied and read by more people. What looks
//! like the value of a secret is replaced, what surrounds it stays readable.

/// Written in a secret's place.
const REDACTED: &str = "[redacted]";

/// Words that name a secret when they end an option's or variable's name.
const NAMES: &[&str] =
    &["token", "password", "passwd", "secret", "apikey", "api-key", "api_key", "access-key", "access_key"];

/// Beginnings by which well-known kinds of tokens are recognised.
const BEGINNINGS: &[&str] = &[
    "sk-",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "npm_",
    "pypi-",
    "AKIA",
    "eyJhbGciOi",
];

/// A command line without its secrets.
#[must_use]
pub fn argv(words: Vec<String>) -> Vec<String> {
    let mut hide_next = false;
    words
        .into_iter()
        .map(|word| {
            if std::mem::take(&mut hide_next) && !word.starts_with('-') {
                return REDACTED.to_owned();
            }
            hide_next = word.starts_with('-') && !word.contains('=') && names_secret(&word);
            redact(&word)
        })
        .collect()
}

/// Whether an option or variable of this name holds a secret.
fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    NAMES.iter().any(|secret| name.ends_with(secret))
}

/// One word without its secrets; words in which a shell command or a header is quoted are looked through.
fn redact(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut after_bearer = false;
    for piece in word.split_inclusive([' ', '\n', '\t']) {
        let trimmed = piece.trim_end();
        let space = &piece[trimmed.len()..];
        if std::mem::replace(&mut after_bearer, false) {
            out.push_str(REDACTED);
        } else if let Some((name, _)) =
            trimmed.split_once('=').filter(|(name, value)| !value.is_empty() && names_secret(name))
        {
            out.push_str(name);
            out.push('=');
            out.push_str(REDACTED);
        } else {
            push_without_tokens(&mut out, trimmed);
        }
        out.push_str(space);
        after_bearer = trimmed.trim_start_matches(['"', '\'']).eq_ignore_ascii_case("bearer")
            || trimmed.to_ascii_lowercase().ends_with(":bearer");
    }
    out
}

/// Copies a piece, cutting off a token where one begins.
fn push_without_tokens(out: &mut String, piece: &str) {
    let begin = BEGINNINGS
        .iter()
        .filter_map(|beginning| piece.find(beginning))
        .filter(|at| {
            // Only where a word begins, and only if something long enough to be a token follows.
            let before = piece[..*at].chars().next_back();
            before.is_none_or(|c| !c.is_alphanumeric()) && piece.len() - at >= 16
        })
        .min();
    match begin {
        Some(at) => {
            out.push_str(&piece[..at]);
            out.push_str(REDACTED);
        }
        None => out.push_str(piece),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(words: &[&str]) -> Vec<String> {
        argv(words.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn secrets_go_and_the_rest_stays() {
        assert_eq!(redacted(&["cat", ".env"]), ["cat", ".env"]);
        assert_eq!(redacted(&["x", "--token", "abc"]), ["x", "--token", "[redacted]"]);
        assert_eq!(redacted(&["x", "--password=abc", "f"]), ["x", "--password=[redacted]", "f"]);
        assert_eq!(redacted(&["env", "GITHUB_TOKEN=abc", "git"]), ["env", "GITHUB_TOKEN=[redacted]", "git"]);
        assert_eq!(
            redacted(&["curl", "-H", "Authorization: Bearer abcdef", "u"]),
            ["curl", "-H", "Authorization: Bearer [redacted]", "u"]
        );
        assert_eq!(redacted(&["sh", "-c", "curl u?k=ghp_0123456789abcdef x"]), ["sh", "-c", "curl u?k=[redacted] x"]);
        assert_eq!(redacted(&["tokens", "--token"]), ["tokens", "--token"]);
        assert_eq!(redacted(&["ask-me"]), ["ask-me"]);
    }
}
