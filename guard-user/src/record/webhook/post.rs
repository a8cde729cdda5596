//! A batch's way to the receiver.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use axum::http::{Method, Request, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use nix::sys::utsname::uname;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use super::spool::Batch;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a request may take in all.
const REQUEST: Duration = Duration::from_secs(15);
/// How much of an answer is read, and for how long, so that its connection can be used again.
const ANSWER: (usize, Duration) = (64 << 10, Duration::from_secs(1));
/// How long a connection is kept for the next batch.
const KEPT: Duration = Duration::from_secs(30);

/// Whom events are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver(Uri);

impl std::str::FromStr for Receiver {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The address may be a secret in itself: it is not repeated.
        let uri: Uri = text.parse().map_err(|error| format!("no address of the web: {error}"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
            return Err("expected http:// or https:// and a host".to_owned());
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("a name and password go into a header, by --webhook-headers".to_owned());
        }
        Ok(Self(uri))
    }
}

impl Receiver {
    /// Host and port; the rest may be a secret.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.authority().map_or("", |authority| authority.as_str())
    }

    /// Whether what is sent can be read on its way.
    #[must_use]
    pub fn in_the_clear(&self) -> bool {
        let host = self.0.host().unwrap_or_default().trim_matches(['[', ']']);
        let loopback =
            host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
        self.0.scheme_str() == Some("http") && !loopback
    }
}

/// What every request says beside: what the receiver knows guard by.
#[derive(Clone, Debug, Default)]
pub struct Headers(HeaderMap);

impl Headers {
    /// Reads a file of lines `Name: value`; empty ones and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// Names the line that is no header, but not what it says.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut headers = HeaderMap::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        {
            let header = line.split_once(':').and_then(|(name, value)| {
                let name: HeaderName = name.trim().parse().ok()?;
                let mut value: HeaderValue = value.trim().parse().ok()?;
                value.set_sensitive(true);
                Some((name, value))
            });
            let Some((name, value)) = header else {
                bail!("{}:{}: expected a header, such as Authorization: Bearer …", path.display(), number + 1);
            };
            headers.append(name, value);
        }
        Ok(Self(headers))
    }
}

/// What came of a request.
#[derive(Debug)]
pub enum Outcome {
    /// The receiver has it.
    Taken,
    /// It will never take it.
    Refused(String),
    /// It may take it later, and not before so long.
    Failed(String, Option<Duration>),
}

/// The client.
pub struct Post {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    receiver: Receiver,
    headers: HeaderMap,
}

impl Post {
    /// One for this receiver.
    ///
    /// # Errors
    /// If there are no certificates to know it by.
    pub fn new(receiver: &Receiver, headers: &Headers) -> anyhow::Result<Self> {
        let config = ClientConfig::builder();
        let config = if receiver.0.scheme_str() == Some("https") {
            config.with_native_roots().context("the machine's certificates can't be read")?
        } else {
            config.with_root_certificates(RootCertStore::empty())
        };
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config.with_no_client_auth())
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        // No redirect is followed: events and headers go where they were meant to, and nowhere else.
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT)
            .build(connector);
        let mut all = HeaderMap::new();
        all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        all.insert(USER_AGENT, HeaderValue::from_static(concat!("guard/", env!("CARGO_PKG_VERSION"))));
        let host = uname().ok().map(|name| name.nodename().to_string_lossy().into_owned());
        if let Some(host) = host.and_then(|host| HeaderValue::from_str(&host).ok()) {
            all.insert("guard-host", host);
        }
        // Those that were asked for in place of guard's own.
        for name in headers.0.keys() {
            all.remove(name);
        }
        for (name, value) in &headers.0 {
            all.append(name, value.clone());
        }
        Ok(Self { client, receiver: receiver.clone(), headers: all })
    }

    /// Whom it sends to.
    pub fn name(&self) -> &str {
        self.receiver.name()
    }

    /// Sends a batch.
    pub async fn send(&self, batch: &Batch) -> Outcome {
        match timeout(REQUEST, self.request(batch)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Outcome::Failed(format!("{error:#}"), None),
            Err(_) => Outcome::Failed(format!("no answer within {} seconds", REQUEST.as_secs()), None),
        }
    }

    async fn request(&self, batch: &Batch) -> anyhow::Result<Outcome> {
        let mut request = Request::new(Full::from(array(&batch.lines)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.receiver.0.clone();
        request.headers_mut().clone_from(&self.headers);
        request.headers_mut().insert("idempotency-key", HeaderValue::from_str(&batch.key)?);
        let answer = self.client.request(request).await?;
        let status = answer.status();
        let after = answer.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
        let (most, patience) = ANSWER;
        // What it says beside does not matter.
        let _said = timeout(patience, Limited::new(answer.into_body(), most).collect()).await;
        Ok(match status {
            status if status.is_success() => Outcome::Taken,
            // Whatever is sent again would be the same.
            StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY => Outcome::Refused(format!("status {status}")),
            status if status.is_redirection() => {
                Outcome::Failed(format!("status {status}, and guard follows no redirects"), None)
            }
            status => Outcome::Failed(format!("status {status}"), after.map(Duration::from_secs)),
        })
    }
}

/// Lines of JSON as an array.
fn array(lines: &[u8]) -> Vec<u8> {
    let lines = lines.strip_suffix(b"\n").unwrap_or(lines);
    let mut array = Vec::with_capacity(lines.len() + 2);
    array.push(b'[');
    array.extend(lines.iter().map(|byte| if *byte == b'\n' { b',' } else { *byte }));
    array.push(b']');
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_an_array() {
        assert_eq!(array(b"{\"a\":\"\\n\"}\n{}\n"), b"[{\"a\":\"\\n\"},{}]");
    }

    #[test]
    fn a_receiver_is_an_address_without_a_password() {
        for good in ["http://127.0.0.1:1/a?b", "https://example.org"] {
            assert!(good.parse::<Receiver>().is_ok(), "{good}");
        }
        for bad in ["", "ftp://a", "/path", "https://", "https://me:secret@example.org/", "a b"] {
            let refusal = bad.parse::<Receiver>().expect_err(bad);
            assert!(!refusal.contains("secret"), "{refusal}");
        }
        let clear = |text: &str| text.parse::<Receiver>().expect(text).in_the_clear();
        assert!(clear("http://example.org") && !clear("https://example.org"));
        assert!(!clear("http://[::1]:80") && !clear("http://127.8.8.8") && !clear("http://localhost"));
    }
}
