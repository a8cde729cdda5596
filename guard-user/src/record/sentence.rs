//! An event in words, for people.

use crate::logs::printable;

use super::event::Event;

/// Longest command line that is told whole, in characters. Events have all of it.
const SHOWN: usize = 400;

/// What was done about something, and about what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// What guard has done: `stopped`, `refused`, `ended`, `noted`, or `would stop`.
    pub word: &'static str,
    /// Whom it was done to, what they were at, by which rule and why; on one line, and harmless to a terminal.
    pub rest: String,
}

impl std::fmt::Display for Sentence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.word, self.rest)
    }
}

/// One verdict in one line; nothing where there is none.
#[must_use]
pub fn sentence(event: &Event) -> Option<Sentence> {
    let verdict = event.verdict.as_ref()?;
    let word = match (verdict.action, verdict.enforced, verdict.backend) {
        ("log", ..) => "noted",
        ("kill", true, _) => "ended",
        (_, true, Some("signal")) => "stopped",
        (_, true, _) => "refused",
        _ => "would stop",
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
    let rest = format!("{} [{pid}] {}{happened}; rule {rule}{reason}", exe.unwrap_or("a process"), doing(event));
    Some(Sentence { word, rest: printable(&rest) })
}

/// What was attempted.
fn doing(event: &Event) -> String {
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
    match event.op {
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
    }
}

/// A command line as long as a person reads it.
fn shortened(line: &str) -> String {
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::event::{Process, Verdict};

    #[test]
    fn says_what_was_done_to_whom_and_why() {
        let verdict = Verdict {
            action: "deny",
            rule: Some("keys".to_owned()),
            reason: Some("No.".to_owned()),
            enforced: true,
            backend: Some("lsm"),
            happened: Vec::new(),
        };
        let process = Process { pid: 7, exe: Some("/usr/bin/cat".to_owned()), ..Process::default() };
        let event = Event {
            op: "read",
            path: Some("/a/\x1b[2J\nb".to_owned()),
            process: Some(process),
            verdict: Some(verdict),
            ..Event::default()
        };
        let said = sentence(&event).expect("a verdict").to_string();
        assert_eq!(said, "refused cat [7] reading /a/\\u{1b}[2J\\nb; rule keys: No.");
        assert_eq!(sentence(&Event::default()), None);
    }
}
