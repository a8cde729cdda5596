//! An event as `top` takes it in, whether it comes as a line of JSON or from guard in the same process. What a line has
//! as plain text is not copied, and command lines are not even read unless somebody wants them: most events are of a
//! process that is known.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use serde_json::value::RawValue;

use crate::record::event::{self, Event};

/// A text that is borrowed where it can be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<'a>(Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    // serde's own `Option<Cow<str>>` always copies.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;

        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrow)
    }
}

/// A command line that is read when it is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Words<'a> {
    /// As JSON.
    Json(&'a RawValue),
    /// As words.
    Ready(&'a [String]),
}

impl<'de: 'a, 'a> Deserialize<'de> for Words<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(Words::Json)
    }
}

impl Words<'_> {
    /// In one text of about `limit` bytes at most, with a NUL after each word but the last. One that was cut ends with `…`.
    #[must_use]
    pub fn line(&self, limit: usize) -> String {
        let parsed;
        let words = match self {
            Words::Ready(words) => *words,
            Words::Json(json) => {
                parsed = serde_json::from_str::<Vec<String>>(json.get()).unwrap_or_default();
                &parsed
            }
        };
        let mut line = String::new();
        for (number, word) in words.iter().enumerate() {
            if number > 0 {
                line.push('\0');
            }
            line.push_str(word);
            if line.len() > limit {
                line.truncate(line.floor_char_boundary(limit));
                line.push('…');
                break;
            }
        }
        line
    }
}

/// An event; docs/events.md says what each member is.
#[expect(missing_docs, reason = "the members are those of docs/events.md")]
#[derive(Debug, Default, Deserialize)]
pub struct Seen<'a> {
    #[serde(borrow)]
    pub time: Text<'a>,
    #[serde(borrow)]
    pub op: Text<'a>,
    #[serde(borrow)]
    pub path: Option<Text<'a>>,
    #[serde(borrow)]
    pub argv: Option<Words<'a>>,
    #[serde(borrow)]
    pub addr: Option<Text<'a>>,
    #[serde(borrow)]
    pub host: Option<Text<'a>>,
    pub port: Option<u16>,
    #[serde(borrow)]
    pub proto: Option<Text<'a>>,
    pub exit: Option<Exit>,
    #[serde(borrow)]
    pub phase: Option<Text<'a>>,
    #[serde(borrow)]
    pub mode: Option<Text<'a>>,
    #[serde(borrow)]
    pub repo: Option<Text<'a>>,
    #[serde(borrow)]
    pub home: Option<Text<'a>>,
    #[serde(borrow)]
    pub session: Option<Text<'a>>,
    #[serde(borrow)]
    pub tree: Option<Text<'a>>,
    #[serde(borrow)]
    pub agent: Option<Text<'a>>,
    #[serde(borrow)]
    pub scope: Option<Text<'a>>,
    #[serde(borrow)]
    pub call: Option<Text<'a>>,
    #[serde(borrow)]
    pub process: Option<Who<'a>>,
    #[serde(borrow)]
    pub verdict: Option<Decided<'a>>,
    #[serde(borrow)]
    pub kind: Option<Text<'a>>,
    pub count: Option<u64>,
    #[serde(default, borrow)]
    pub counts: Vec<Counted<'a>>,
}

/// How often a process did the same.
#[expect(missing_docs, reason = "the members are those of docs/events.md")]
#[derive(Debug, Default, Deserialize)]
pub struct Counted<'a> {
    #[serde(borrow)]
    pub op: Text<'a>,
    pub count: u32,
    #[serde(borrow)]
    pub path: Option<Text<'a>>,
    #[serde(borrow)]
    pub addr: Option<Text<'a>>,
    pub port: Option<u16>,
}

/// How a process ended.
#[expect(missing_docs, reason = "the members are those of docs/events.md")]
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Exit {
    pub code: Option<u8>,
    pub signal: Option<u8>,
}

/// A process.
#[expect(missing_docs, reason = "the members are those of docs/events.md")]
#[derive(Debug, Default, Deserialize)]
pub struct Who<'a> {
    pub pid: u32,
    pub ppid: Option<u32>,
    #[serde(default)]
    pub start: u64,
    #[serde(borrow)]
    pub exe: Option<Text<'a>>,
    #[serde(borrow)]
    pub argv: Option<Words<'a>>,
    #[serde(borrow)]
    pub cwd: Option<Text<'a>>,
    pub uid: Option<u32>,
}

/// A verdict.
#[expect(missing_docs, reason = "the members are those of docs/events.md")]
#[derive(Debug, Default, Deserialize)]
pub struct Decided<'a> {
    #[serde(borrow)]
    pub action: Text<'a>,
    #[serde(borrow)]
    pub rule: Option<Text<'a>>,
    #[serde(borrow)]
    pub reason: Option<Text<'a>>,
    #[serde(default)]
    pub enforced: bool,
    #[serde(borrow)]
    pub backend: Option<Text<'a>>,
    #[serde(default, borrow)]
    pub happened: Vec<Text<'a>>,
}

impl<'a> Seen<'a> {
    /// Reads a line.
    ///
    /// # Errors
    /// If it is no event.
    pub fn parse(line: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(line)
    }
}

fn text(from: Option<&String>) -> Option<Text<'_>> {
    from.map(|text| text.as_str().into())
}

impl<'a> From<&'a Event> for Seen<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            time: event.time.as_str().into(),
            op: event.op.into(),
            path: text(event.path.as_ref()),
            argv: event.argv.as_deref().map(Words::Ready),
            addr: text(event.addr.as_ref()),
            host: None,
            port: event.port,
            proto: event.proto.map(Into::into),
            exit: event.exit.as_ref().map(|exit| Exit { code: exit.code, signal: exit.signal }),
            phase: text(event.phase.as_ref()),
            mode: event.mode.map(Into::into),
            repo: text(event.repo.as_ref()),
            home: text(event.home.as_ref()),
            session: text(event.session.as_ref()),
            tree: text(event.tree.as_ref()),
            agent: text(event.agent.as_ref()),
            scope: event.scope.map(Into::into),
            call: text(event.call.as_ref()),
            process: event.process.as_ref().map(Who::from),
            verdict: event.verdict.as_ref().map(Decided::from),
            kind: event.kind.map(Into::into),
            count: event.count,
            counts: event.counts.iter().map(Counted::from).collect(),
        }
    }
}

impl<'a> From<&'a event::Counted> for Counted<'a> {
    fn from(counted: &'a event::Counted) -> Self {
        Self {
            op: counted.op.into(),
            count: u32::try_from(counted.count).unwrap_or(u32::MAX),
            path: text(counted.path.as_ref()),
            addr: text(counted.addr.as_ref()),
            port: counted.port,
        }
    }
}

impl<'a> From<&'a event::Process> for Who<'a> {
    fn from(process: &'a event::Process) -> Self {
        Self {
            pid: process.pid,
            ppid: process.ppid,
            start: process.start,
            exe: text(process.exe.as_ref()),
            argv: process.argv.as_deref().map(Words::Ready),
            cwd: text(process.cwd.as_ref()),
            uid: process.uid,
        }
    }
}

impl<'a> From<&'a event::Verdict> for Decided<'a> {
    fn from(verdict: &'a event::Verdict) -> Self {
        Self {
            action: verdict.action.into(),
            rule: text(verdict.rule.as_ref()),
            reason: text(verdict.reason.as_ref()),
            enforced: verdict.enforced,
            backend: verdict.backend.map(Into::into),
            happened: verdict.happened.iter().map(|word| (*word).into()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_borrowed_and_escapes_are_undone() {
        let line = r#"{"time":"t","op":"read","path":"/a\nb","tree":"00ff","new":[1,{"a":null}],
            "process":{"pid":7,"start":9,"argv":["a","b c"]},"verdict":{"action":"allow","enforced":false}}"#;
        let seen = Seen::parse(line).expect("an event");
        assert!(matches!(&seen.op, Text(Cow::Borrowed("read"))));
        assert_eq!(seen.path.as_deref(), Some("/a\nb"));
        let who = seen.process.expect("a process");
        assert_eq!(who.argv.expect("words").line(100), "a\0b c");
        assert_eq!(who.argv.expect("words").line(3), "a\0b…");
        assert_eq!(&*seen.verdict.expect("a verdict").action, "allow");
    }

    #[test]
    fn guards_own_events_say_the_same_as_their_lines() {
        let event = Event {
            time: "2026-11-20T23:48:01Z".to_owned(),
            op: "exec",
            argv: Some(vec!["a".to_owned(), "b".to_owned()]),
            process: Some(event::Process { pid: 7, start: 9, uid: Some(5), ..event::Process::default() }),
            count: Some(3),
            ..Event::default()
        };
        let line = serde_json::to_string(&event).expect("JSON");
        let (own, parsed) = (Seen::from(&event), Seen::parse(&line).expect("an event"));
        assert_eq!(own.argv.expect("words").line(9), parsed.argv.expect("words").line(9));
        let [own_who, parsed_who] = [own.process, parsed.process].map(|who| who.expect("a process"));
        assert_eq!((own_who.pid, own_who.start, own_who.uid), (parsed_who.pid, parsed_who.start, parsed_who.uid));
        assert_eq!((own.op, own.time, own.count), (parsed.op, parsed.time, parsed.count));
    }
}
