//! What learning needs of an event.

use std::borrow::Cow;

use serde::Deserialize;

/// An event, as far as it matters here. Members that are not known stay out, as everywhere.
#[derive(Debug, Deserialize)]
pub struct Event<'a> {
    #[serde(borrow)]
    pub op: Cow<'a, str>,
    #[serde(borrow)]
    pub path: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub argv: Option<Vec<Cow<'a, str>>>,
    pub open: Option<Open>,
    #[serde(borrow)]
    pub addr: Option<Cow<'a, str>>,
    pub port: Option<u16>,
    #[serde(borrow)]
    pub tree: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub scope: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub repo: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub home: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub verdict: Option<Verdict<'a>>,
    pub count: Option<u64>,
}

/// How a file was opened.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Open {
    pub read: bool,
    pub write: bool,
    #[serde(default)]
    pub created: bool,
}

/// What was decided.
#[derive(Debug, Deserialize)]
pub struct Verdict<'a> {
    #[serde(borrow)]
    pub action: Cow<'a, str>,
    #[serde(borrow)]
    pub rule: Option<Cow<'a, str>>,
}
