//! Progress, on standard error, so that standard output stays the task's own.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};
use std::{env, io};

use anyhow::Result;

fn paint(code: &str, text: &str) -> String {
    if io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// In one piece, for others write at the same time: what runs beside this, and those who listen to it.
fn line(text: &str) {
    let whole = format!("{text}\n");
    eprint!("{whole}");
}

/// What is being done.
pub fn step(text: &str) {
    line(&format!("{} {text}", paint("1;32", "==>")));
}

/// A fact that the reader may want to know.
pub fn note(text: &str) {
    line(&format!("    {text}"));
}

/// What went wrong; the first line is marked, more may follow.
pub fn error(text: &str) {
    line(&format!("{} {text}", paint("1;31", "error:")));
}

/// Says what is being done, does it, and says how long that took if anybody had to wait.
pub fn timed<T>(text: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    step(text);
    let started = Instant::now();
    let result = work()?;
    if started.elapsed() > Duration::from_secs(2) {
        note(&format!("done in {} s", started.elapsed().as_secs()));
    }
    Ok(result)
}
