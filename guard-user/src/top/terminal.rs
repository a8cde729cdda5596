//! The terminal: taken over, and given back whatever happens.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Seek as _, Stdout, Write as _};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use anyhow::{Context as _, bail};
use crossterm::clipboard::CopyToClipboard;
use crossterm::cursor::Show;
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{dup, dup2_stderr};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

use super::text::clean;

/// The terminal is ours now.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// Somebody panicked, and the terminal was given back for the message: nothing may be painted any more.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// What is written to standard error meanwhile, which would run through the picture: it is shown afterwards.
static ASIDE: Mutex<Option<Aside>> = Mutex::new(None);

/// Standard error, put aside.
struct Aside {
    terminal: OwnedFd,
    written: File,
}

impl Aside {
    /// Puts it aside where it is a terminal.
    fn put() -> Option<Self> {
        if !io::stderr().is_terminal() {
            return None;
        }
        let written = memfd_create(c"guard-top", MFdFlags::MFD_CLOEXEC).ok()?;
        let terminal = dup(io::stderr()).ok()?;
        dup2_stderr(&written).ok()?;
        Some(Self { terminal, written: File::from(written) })
    }

    /// Puts it back, and shows what was written.
    fn back(mut self) {
        let _gone = dup2_stderr(&self.terminal);
        let mut text = Vec::new();
        if self.written.rewind().and_then(|()| self.written.read_to_end(&mut text)).is_ok() {
            for line in String::from_utf8_lossy(&text).lines() {
                let _gone = writeln!(io::stderr(), "{}", clean(line, false));
            }
        }
    }
}

/// A terminal that was taken over; given back when dropped.
pub struct Screen {
    /// What is painted on.
    pub terminal: Terminal<CrosstermBackend<Stdout>>,
}

/// What there has to be, said before anything is taken over.
///
/// # Errors
/// What is missing, and what to do instead.
pub fn check() -> anyhow::Result<()> {
    let instead = "Use --once for one screen as text, or --json for a snapshot";
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        bail!("guard top needs a terminal for its input and its output. {instead}");
    }
    let term = std::env::var("TERM").unwrap_or_default();
    if term.is_empty() || term == "dumb" {
        let found = if term.is_empty() { "TERM is not set".to_owned() } else { format!("TERM is {term}") };
        bail!(
            "guard top needs a terminal whose cursor can be moved, and {found}. If yours can do it, set TERM, \
             for example to xterm-256color. {instead}"
        );
    }
    Ok(())
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// If it can't be put into the mode that keys need.
    pub fn take() -> anyhow::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                // The message would be lost on the screen that is left behind.
                PANICKED.store(true, Ordering::SeqCst);
                give_back();
                before(panic);
            }));
        });
        enable_raw_mode().context("the terminal can't be put into the mode that keys need")?;
        TAKEN.store(true, Ordering::SeqCst);
        *ASIDE.lock().unwrap_or_else(PoisonError::into_inner) = Aside::put();
        let taken = execute!(io::stdout(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        match taken {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                give_back();
                Err(error).context("the terminal can't be painted on")
            }
        }
    }

    /// Whether somebody panicked meanwhile.
    #[must_use]
    pub fn panicked() -> bool {
        PANICKED.load(Ordering::SeqCst)
    }

    /// Puts a text into the terminal's clipboard, if it has one and lets others fill it: there is no answer.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        execute!(self.terminal.backend_mut(), CopyToClipboard::to_clipboard_from(text))
    }

    /// Gives the terminal back, stops until somebody lets the process go on, and takes it over again.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn suspend(&mut self) -> anyhow::Result<()> {
        give_back();
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP).context("can't be stopped")?;
        *self = Self::take()?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back, once.
pub fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // A terminal that is gone needs nothing.
        let _gone = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _gone = disable_raw_mode();
        let _gone = io::stdout().flush();
        if let Some(aside) = ASIDE.lock().unwrap_or_else(PoisonError::into_inner).take() {
            aside.back();
        }
    }
}
