//! `/v1/events`: what happens, as it happens.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use guard_common::words::Action;
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use super::Api;
use super::peer::Caller;
use super::problem::Problem;
use super::sessions::number;
use super::types::Refusal;
use crate::policy::OPS;
use crate::record::clock;
use crate::record::event::Event;
use crate::record::stream::{Allowed, Choice, Reading};
use crate::watch::LIFE;

/// How long events are gathered once some were sent: each piece that is sent costs more than an event.
const GATHER: Duration = Duration::from_millis(20);
/// How often a client is told that there is nothing: whoever has gone away is found out by it.
const ALIVE: Duration = Duration::from_secs(15);

/// Which events are wanted.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// Only those of this session, and those that are of none.
    #[serde(default)]
    session: Option<String>,
    /// Only these operations, separated by commas: `op` in events.
    #[serde(default)]
    op: Option<String>,
    /// Only these verdicts, separated by commas: `allow`, `log`, `deny`, `kill`.
    #[serde(default)]
    action: Option<String>,
    /// `false` leaves out allowed operations, which then cost the daemon nothing. `counted` tells them by their number,
    /// ten times a second, by process and object, in events of the op `counted`; execs each. It goes with `session` alone.
    #[serde(default)]
    allowed: Option<AllowedWanted>,
}

/// How allowed operations are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AllowedWanted {
    /// Each.
    True,
    /// Not at all.
    False,
    /// By their number.
    Counted,
}

/// Events as they come, from now on.
///
/// Each is a server-sent event whose data is the event's line of the record. A client that is too slow misses events, and is
/// told so in their place: `{"op":"lost","kind":"reader-slow","count":…}`, counting those that it would have been sent.
/// Verdicts and processes' lives are kept longer than allowed operations. Every 15 seconds without an event there is a comment.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(Wanted), responses(
    (status = 200, description = "Server-sent events without names; `data` is an event in JSON",
        body = Event, content_type = "text/event-stream"),
    (status = 400, description = "The request makes no sense", body = Refusal),
    (status = 503, description = "Too many clients follow the events already", body = Refusal),
))]
pub async fn follow(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Response, Problem> {
    let Query(wanted) = Query::<Wanted>::try_from_uri(&uri)
        .map_err(|error| Problem::bad(format!("{error}")).help("it takes session, op, action and allowed"))?;
    let life = LIFE.iter().copied();
    let choice = Choice {
        user: caller.only(),
        tree: wanted.session.as_deref().map(number).transpose()?,
        ops: words(wanted.op.as_deref(), "operation", OPS.iter().map(|op| op.word()).chain(life))?,
        actions: words(wanted.action.as_deref(), "verdict", Action::ALL.iter().map(|action| action.word()))?,
        allowed: match wanted.allowed {
            Some(AllowedWanted::False) => Allowed::No,
            Some(AllowedWanted::Counted) => Allowed::Counted,
            Some(AllowedWanted::True) | None => Allowed::Each,
        },
    };
    if choice.allowed == Allowed::Counted && !(choice.ops.is_empty() && choice.actions.is_empty()) {
        return Err(Problem::bad(
            "allowed=counted goes with neither op nor action: numbers are of several operations",
        )
        .help("leave these out, or have each event told"));
    }
    let reading = api.stream.read(choice, caller.uid).map_err(|why| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, why).help("close one of them, or try again later")
    })?;
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    let chunks = stream::unfold(Progress { reading, begun: false, gather: false }, async |mut progress| {
        let chunk = progress.next().await;
        Some((Ok::<_, Infallible>(chunk), progress))
    });
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// Words separated by commas, each one of those that there are.
fn words<'a>(
    text: Option<&str>,
    what: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Result<Vec<String>, Problem> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let given: VecDeque<&str> = text.split(',').filter(|word| !word.is_empty()).collect();
    match given.iter().find(|word| !known.clone().any(|one| one == **word)) {
        Some(word) => {
            let all: Vec<&str> = known.collect();
            Err(Problem::bad(format!("there is no {what} `{}`", word.escape_debug()))
                .help(format!("expected some of {}", all.join(", "))))
        }
        None => Ok(given.into_iter().map(ToOwned::to_owned).collect()),
    }
}

/// What a client was sent so far.
struct Progress {
    reading: Reading,
    begun: bool,
    /// Something was just sent.
    gather: bool,
}

impl Progress {
    /// What to send next.
    async fn next(&mut self) -> Bytes {
        if !std::mem::replace(&mut self.begun, true) {
            // So that the client knows that nothing after this is missing.
            return Bytes::from_static(b": the events from here on\n\n");
        }
        if std::mem::take(&mut self.gather) {
            sleep(GATHER).await;
        }
        loop {
            let taken = self.reading.take();
            if taken.missed > 0 || !taken.events.is_empty() {
                self.gather = !taken.more;
                let mut chunk = Vec::new();
                if taken.missed > 0 {
                    line(&mut chunk, &missed(taken.missed));
                }
                taken.events.iter().for_each(|told| line(&mut chunk, &told.line));
                return chunk.into();
            }
            if taken.more {
                // None of the many was for this client; others have their turn.
                tokio::task::yield_now().await;
            } else if timeout(ALIVE, self.reading.wait()).await.is_err() {
                return Bytes::from_static(b": nothing new\n\n");
            }
        }
    }
}

fn line(chunk: &mut Vec<u8>, line: &[u8]) {
    chunk.extend_from_slice(b"data: ");
    chunk.extend_from_slice(line);
    chunk.extend_from_slice(b"\n\n");
}

/// What is told to a client that has missed events.
fn missed(count: u64) -> Vec<u8> {
    let event = Event {
        time: clock::time_of_day(clock::now_since_boot()),
        op: "lost",
        kind: Some("reader-slow"),
        count: Some(count),
        ..Event::default()
    };
    serde_json::to_vec(&event).unwrap_or_default()
}
