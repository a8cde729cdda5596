//! `/v1/sessions`: who is guarded, what they did, and ending them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use guard_common::words::Mode;

use super::Api;
use super::body::json;
use super::peer::Caller;
use super::problem::Problem;
use super::types::{Kill, Killed, Refusal, SessionDetail, SessionMode, Sessions};
use crate::watch::request::{Change, Done};

/// The number that is meant by a session's id.
pub fn number(id: &str) -> Result<u64, Problem> {
    let digits = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(id, 16).ok().filter(|_| digits).ok_or_else(|| {
        Problem::bad(format!("`{}` is no session's id: expected 16 hexadecimal digits", short(id)))
            .help("`/v1/sessions` lists them; they are `tree` in events")
    })
}

/// What stands in a path in the place of a session's id.
fn id(path: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    path.map(|Path(id)| id).map_err(|_| Problem::bad("the session's id is no text"))
}

/// The beginning of what somebody sent.
fn short(text: &str) -> String {
    text.chars().take(64).collect::<String>().escape_debug().to_string()
}

/// The sessions that the caller may see.
#[utoipa::path(get, path = "/v1/sessions", tag = "sessions", responses(
    (status = 200, description = "The sessions, the oldest first", body = Sessions),
    (status = 503, description = "The daemon is busy", body = Refusal),
))]
pub async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Sessions>, Problem> {
    let snapshot = api.desk.snapshot().await?;
    let sessions = snapshot.sessions.iter().filter(|session| caller.sees(session.uid)).cloned().collect();
    Ok(Json(Sessions { sessions }))
}

/// One session with its processes.
#[utoipa::path(get, path = "/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "The session's id: `tree` in events")),
    responses(
        (status = 200, description = "The session", body = SessionDetail),
        (status = 400, description = "That is no id", body = Refusal),
        (status = 403, description = "It is another user's", body = Refusal),
        (status = 404, description = "There is none", body = Refusal),
        (status = 503, description = "The daemon is busy", body = Refusal),
))]
pub async fn show(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<SessionDetail>, Problem> {
    let id = id(path)?;
    let Some(detail) = api.desk.session(number(&id)?).await? else {
        return Err(Problem::new(StatusCode::NOT_FOUND, format!("there is no session {id}"))
            .help("it may be over; `/v1/sessions` lists those that are not"));
    };
    if !caller.sees(detail.session.uid) {
        caller.reads(&format!("the session {id} of another user"))?;
    }
    Ok(Json(detail))
}

/// Ends a session, or one call of it.
#[utoipa::path(post, path = "/v1/sessions/{id}/kill", tag = "sessions",
    params(("id" = String, Path, description = "The session's id: `tree` in events")),
    request_body(content = Kill, description = "What of it; nothing, or `{}`, for all of it"),
    responses(
        (status = 200, description = "What was killed", body = Killed),
        (status = 400, description = "The request makes no sense", body = Refusal),
        (status = 403, description = "Only root may", body = Refusal),
        (status = 404, description = "There is no such session or call", body = Refusal),
        (status = 503, description = "The daemon is busy", body = Refusal),
))]
pub async fn kill(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Json<Killed>, Problem> {
    let by = api.desk.may_change(caller.changes("end sessions and calls")?).await?;
    let id = number(&id(path)?)?;
    let Kill { call } = json(body).await?.unwrap_or_default();
    let Done::Killed(processes) = api.desk.change(by, Change::Kill(id, call)).await? else {
        return Err(Problem::busy());
    };
    Ok(Json(Killed { processes }))
}

/// Switches a session between `enforce` and `audit`, from the next verdict on, for all of its processes.
///
/// It holds as long as the session does, whatever becomes of the policy, unless the session is given the policy's own mode
/// again. In a session that was switched to `audit`, what guard protects itself by is denied as before.
#[utoipa::path(put, path = "/v1/sessions/{id}/mode", tag = "sessions",
    params(("id" = String, Path, description = "The session's id: `tree` in events")),
    request_body = SessionMode,
    responses(
        (status = 200, description = "It is in that mode", body = SessionMode),
        (status = 400, description = "The request makes no sense", body = Refusal),
        (status = 403, description = "Only root may, and nobody who is guarded", body = Refusal),
        (status = 404, description = "There is no such session", body = Refusal),
        (status = 409, description = "It is over, or guard was started with `--audit`", body = Refusal),
        (status = 503, description = "The daemon is busy", body = Refusal),
))]
pub async fn switch(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Json<SessionMode>, Problem> {
    let by = api.desk.may_change(caller.changes("switch a session's mode")?).await?;
    let id = number(&id(path)?)?;
    let wanted = json::<SessionMode>(body).await?.unwrap_or_default();
    let Some(mode) = Mode::from_word(&wanted.mode) else {
        return Err(Problem::bad("which mode? expected {\"mode\":\"enforce\"} or {\"mode\":\"audit\"}"));
    };
    api.desk.change(by, Change::Mode(id, mode)).await?;
    Ok(Json(wanted))
}
