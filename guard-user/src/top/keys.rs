//! The keys: what is bound, what `--help` and `?` say of it. One table, so that they can't differ.

use std::fmt::Write as _;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::app::View;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table below says of each what it does")]
pub enum Command {
    View(View),
    NextView,
    PreviousView,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Open,
    Back,
    Filter,
    SortNext,
    SortPrevious,
    Reverse,
    Pause,
    Ended,
    KillCall,
    KillSession,
    SwitchMode,
    AllowRule,
    DenyRule,
    Slower,
    Faster,
    Help,
    Redraw,
    Suspend,
    Quit,
}

/// Keys that do the same.
#[derive(Debug)]
pub struct Binding {
    codes: &'static [(KeyCode, KeyModifiers)],
    /// The keys, as people call them.
    pub keys: &'static str,
    /// What they ask for.
    pub command: Command,
    /// What they do; where it is empty, the line before says it.
    pub what: &'static str,
}

const NONE: KeyModifiers = KeyModifiers::NONE;
const CTRL: KeyModifiers = KeyModifiers::CONTROL;

const fn binding(
    codes: &'static [(KeyCode, KeyModifiers)],
    keys: &'static str,
    command: Command,
    what: &'static str,
) -> Binding {
    Binding { codes, keys, command, what }
}

/// All of them, in the order in which they are explained.
pub const BINDINGS: &[Binding] = &[
    binding(&[(KeyCode::Char('1'), NONE)], "1", Command::View(View::Sessions), "the sessions"),
    binding(&[(KeyCode::Char('2'), NONE)], "2", Command::View(View::Tree), "one session's calls and processes"),
    binding(&[(KeyCode::Char('3'), NONE)], "3", Command::View(View::Verdicts), "verdicts as they come"),
    binding(&[(KeyCode::Char('4'), NONE)], "4", Command::View(View::Objects), "files, programs and destinations"),
    binding(&[(KeyCode::Char('5'), NONE)], "5", Command::View(View::Cost), "what guard itself costs"),
    binding(&[(KeyCode::Tab, NONE)], "Tab", Command::NextView, "the next view"),
    binding(&[(KeyCode::BackTab, NONE)], "Shift-Tab", Command::PreviousView, "the view before"),
    binding(&[(KeyCode::Up, NONE), (KeyCode::Char('k'), NONE)], "Up k", Command::Up, "one line up"),
    binding(&[(KeyCode::Down, NONE), (KeyCode::Char('j'), NONE)], "Down j", Command::Down, "one line down"),
    binding(&[(KeyCode::PageUp, NONE), (KeyCode::Char('b'), CTRL)], "PgUp ^B", Command::PageUp, "a page up"),
    binding(&[(KeyCode::PageDown, NONE), (KeyCode::Char('f'), CTRL)], "PgDn ^F", Command::PageDown, "a page down"),
    binding(&[(KeyCode::Home, NONE), (KeyCode::Char('g'), NONE)], "Home g", Command::First, "the first line"),
    binding(
        &[(KeyCode::End, NONE), (KeyCode::Char('G'), NONE)],
        "End G",
        Command::Last,
        "the last line; verdicts are followed from there",
    ),
    binding(
        &[(KeyCode::Enter, NONE)],
        "Enter",
        Command::Open,
        "open: a session's tree, a verdict's process, an object's verdicts; unfold a process",
    ),
    binding(
        &[(KeyCode::Esc, NONE), (KeyCode::Backspace, NONE)],
        "Esc Bksp",
        Command::Back,
        "no filter any more; then back to the view before",
    ),
    binding(
        &[(KeyCode::Char('/'), NONE)],
        "/",
        Command::Filter,
        "filter: type words that a line must have, !word for one that it must not; Enter ends",
    ),
    binding(&[(KeyCode::Char('>'), NONE)], ">", Command::SortNext, "sort by the next column"),
    binding(&[(KeyCode::Char('<'), NONE)], "<", Command::SortPrevious, "sort by the column before"),
    binding(&[(KeyCode::Char('r'), NONE)], "r", Command::Reverse, "reverse the order"),
    binding(
        &[(KeyCode::Char(' '), NONE), (KeyCode::Char('p'), NONE)],
        "Space p",
        Command::Pause,
        "pause: what is shown stays as it is, what comes is kept for afterwards; a record stops playing",
    ),
    binding(&[(KeyCode::Char('e'), NONE)], "e", Command::Ended, "show what has ended, or hide it"),
    binding(
        &[(KeyCode::Char('x'), NONE)],
        "x",
        Command::KillCall,
        "kill the call, with all its processes; asks first",
    ),
    binding(
        &[(KeyCode::Char('X'), NONE)],
        "X",
        Command::KillSession,
        "kill the session, with all its processes; asks first",
    ),
    binding(
        &[(KeyCode::Char('m'), NONE)],
        "m",
        Command::SwitchMode,
        "switch the session between audit and enforce; asks first",
    ),
    binding(
        &[(KeyCode::Char('a'), NONE)],
        "a",
        Command::AllowRule,
        "show and copy a rule that would allow what is selected",
    ),
    binding(&[(KeyCode::Char('d'), NONE)], "d", Command::DenyRule, "the same, for one that would deny it"),
    binding(&[(KeyCode::Char('+'), NONE)], "+", Command::Faster, "play a record twice as fast"),
    binding(&[(KeyCode::Char('-'), NONE)], "-", Command::Slower, "play it half as fast"),
    binding(&[(KeyCode::Char('?'), NONE), (KeyCode::F(1), NONE)], "? F1", Command::Help, "show these keys"),
    binding(&[(KeyCode::Char('l'), CTRL)], "^L", Command::Redraw, "paint everything anew"),
    binding(&[(KeyCode::Char('z'), CTRL)], "^Z", Command::Suspend, "back to the shell, until `fg`"),
    binding(&[(KeyCode::Char('q'), NONE), (KeyCode::Char('c'), CTRL)], "q ^C", Command::Quit, "quit"),
];

/// What a key asks for, if anything.
#[must_use]
pub fn command(key: KeyEvent) -> Option<Command> {
    // Capital letters and signs come with Shift or without it, as the terminal likes.
    let modifiers = key.modifiers.difference(KeyModifiers::SHIFT);
    let bound = |(code, with): &(KeyCode, KeyModifiers)| *code == key.code && *with == modifiers;
    BINDINGS.iter().find(|binding| binding.codes.iter().any(bound)).map(|binding| binding.command)
}

/// The keys as `--help` tells them.
#[must_use]
pub fn help() -> String {
    let mut text = String::from("Keys:\n");
    for binding in BINDINGS {
        // Strings take everything.
        let _ = writeln!(text, "  {:<9}  {}", binding.keys, binding.what);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things() {
        let codes: Vec<_> = BINDINGS.iter().flat_map(|binding| binding.codes).collect();
        for (at, code) in codes.iter().enumerate() {
            assert!(!codes[..at].contains(code), "{code:?}");
        }
    }

    #[test]
    fn keys_are_found_however_the_terminal_sends_them() {
        let key = |code, modifiers| command(KeyEvent::new(code, modifiers));
        assert_eq!(key(KeyCode::Char('X'), KeyModifiers::SHIFT), Some(Command::KillSession));
        assert_eq!(key(KeyCode::Char('X'), NONE), Some(Command::KillSession));
        assert_eq!(key(KeyCode::Char('x'), NONE), Some(Command::KillCall));
        assert_eq!(key(KeyCode::Char('c'), CTRL), Some(Command::Quit));
        assert_eq!(key(KeyCode::Char('c'), NONE), None);
        assert_eq!(key(KeyCode::BackTab, KeyModifiers::SHIFT), Some(Command::PreviousView));
    }
}
