//! Tells people of what was denied, beside log and record: whoever sits at the session's terminal or desktop.
//!
//! Both are a courtesy. They are limited in number, wait for nobody, and what can't be told is not: the record has it.

mod desktop;
pub mod helper;
mod limit;
mod terminal;

use std::time::Instant;

use clap::ValueEnum;

use crate::record::event::Event;
use crate::record::sentence::sentence;
use desktop::Desktops;
use terminal::Terminals;

/// Where somebody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// A line on the terminal that the agent runs in
    Terminal,
    /// A notification on the desktop of the user whose process was stopped
    Desktop,
}

/// Those who are told.
pub struct Alerts {
    terminals: Option<Terminals>,
    desktops: Option<Desktops>,
}

impl Alerts {
    /// Told in these ways.
    #[must_use]
    pub fn by(ways: &[Way]) -> Self {
        Self {
            terminals: ways.contains(&Way::Terminal).then(Terminals::default),
            desktops: ways.contains(&Way::Desktop).then(Desktops::default),
        }
    }

    /// Something has happened.
    pub fn tell(&mut self, event: &Event) {
        if let Some(terminals) = &mut self.terminals {
            match event.op {
                "session-start" => terminals.begins(event),
                "session-end" => terminals.ends(event),
                _ => {}
            }
        }
        if !denied(event) {
            return;
        }
        let Some(said) = sentence(event) else { return };
        if let Some(terminals) = &mut self.terminals {
            terminals.tell(event, &said, Instant::now());
        }
        if let Some(desktops) = &mut self.desktops {
            desktops.tell(event, &said, Instant::now());
        }
    }

    /// Tells what was held back, once it is time. Called several times a second.
    pub fn tick(&mut self) {
        if let Some(terminals) = &mut self.terminals {
            terminals.tick(Instant::now());
        }
        if let Some(desktops) = &mut self.desktops {
            desktops.tick(Instant::now());
        }
    }
}

/// Whether something was kept from happening.
fn denied(event: &Event) -> bool {
    event.verdict.as_ref().is_some_and(|verdict| verdict.enforced && matches!(verdict.action, "deny" | "kill"))
}
