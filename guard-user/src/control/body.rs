//! Bodies of requests: of bounded size, within bounded time, and few at once.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::problem::Problem;

/// Longest policy, in bytes.
pub const LARGEST_POLICY: usize = 1 << 20;
/// Longest body of any other request.
const LARGEST: usize = 16 << 10;
/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// All of a body, of at most `limit` bytes.
pub async fn whole(body: Body, limit: usize) -> Result<Bytes, Problem> {
    let read = timeout(PATIENCE, Limited::new(body, limit).collect()).await;
    let read = read.map_err(|_| {
        Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the request's body did not arrive within {} seconds", PATIENCE.as_secs()),
        )
    })?;
    match read {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the request's body has more than {limit} bytes"),
        )),
        Err(error) => Err(Problem::bad(format!("the request's body can't be read: {error}"))),
    }
}

/// What a body says in JSON; nothing where it is empty.
pub async fn json<T: DeserializeOwned>(body: Body) -> Result<Option<T>, Problem> {
    let bytes = whole(body, LARGEST).await?;
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        Problem::bad(format!("the request's body is not what is expected: {error}"))
            .help("`/v1/openapi.json` describes it")
    })
}
