//! Why a request was not done: a status, and words.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::types::Refusal;
use crate::watch::request::Refused;

/// An answer of status 400 or more.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    refusal: Refusal,
}

impl Problem {
    /// With what was found and expected.
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, refusal: Refusal { error: error.into(), help: None } }
    }

    /// And what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.refusal.help = Some(help.into());
        self
    }

    /// The request makes no sense.
    pub fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// The daemon has no time.
    pub fn busy() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the daemon is busy and did not answer in time").help("try again")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(self.refusal)).into_response()
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Guarded => Self::new(
                StatusCode::FORBIDDEN,
                "the process that asks is guarded, and what is guarded may not change what guards it",
            )
            .help("ask from outside of the session"),
            Refused::Absent(why) => Self::new(StatusCode::NOT_FOUND, why).help("`/v1/sessions` lists what there is"),
            Refused::Conflict(why) => Self::new(StatusCode::CONFLICT, why),
            Refused::Failed(why) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, why),
        }
    }
}
