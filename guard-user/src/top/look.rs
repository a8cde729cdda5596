//! How things look: in colours or without, with lines or with ASCII alone.

use ratatui::style::{Color, Modifier, Style};

use super::model::Outcome;
use super::text;

/// What a text is, as far as its looks go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// Less important.
    Dim,
    /// A title.
    Title,
    /// What is chosen among the titles.
    Chosen,
    /// To be noted.
    Note,
    /// Would be bad, were it enforced.
    Would,
    /// Bad.
    Bad,
    /// Very bad.
    Worst,
    /// As it should be.
    Good,
}

impl From<Option<Outcome>> for Tone {
    fn from(outcome: Option<Outcome>) -> Self {
        match outcome {
            None => Self::Dim,
            Some(Outcome::Log) => Self::Note,
            Some(Outcome::WouldDeny | Outcome::WouldKill) => Self::Would,
            Some(Outcome::Deny) => Self::Bad,
            Some(Outcome::Kill) => Self::Worst,
        }
    }
}

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// It has colours, and they are wanted.
    pub colour: bool,
    /// It shows nothing but ASCII.
    pub ascii: bool,
}

impl Look {
    /// That of the terminal, by the environment: `NO_COLOR`, and the character set of the locale.
    #[must_use]
    pub fn of_environment() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        let locale = locale.to_string_lossy().to_ascii_lowercase();
        let utf8 = locale.ends_with("utf-8") || locale.ends_with("utf8") || locale.contains("utf-8@");
        Self { colour: set("NO_COLOR").is_none(), ascii: !utf8 }
    }

    /// The style of a tone.
    #[must_use]
    pub fn style(self, tone: Tone) -> Style {
        let plain = Style::new();
        if !self.colour {
            return match tone {
                Tone::Plain | Tone::Dim | Tone::Note | Tone::Good | Tone::Would => plain,
                Tone::Title | Tone::Bad => plain.add_modifier(Modifier::BOLD),
                Tone::Worst => plain.add_modifier(Modifier::BOLD.union(Modifier::UNDERLINED)),
                Tone::Chosen => plain.add_modifier(Modifier::REVERSED),
            };
        }
        match tone {
            Tone::Plain => plain,
            Tone::Dim => plain.fg(Color::DarkGray),
            Tone::Title => plain.add_modifier(Modifier::BOLD),
            Tone::Chosen => plain.fg(Color::Black).bg(Color::Cyan),
            Tone::Note => plain.fg(Color::Yellow),
            Tone::Would => plain.fg(Color::Cyan),
            Tone::Bad => plain.fg(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Worst => plain.fg(Color::White).bg(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Good => plain.fg(Color::Green),
        }
    }

    /// A text from events, harmless.
    #[must_use]
    pub fn clean(self, text: &str) -> String {
        text::clean(text, self.ascii).into_owned()
    }

    /// A command line from events, harmless.
    #[must_use]
    pub fn line(self, words: &str) -> String {
        text::line(words, self.ascii)
    }

    /// Stands for what was cut off.
    #[must_use]
    pub fn mark(self) -> char {
        if self.ascii { '~' } else { '…' }
    }

    /// Goes before a child in a tree: one that others follow, the last one, and what goes below each.
    #[must_use]
    pub fn branches(self) -> [&'static str; 4] {
        if self.ascii { ["|- ", "`- ", "|  ", "   "] } else { ["├─ ", "└─ ", "│  ", "   "] }
    }

    /// A line across.
    #[must_use]
    pub fn rule(self) -> &'static str {
        if self.ascii { "-" } else { "─" }
    }
}
