//! A notification on the desktop of the user whose process was stopped.
//!
//! Their session bus is theirs: whoever connects to it has to be them. So a process of its own, [`super::helper`], becomes that user
//! and does so, and is handed what to show through a pipe that is never waited for.

use std::collections::{HashMap, VecDeque};
use std::io::Write as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::helper::{self, Notice};
use super::limit::Limit;
use crate::record::event::Event;
use crate::record::sentence::Sentence;

/// Notifications of one user, and in which time.
const NOTICES: (u32, Duration) = (1, Duration::from_secs(5));
/// Longest text about one denial, in characters.
const LONGEST: usize = 300;
/// Denials that are shown where there are many, the last ones.
const SHOWN: usize = 3;
/// How long a desktop that could not be told is left alone.
const AGAIN: Duration = Duration::from_secs(30);

/// The desktops, by user.
#[derive(Default)]
pub struct Desktops(HashMap<u32, Desktop>);

impl Desktops {
    /// Something was denied.
    pub fn tell(&mut self, event: &Event, said: &Sentence, now: Instant) {
        let Some(uid) = event.process.as_ref().and_then(|process| process.uid) else { return };
        let desktop = self.0.entry(uid).or_insert_with(|| Desktop::of(uid));
        let text: String = said.to_string().chars().take(LONGEST).collect();
        if desktop.limit.pass(now) {
            let summary = match event.agent.as_deref() {
                Some(agent) => format!("guard stopped {agent}"),
                None => "guard stopped a command".to_owned(),
            };
            desktop.show(&Notice { summary, body: text }, now);
        } else {
            desktop.held.push_back(text);
            if desktop.held.len() > SHOWN {
                desktop.held.pop_front();
            }
        }
    }

    /// Shows what was held back, where it is time, and sees after the helpers.
    pub fn tick(&mut self, now: Instant) {
        for desktop in self.0.values_mut() {
            if let Some(held) = desktop.limit.held(now) {
                let mut body: Vec<String> = desktop.held.drain(..).collect();
                let unshown = held.saturating_sub(body.len() as u64);
                if unshown > 0 {
                    body.insert(0, format!("{unshown} others, then:"));
                }
                desktop.show(&Notice { summary: format!("guard stopped {held} more"), body: body.join("\n") }, now);
            }
            desktop.look(now);
        }
    }
}

/// A user's desktop.
struct Desktop {
    uid: u32,
    helper: Option<(Child, ChildStdin)>,
    limit: Limit,
    held: VecDeque<String>,
    /// Before that, it is not tried again.
    again: Option<Instant>,
    /// It was said that it can't be told.
    complained: bool,
}

impl Desktop {
    fn of(uid: u32) -> Self {
        let limit = Limit::new(NOTICES.0, NOTICES.1);
        Self { uid, helper: None, limit, held: VecDeque::new(), again: None, complained: false }
    }

    /// Hands a notice to the helper. One that does not take it, or that can't be started, is nobody's loss.
    fn show(&mut self, notice: &Notice, now: Instant) {
        self.look(now);
        let Ok(mut line) = serde_json::to_vec(notice) else { return };
        line.push(b'\n');
        if self.helper.is_none() && self.again.is_none_or(|again| now >= again) && helper::has_bus(self.uid) {
            match start(self.uid) {
                Ok(helper) => self.helper = Some(helper),
                Err(error) => self.failed(now, &error.to_string()),
            }
        }
        if let Some((_, pipe)) = &mut self.helper {
            // Shorter than what a pipe takes whole or not at all.
            let _full = pipe.write(&line);
        }
    }

    /// Whether the helper lives, and if not, what became of it.
    fn look(&mut self, now: Instant) {
        let Some((child, _)) = &mut self.helper else { return };
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) if status.success() => self.helper = None,
            Ok(Some(status)) => {
                self.helper = None;
                self.failed(now, helper::reason(status.code()));
            }
            Err(error) => {
                self.helper = None;
                self.failed(now, &error.to_string());
            }
        }
    }

    fn failed(&mut self, now: Instant, why: &str) {
        self.again = Some(now + AGAIN);
        if !std::mem::replace(&mut self.complained, true) {
            tracing::warn!("the desktop of user {} can't be told of denials: {why}", self.uid);
        }
    }
}

/// Starts a helper for a user.
fn start(uid: u32) -> std::io::Result<(Child, ChildStdin)> {
    // By what runs, whatever has its name by now; with nothing of our environment.
    let mut child = Command::new("/proc/self/exe")
        .args([helper::NAME, "--uid", &uid.to_string()])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let Some(pipe) = child.stdin.take() else { return Err(std::io::ErrorKind::BrokenPipe.into()) };
    fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((child, pipe))
}
