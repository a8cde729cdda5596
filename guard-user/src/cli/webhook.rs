//! Options of the webhook.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use guard_common::words::Action;

use super::service::SPOOL;
use crate::record::webhook::{Headers, Receiver, Settings, Webhook};

/// Where events are sent, and which.
#[derive(Args, Default)]
pub struct WebhookOptions {
    /// Send denials to URL as JSON, by POST, and again until they are taken
    #[arg(long, value_name = "URL", env = "GUARD_WEBHOOK", hide_env_values = true)]
    webhook: Option<Receiver>,
    /// Verdicts that are sent to the webhook
    #[arg(long, value_name = "ACTION", value_enum, value_delimiter = ',', default_values = ["deny", "kill"], requires = "webhook")]
    webhook_on: Vec<Sent>,
    /// File of headers for the webhook, such as Authorization: Bearer TOKEN, one a line
    #[arg(long, value_name = "FILE", requires = "webhook")]
    webhook_headers: Option<PathBuf>,
    /// Events in a request to the webhook, at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000), requires = "webhook")]
    webhook_batch: u64,
    /// Folder in which events wait until the webhook has taken them
    #[arg(long, value_name = "DIR", default_value = SPOOL, requires = "webhook")]
    webhook_spool: PathBuf,
    /// Bytes that may wait there; beyond that the oldest events are dropped, and counted
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(64 << 10..=1 << 40), requires = "webhook")]
    webhook_spool_size: u64,
}

/// Verdicts that can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sent {
    /// What was only noted
    Log,
    /// What was denied
    Deny,
    /// What was ended
    Kill,
}

impl WebhookOptions {
    /// Where events wait, if any are sent.
    pub fn spool(&self) -> Option<PathBuf> {
        self.webhook.is_some().then(|| self.webhook_spool.clone())
    }

    /// Begins to send, where that is asked for.
    ///
    /// # Errors
    /// Whatever keeps it from sending.
    pub fn start(&self) -> anyhow::Result<Option<Webhook>> {
        let Some(receiver) = &self.webhook else { return Ok(None) };
        if receiver.in_the_clear() {
            tracing::warn!("events go to {} without encryption: use https", receiver.name());
        }
        let headers = self.webhook_headers.as_deref().map(Headers::read).transpose();
        let actions = self.webhook_on.iter().map(|sent| match sent {
            Sent::Log => Action::Log,
            Sent::Deny => Action::Deny,
            Sent::Kill => Action::Kill,
        });
        let settings = Settings {
            receiver: receiver.clone(),
            headers: headers.context("the headers for the webhook can't be read")?.unwrap_or_default(),
            actions: actions.collect(),
            batch: self.webhook_batch,
            spool: self.webhook_spool.clone(),
            spool_size: self.webhook_spool_size,
        };
        Webhook::start(&settings).context("the webhook can't be used").map(Some)
    }
}
