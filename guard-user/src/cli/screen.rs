//! What people read on a terminal.

use std::io::{IsTerminal, Write as _};

use guard_common::words::Op;

use crate::record::event::Event;
use crate::watch::Totals;

/// Whether `stream` shows colours: a terminal of someone who has not said that they want none.
pub fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Writes lines for people to standard error, in colour where that is a terminal.
pub struct Screen {
    colour: bool,
    json: bool,
    began: std::time::Instant,
}

/// Longest command line that is shown whole, in characters. Events have all of it.
const SHOWN: usize = 400;

/// A command line as long as a person reads it.
fn shortened(line: &str) -> String {
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

impl Screen {
    /// A screen; `json` writes events as JSON instead.
    #[must_use]
    pub fn new(json: bool) -> Self {
        Self { colour: colours(&std::io::stderr()), json, began: std::time::Instant::now() }
    }

    /// Shows an event, if it is one to be seen at once.
    pub fn show(&self, event: &Event) {
        let shown = event.verdict.is_some() || matches!(event.op, "lost" | "phase");
        if !shown {
            return;
        }
        let line = if self.json {
            serde_json::to_string(event).unwrap_or_default()
        } else if event.op == "lost" {
            let count = event.count.unwrap_or(0);
            format!("guard: lost: {count} x {}", event.kind.unwrap_or("unknown"))
        } else if let Some(phase) = &event.phase {
            format!("guard: the phase {phase} has begun")
        } else {
            self.sentence(event)
        };
        say(line);
    }

    /// One verdict in one line: what was done, to whom, what for, and why.
    fn sentence(&self, event: &Event) -> String {
        let Some(verdict) = &event.verdict else { return String::new() };
        let (word, paint) = match (verdict.action, verdict.enforced, verdict.backend) {
            ("log", ..) => ("noted", "\x1b[33m"),
            ("kill", true, _) => ("ended", "\x1b[1;31m"),
            (_, true, Some("signal")) => ("stopped", "\x1b[1;31m"),
            (_, true, _) => ("refused", "\x1b[1;31m"),
            _ => ("would stop", "\x1b[36m"),
        };
        let object = match (&event.argv, &event.path, &event.addr) {
            (Some(argv), ..) if event.op == "exec" => shortened(&argv.join(" ")),
            (_, Some(path), _) => path.clone(),
            (_, _, Some(addr)) => match event.port {
                Some(port) if addr.contains(':') => format!("[{addr}]:{port}"),
                Some(port) => format!("{addr}:{port}"),
                None => addr.clone(),
            },
            _ => "something that can't be named".to_owned(),
        };
        let doing = match event.op {
            "exec" => format!("running {object}"),
            "read" => format!("reading {object}"),
            "write" => format!("writing {object}"),
            "connect" | "send" if event.path.is_none() && event.addr.is_none() => match event.proto {
                Some("tcp" | "udp") => format!("connecting to {object}"),
                Some(proto) => format!("making a {proto} socket, of which nobody can say where it sends"),
                None => "making a socket of which nobody can say where it sends".to_owned(),
            },
            "connect" => format!("connecting to {object}"),
            "send" => format!("sending to {object}"),
            "outlive" => "left behind by its session".to_owned(),
            "fork" => "before it could run".to_owned(),
            op => format!("{op} {object}"),
        };
        let process = event.process.as_ref();
        let exe = process.and_then(|process| process.exe.as_deref()).and_then(|exe| exe.rsplit('/').next());
        let pid = process.map_or(0, |process| process.pid);
        let rule = verdict.rule.as_deref().unwrap_or("the policy's default");
        let reason = verdict.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let happened = if verdict.happened.is_empty() {
            String::new()
        } else {
            format!(" (the file was {} before)", verdict.happened.join(" and "))
        };
        let (on, off) = if self.colour { (paint, "\x1b[0m") } else { ("", "") };
        format!(
            "guard: {on}{word}{off} {} [{pid}] {}{happened}; rule {rule}{reason}",
            printable(exe.unwrap_or("a process")),
            printable(&doing),
        )
    }

    /// The end: what was seen and what was done about it.
    pub fn summary(&self, totals: &Totals, audit: bool) {
        if self.json {
            return;
        }
        let count = |op| totals.tally.of_op(op);
        let mut text = format!(
            "guard: {:.1} s, {} programs run, {} files read, {} written, {} connections",
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
        say(text);
    }
}

/// Writes a line to standard error, whole: the command may be writing there too.
fn say(mut line: String) {
    line.push('\n');
    // A closed standard error must not stop anything.
    let _closed = std::io::stderr().write_all(line.as_bytes());
}

/// A text from outside without the bytes that could play tricks on a terminal.
fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}
