//! A client of the control API: one connection, one request after the other.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::types::{PolicyResult, Refusal};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer that is taken, in bytes.
const MAX_ANSWER: usize = 64 << 20;
/// Longest refusal that is taken, in bytes.
const MAX_REFUSAL: usize = 1 << 20;

/// A connection to a daemon's control API.
pub struct Http {
    sender: SendRequest<Full<Bytes>>,
}

impl Http {
    /// Connects to the daemon that listens at `path`.
    ///
    /// # Errors
    /// If none listens there.
    pub async fn connect(path: &Path) -> anyhow::Result<Self> {
        let stream =
            UnixStream::connect(path).await.with_context(|| format!("no daemon answers at {}", path.display()))?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.context("the daemon speaks no HTTP")?;
        // It ends with the connection, and whoever waits for an answer is told.
        tokio::spawn(async move {
            let _ended = connection.await;
        });
        Ok(Self { sender })
    }

    /// Sends a request; the answer if it is a good one.
    ///
    /// # Errors
    /// What the daemon says instead, or that it says nothing within ten seconds.
    pub async fn send(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Response<Incoming>> {
        let answer = self.answered(method, path, body).await?;
        if answer.status().is_success() { Ok(answer) } else { Err(refused(answer).await?) }
    }

    /// Sends a request; what is answered, good or not.
    async fn answered(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(path).header("host", "guard");
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::new(body))?;
        let answer = async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        };
        let answer = timeout(PATIENCE, answer).await.context("the daemon does not answer")?;
        answer.context("the daemon has closed the connection")
    }

    /// Sends a request, and reads what is answered.
    ///
    /// # Errors
    /// As of [`Http::send`], and if the answer is not understood.
    pub async fn ask<T: DeserializeOwned>(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<T> {
        let answer = self.send(method, path, body).await?;
        read(answer, path).await
    }

    /// Has the daemon read its policy anew; what has come of it, in force or refused.
    ///
    /// # Errors
    /// As of [`Http::ask`].
    pub async fn reload(&mut self) -> anyhow::Result<PolicyResult> {
        const PATH: &str = "/v1/policy/reload";
        let answer = self.answered(Method::POST, PATH, Bytes::new()).await?;
        match answer.status() {
            StatusCode::OK | StatusCode::UNPROCESSABLE_ENTITY => read(answer, PATH).await,
            _ => Err(refused(answer).await?),
        }
    }

    /// Reads what there is at `path`.
    ///
    /// # Errors
    /// As of [`Http::ask`].
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> anyhow::Result<T> {
        self.ask(Method::GET, path, Bytes::new()).await
    }
}

/// Reads an answer.
async fn read<T: DeserializeOwned>(answer: Response<Incoming>, path: &str) -> anyhow::Result<T> {
    let body = timeout(PATIENCE, Limited::new(answer.into_body(), MAX_ANSWER).collect()).await;
    let body = body.context("the daemon does not answer")?.map_err(|error| anyhow!(error))?;
    serde_json::from_slice(&body.to_bytes())
        .with_context(|| format!("the daemon's answer to {path} is not understood"))
}

/// What a refusal says; an error of its own where it can't be read.
async fn refused(answer: Response<Incoming>) -> anyhow::Result<anyhow::Error> {
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_REFUSAL).collect().await.map_err(|error| anyhow!(error))?;
    let refusal: Refusal = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
    Ok(match (refusal.error.is_empty(), refusal.help) {
        (true, _) => anyhow!("the daemon answers {status}"),
        (false, Some(help)) => anyhow!("{}: {help}", refusal.error),
        (false, None) => anyhow!("{}", refusal.error),
    })
}
