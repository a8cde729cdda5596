//! What people read of what happens, in the log.

use guard_common::words::Op;

use super::LogOptions;
use crate::logs::{self, EVENT, VERDICT};
use crate::record::event::{Event, Verdict};
use crate::record::sentence::{Sentence, sentence};
use crate::watch::Totals;

/// Tells people of verdicts, through the log, in colour where that is a terminal.
pub struct Screen {
    colour: bool,
    json: bool,
    began: std::time::Instant,
}

impl Screen {
    /// A screen; `json` writes events as JSON instead.
    #[must_use]
    pub fn new(json: bool, log: &LogOptions) -> Self {
        let colour = log.log_format == logs::Format::Text && logs::colours(&std::io::stderr());
        Self { colour, json, began: std::time::Instant::now() }
    }

    /// Shows an event, if it is one to be seen at once.
    pub fn show(&self, event: &Event) {
        let shown = event.verdict.is_some() || matches!(event.op, "lost" | "phase");
        if !shown {
            life(event);
        } else if self.json {
            let line = serde_json::to_string(event).unwrap_or_default();
            if severe(event) {
                tracing::warn!(target: EVENT, "{line}");
            } else {
                tracing::info!(target: EVENT, "{line}");
            }
        } else if event.op == "lost" {
            let (kind, count) = (event.kind.unwrap_or("unknown"), event.count.unwrap_or(0));
            tracing::warn!(target: VERDICT, op = "lost", kind, count, "lost: {count} x {kind}");
        } else if let Some(phase) = &event.phase {
            tracing::info!(target: VERDICT, op = "phase", phase, tree = event.tree, "the phase {phase} has begun");
        } else if let Some((said, verdict)) = sentence(event).zip(event.verdict.as_ref()) {
            self.verdict(event, &said, verdict);
        }
    }

    /// A verdict; what it is about goes along for those who collect logs.
    fn verdict(&self, event: &Event, said: &Sentence, verdict: &Verdict) {
        let (on, off) = if self.colour { (paint(said.word), "\x1b[0m") } else { ("", "") };
        let process = event.process.as_ref();
        macro_rules! tell {
            ($level:ident) => {
                tracing::$level!(
                    target: VERDICT,
                    op = event.op,
                    path = event.path,
                    addr = event.addr,
                    port = event.port,
                    tree = event.tree,
                    session = event.session,
                    agent = event.agent,
                    call = event.call,
                    pid = process.map(|process| process.pid),
                    exe = process.and_then(|process| process.exe.as_deref()),
                    uid = process.and_then(|process| process.uid),
                    action = verdict.action,
                    rule = verdict.rule,
                    enforced = verdict.enforced,
                    "{on}{}{off} {}",
                    said.word,
                    said.rest
                )
            };
        }
        if severe(event) {
            tell!(warn);
        } else {
            tell!(info);
        }
    }

    /// The end: what was seen and what was done about it.
    pub fn summary(&self, totals: &Totals, audit: bool) {
        if self.json {
            return;
        }
        let count = |op| totals.tally.of_op(op);
        let mut text = format!(
            "{:.1} s, {} programs run, {} files read, {} written, {} connections",
            self.began.elapsed().as_secs_f64(),
            count(Op::Exec),
            count(Op::Read),
            count(Op::Write),
            count(Op::Connect) + count(Op::Send),
        );
        let rules = totals.applied();
        if rules.is_empty() {
            text.push_str("; nothing to object to");
        } else {
            let list: Vec<_> = rules.iter().map(|(rule, count)| format!("{rule} {count}")).collect();
            text.push_str(if audit { "; would have applied: " } else { "; rules applied: " });
            text.push_str(&list.join(", "));
        }
        if totals.left > 0 {
            text.push_str("; left behind and no longer guarded: ");
            text.push_str(&totals.left.to_string());
        }
        tracing::info!("{text}");
    }
}

/// Whether something was not let through, or not told.
fn severe(event: &Event) -> bool {
    event.op == "lost" || event.verdict.as_ref().is_some_and(|verdict| verdict.enforced)
}

/// The colour of a sentence's first word.
fn paint(word: &str) -> &'static str {
    match word {
        "noted" => "\x1b[33m",
        "would stop" => "\x1b[36m",
        _ => "\x1b[1;31m",
    }
}

/// Sessions that begin and end, for those who look closely.
fn life(event: &Event) {
    let (agent, tree) = (event.agent.as_deref().unwrap_or("a command"), event.tree.as_deref());
    match event.op {
        "session-start" => {
            let (repo, uid) = (event.repo.as_deref(), event.process.as_ref().and_then(|process| process.uid));
            tracing::debug!(op = event.op, tree, repo, uid, "a session of {agent} begins");
        }
        "session-end" => tracing::debug!(op = event.op, tree, "a session of {agent} is over"),
        _ => {}
    }
}
