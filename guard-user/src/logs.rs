//! What guard says of itself: its log, on standard error.
//!
//! Messages are sentences, and each has a level. Where standard error is the journal, the level is told in the way that the
//! journal reads, and times and guard's name are left to it. As JSON, what a message is about is there in members too.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::str::FromStr as _;

use nix::sys::stat::fstat;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, layer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Target of the sentences that tell of verdicts: their first word says how bad it is.
pub const VERDICT: &str = "guard::verdict";
/// Target of events that are written as they are, lines of JSON.
pub const EVENT: &str = "guard::event";
/// Target of the reason for which guard ends.
pub const END: &str = "guard::end";

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Sentences
    #[default]
    Text,
    /// An object of JSON a line
    Json,
}

/// What is logged: a level, or several by part, such as `info,guard::record=debug`.
///
/// # Errors
/// Says what is no level.
pub fn filter(text: &str) -> Result<Targets, String> {
    let mut targets = Targets::new();
    for part in text.split(',') {
        let (target, level) = match part.split_once('=') {
            Some((target, level)) => (Some(target), level),
            None => (None, part),
        };
        let level = LevelFilter::from_str(level)
            .ok()
            .filter(|_| level.starts_with(char::is_alphabetic))
            .ok_or_else(|| format!("{level:?} is none of off, error, warn, info, debug, trace"))?;
        targets = match target {
            Some(target) => targets.with_target(target, level),
            None => targets.with_default(level),
        };
    }
    Ok(targets)
}

/// Begins to log. Once in a process; what is said before is lost.
pub fn start(format: Format, filter: Targets) {
    let registry = Registry::default().with(filter);
    // A second start would change nothing.
    let _started = match format {
        Format::Text => registry.with(sentences()).try_init(),
        Format::Json => {
            let objects = layer().json().flatten_event(true).with_writer(io::stderr).log_internal_errors(false);
            let of = |events: bool| filter_fn(move |about| (about.target() == EVENT) == events);
            registry.with(objects.with_filter(of(false))).with(sentences().with_filter(of(true))).try_init()
        }
    };
}

/// Writes sentences. Errors of writing have nowhere to go.
fn sentences<S>() -> impl tracing_subscriber::Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    layer().event_format(Text::of_environment()).with_writer(io::stderr).log_internal_errors(false)
}

/// Whether `stream` shows colours: a terminal of someone who has not said that they want none.
pub fn colours(stream: &impl io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
}

/// A text from outside without the characters that could play tricks on a terminal.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// Sentences, for people and for the journal.
struct Text {
    journal: bool,
    colour: bool,
}

impl Text {
    fn of_environment() -> Self {
        let stream = io::stderr();
        let journal = std::env::var("JOURNAL_STREAM").is_ok_and(|named| is(&stream, &named));
        Self { journal, colour: !journal && stream.is_terminal() && colours(&stream) }
    }
}

/// Whether `stream` is what `named` says, its device and inode as `JOURNAL_STREAM` has them: a variable alone is handed
/// down to programs whose output goes elsewhere.
fn is(stream: &io::Stderr, named: &str) -> bool {
    fstat(stream.as_fd()).is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let about = event.metadata();
        let mut message = Message::default();
        event.record(&mut message);
        to.write_str(&self.lines(*about.level(), about.target(), &message.0))
    }
}

impl Text {
    /// The lines of a message, the last one ended.
    fn lines(&self, level: Level, target: &str, message: &str) -> String {
        let (priority, word, paint) = match level {
            Level::ERROR => (3, "error: ", "\x1b[1;31m"),
            Level::WARN => (4, "warning: ", "\x1b[33m"),
            Level::INFO => (6, "", ""),
            _ => (7, "debug: ", "\x1b[2m"),
        };
        // A policy's errors and warnings are whole texts of their own, as are events.
        let whole = target == EVENT || message.starts_with("error") || message.starts_with("warning");
        let mut out = String::with_capacity(message.len() + 32);
        for (number, line) in message.lines().enumerate() {
            if self.journal {
                // Each line is a message to the journal.
                let _infallible = write!(out, "<{priority}>");
            }
            if number == 0 && !whole {
                out.push_str(if self.journal { "" } else { "guard: " });
                // What guard ends with needs no word to be taken for an error.
                if !matches!(target, VERDICT | END) {
                    let (on, off) = if self.colour && !word.is_empty() { (paint, "\x1b[0m") } else { ("", "") };
                    out.extend([on, word, off]);
                }
            }
            // The others are made of names that anybody can have given.
            if matches!(target, VERDICT | EVENT) {
                out.push_str(line);
            } else {
                out.push_str(&printable(line));
            }
            out.push('\n');
        }
        out
    }
}

/// The message of an event.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _infallible = write!(self.0, "{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_words_for_people_and_numbers_for_the_journal() {
        let (plain, journal) = (Text { journal: false, colour: false }, Text { journal: true, colour: false });
        assert_eq!(plain.lines(Level::INFO, "guard::cli", "guarding x"), "guard: guarding x\n");
        assert_eq!(plain.lines(Level::WARN, "guard::watch", "not so"), "guard: warning: not so\n");
        assert_eq!(plain.lines(Level::ERROR, "guard::cli", "error: bad\n  --> a:1"), "error: bad\n  --> a:1\n");
        assert_eq!(journal.lines(Level::ERROR, "guard::cli", "error: bad\n  --> a"), "<3>error: bad\n<3>  --> a\n");
        assert_eq!(journal.lines(Level::WARN, VERDICT, "stopped cat"), "<4>stopped cat\n");
        assert_eq!(journal.lines(Level::INFO, "guard::cli", "guarding x"), "<6>guarding x\n");
        assert_eq!(plain.lines(Level::ERROR, END, "no such file"), "guard: no such file\n");
        let colour = Text { journal: false, colour: true };
        assert_eq!(colour.lines(Level::ERROR, "guard::cli", "no"), "guard: \x1b[1;31merror: \x1b[0mno\n");
    }

    #[test]
    fn names_play_no_tricks() {
        let plain = Text { journal: false, colour: false };
        assert_eq!(plain.lines(Level::INFO, "guard::watch", "a\x1b[2Jb\rc"), "guard: a\\u{1b}[2Jb\\rc\n");
        // Those who tell of verdicts have seen to it, and put colours in.
        assert_eq!(plain.lines(Level::WARN, VERDICT, "\x1b[1mx"), "guard: \x1b[1mx\n");
    }

    #[test]
    fn what_is_no_level_is_refused() {
        for good in ["info", "off", "warn,guard::record=trace"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["", "loud", "3", "info,guard=loud", "info,"] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}
