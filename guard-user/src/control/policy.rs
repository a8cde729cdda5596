//! `/v1/policy`: the policy in force, checking one, and putting another in force.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Duration, timeout};

use super::Api;
use super::body::{LARGEST_POLICY, whole};
use super::peer::Caller;
use super::problem::Problem;
use super::types::{self, Policy, PolicyResult, Refusal};
use crate::policy::{self, Failure, Finding, Source, Whole};
use crate::watch::request::{By, Change, Done};

/// How long to wait for others' policies to be compiled.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many policies may be on their way in, and be compiled, at once: the one takes memory, the other time too.
pub struct Compiler {
    coming: Semaphore,
    compiling: Semaphore,
}

impl Default for Compiler {
    fn default() -> Self {
        Self { coming: Semaphore::new(8), compiling: Semaphore::new(1) }
    }
}

/// The policy in force.
#[utoipa::path(get, path = "/v1/policy", tag = "policy", responses(
    (status = 200, description = "The policy in force", body = Policy),
    (status = 403, description = "The caller may see its own sessions only", body = Refusal),
    (status = 503, description = "The daemon is busy", body = Refusal),
))]
pub async fn get(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> Result<Json<Policy>, Problem> {
    caller.reads("the policy")?;
    let snapshot = api.desk.snapshot().await?;
    let text = snapshot.source.text.clone();
    Ok(Json(Policy { policy: snapshot.policy.clone(), mode: snapshot.mode.to_owned(), text }))
}

/// Says what would become of a policy, and changes nothing.
#[utoipa::path(post, path = "/v1/policy", tag = "policy",
    request_body(content = String, content_type = "application/toml", description = "The policy, at most 1 MiB"),
    responses(
        (status = 200, description = "What was found: `accepted` says whether there are errors", body = PolicyResult),
        (status = 403, description = "The caller may see its own sessions only", body = Refusal),
        (status = 413, description = "It is too long", body = Refusal),
        (status = 503, description = "The daemon is busy", body = Refusal),
))]
pub async fn check(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<PolicyResult>, Problem> {
    caller.reads("what guard makes of a policy")?;
    let (_, findings) = read(&api, body, "the request".to_owned(), true).await?;
    Ok(Json(result(&findings, None)))
}

/// Puts another policy in force, at once and whole; one that is refused changes nothing.
///
/// It holds until the next reload: the policy's file, or what was named at the start, is read again at SIGHUP, at a change of
/// the file and at the daemon's next start.
#[utoipa::path(put, path = "/v1/policy", tag = "policy",
    request_body(content = String, content_type = "application/toml", description = "The policy, at most 1 MiB"),
    responses(
        (status = 200, description = "It is in force", body = PolicyResult),
        (status = 403, description = "Only root may", body = Refusal),
        (status = 413, description = "It is too long", body = Refusal),
        (status = 422, description = "It is refused, and why; the policy that was in force stays", body = PolicyResult),
        (status = 500, description = "The kernel refused it; the policy that was in force stays", body = Refusal),
        (status = 503, description = "The daemon is busy", body = Refusal),
))]
pub async fn put(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Problem> {
    let by = api.desk.may_change(caller.changes("change the policy")?).await?;
    let read = read(&api, body, format!("the control API (uid {})", caller.uid), false).await?;
    put_in_force(&api, &caller, by, read).await
}

/// Reads the policy anew where the daemon was told to, and puts it in force, at once and whole; one that is refused changes nothing.
#[utoipa::path(post, path = "/v1/policy/reload", tag = "policy",
    responses(
        (status = 200, description = "It is in force", body = PolicyResult),
        (status = 403, description = "Only root may", body = Refusal),
        (status = 422, description = "It is refused, and why; the policy that was in force stays", body = PolicyResult),
        (status = 500, description = "The kernel refused it; the policy that was in force stays", body = Refusal),
        (status = 503, description = "The daemon is busy", body = Refusal),
))]
pub async fn reload(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> Result<Response, Problem> {
    let by = api.desk.may_change(caller.changes("change the policy")?).await?;
    let reread = Arc::clone(&api.reread);
    let read = compiled(&api, move || reread(), false).await?;
    put_in_force(&api, &caller, by, read).await
}

/// What was read: the policy, unless there are errors among the findings.
type Read = (Option<Whole>, Vec<Finding>);

/// Puts what was read in force.
async fn put_in_force(api: &Api, caller: &Caller, by: By, (whole, findings): Read) -> Result<Response, Problem> {
    let Some(whole) = whole else {
        let result = result(&findings, None);
        api.desk.refused(by, result.text.clone());
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, Json(result)).into_response());
    };
    // It may have taken a while, in which the caller has ended.
    let by = caller.changes("change the policy")?;
    let Done::Policy(generation) = api.desk.change(by, Change::Policy(Box::new(whole))).await? else {
        return Err(Problem::busy());
    };
    Ok(Json(result(&findings, Some(generation))).into_response())
}

/// Reads and compiles what a request brings.
async fn read(api: &Api, body: Body, origin: String, remarks: bool) -> Result<Read, Problem> {
    let _comes = timeout(PATIENCE, api.compiler.coming.acquire()).await.map_err(|_| Problem::busy())?;
    let bytes = whole(body, LARGEST_POLICY).await?;
    let text = String::from_utf8(bytes.into()).map_err(|error| {
        Problem::bad(format!("the policy is not UTF-8 text from byte {}", error.utf8_error().valid_up_to()))
    })?;
    let own = Arc::clone(&api.own);
    compiled(api, move || own.read(Source::new(&origin, &text)), remarks).await
}

/// Compiles what `read` reads, elsewhere and in turn.
async fn compiled(
    api: &Api,
    read: impl FnOnce() -> Result<Whole, Failure> + Send + 'static,
    remarks: bool,
) -> Result<Read, Problem> {
    let compile = move || match read().and_then(policy::with_agents) {
        Ok(whole) => {
            let findings = if remarks { whole.remarks() } else { whole.compiled.warnings.clone() };
            (Some(whole), findings)
        }
        Err(failure) => (None, failure.findings().collect()),
    };
    let _turn = timeout(PATIENCE, api.compiler.compiling.acquire()).await.map_err(|_| Problem::busy())?;
    spawn_blocking(compile).await.map_err(|_| Problem::busy())
}

fn result(findings: &[Finding], generation: Option<u32>) -> PolicyResult {
    let shown: Vec<String> = findings.iter().map(|finding| finding.shown(false)).collect();
    let accepted = findings.iter().all(|finding| finding.severity != policy::Severity::Error);
    PolicyResult { accepted, generation, text: shown.join("\n"), findings: findings.iter().map(told).collect() }
}

fn told(finding: &Finding) -> types::Finding {
    let place = finding.place();
    types::Finding {
        severity: finding.severity.word().to_owned(),
        message: finding.problem.message.clone(),
        line: place.map(|place| place.line),
        column: place.map(|place| place.column),
        help: finding.problem.help.clone(),
        rule: finding.problem.rule.clone(),
    }
}
