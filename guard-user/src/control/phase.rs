//! `/v1/phase`: where sessions are, and sending one on.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::{Extension, Json};

use super::Api;
use super::body::json;
use super::peer::Caller;
use super::problem::Problem;
use super::sessions::number;
use super::types::{PhaseChange, Phases, Refusal};
use crate::watch::request::Change;

/// The policy's phases, and where each session is that the caller may see.
#[utoipa::path(get, path = "/v1/phase", tag = "phase", responses(
    (status = 200, description = "The phases", body = Phases),
    (status = 503, description = "The daemon is busy", body = Refusal),
))]
pub async fn get(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> Result<Json<Phases>, Problem> {
    let snapshot = api.desk.snapshot().await?;
    let seen = snapshot.sessions.iter().filter(|session| caller.sees(session.uid));
    let sessions = seen.filter_map(|session| Some((session.id.clone(), session.phase.clone()?))).collect();
    Ok(Json(Phases { phases: snapshot.policy.phases.clone(), sessions }))
}

/// Has a session begin a phase. Sessions only go forward.
#[utoipa::path(post, path = "/v1/phase", tag = "phase", request_body = PhaseChange, responses(
    (status = 200, description = "It has begun", body = PhaseChange),
    (status = 400, description = "The request makes no sense", body = Refusal),
    (status = 403, description = "Only root may", body = Refusal),
    (status = 404, description = "There is no such session or phase", body = Refusal),
    (status = 409, description = "The session is in it or past it", body = Refusal),
    (status = 503, description = "The daemon is busy", body = Refusal),
))]
pub async fn post(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<PhaseChange>, Problem> {
    let by = api.desk.may_change(caller.changes("begin a phase")?).await?;
    let Some(change) = json::<PhaseChange>(body).await? else {
        return Err(Problem::bad("which session and which phase? expected {\"session\":\"…\",\"phase\":\"…\"}"));
    };
    api.desk.change(by, Change::Phase(number(&change.session)?, change.phase.clone())).await?;
    Ok(Json(change))
}
