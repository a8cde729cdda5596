//! What is typed to filter lines.

/// Words that a line must have, or must not.
#[derive(Clone, Debug, Default)]
pub struct Filter<'a> {
    words: Vec<(bool, &'a [u8])>,
}

impl<'a> Filter<'a> {
    /// The filter of a text: words between blanks, `!` in front of those that must be missing. Capitals don't matter.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        let words = text.split_whitespace().filter_map(|word| match word.strip_prefix('!') {
            Some("") => None,
            Some(word) => Some((false, word.as_bytes())),
            None => Some((true, word.as_bytes())),
        });
        Self { words: words.collect() }
    }

    /// Whether it lets everything through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether a line with these texts is let through.
    #[must_use]
    pub fn lets_through(&self, texts: &[&str]) -> bool {
        self.words.iter().all(|(wanted, word)| *wanted == texts.iter().any(|text| contains(text.as_bytes(), word)))
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_count_and_capitals_do_not() {
        let line = ["/home/u/.env", "deny", "codex"];
        for (filter, through) in [
            ("", true),
            ("ENV", true),
            ("env codex", true),
            ("env claude", false),
            ("!claude", true),
            ("env !deny", false),
            ("!", true),
        ] {
            assert_eq!(Filter::of(filter).lets_through(&line), through, "{filter}");
        }
    }
}
