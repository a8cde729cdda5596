//! The process that shows notifications as the user that they are for.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, stdin};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Gid, Uid, User, getresuid, setgroups, setresgid, setresuid};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use zbus::Connection;
use zbus::zvariant::Value;

/// The subcommand that runs it.
pub const NAME: &str = "show-notices";
/// How long it waits for something more to show.
const IDLE_SECONDS: u16 = 60;
/// How long the bus, or who shows notifications, may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Notifications that follow within this take the last one's place.
const SAME: Duration = Duration::from_secs(30);
/// The interface of who shows them, its path, and its name.
const SERVICE: (&str, &str) = ("org.freedesktop.Notifications", "/org/freedesktop/Notifications");

/// What is shown.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Notice {
    /// The headline.
    pub summary: String,
    /// The text.
    pub body: String,
}

/// Why it ended, as an exit code.
#[derive(Clone, Copy, Debug)]
enum End {
    Rights = 10,
    Bus = 11,
    Nobody = 12,
}

/// Why a helper has ended with this exit code.
#[must_use]
pub fn reason(code: Option<i32>) -> &'static str {
    match code {
        Some(10) => "guard may not become that user: CAP_SETUID and CAP_SETGID are missing",
        Some(11) => "their session bus does not answer",
        Some(12) => "nobody on their session bus shows notifications",
        _ => "the process that would do so has ended",
    }
}

/// Where a user's session bus is.
fn bus(uid: u32) -> PathBuf {
    PathBuf::from(format!("/run/user/{uid}/bus"))
}

/// Whether a user has a session bus.
#[must_use]
pub fn has_bus(uid: u32) -> bool {
    bus(uid).metadata().is_ok_and(|bus| bus.file_type().is_socket())
}

/// Becomes the user, and shows what comes on standard input until nothing does.
#[must_use]
pub fn run(uid: u32) -> ExitCode {
    match become_user(uid).map_err(|_| End::Rights).and_then(|()| show(uid)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(end) => ExitCode::from(end as u8),
    }
}

/// Becomes a user, for good.
fn become_user(uid: u32) -> nix::Result<()> {
    let user = Uid::from_raw(uid);
    if getresuid()?.real == user && getresuid()?.effective == user && !user.is_root() {
        return Ok(());
    }
    let gid = User::from_uid(user).ok().flatten().map_or(Gid::from_raw(uid), |user| user.gid);
    // No groups beside: none is needed to talk to one's own bus.
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(user, user, user)
}

fn show(uid: u32) -> Result<(), End> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|_| End::Bus)?;
    let address = format!("unix:path={}", bus(uid).display());
    let connect = async {
        let builder = zbus::connection::Builder::address(address.as_str())?;
        builder.method_timeout(PATIENCE).build().await
    };
    let connection = runtime.block_on(async { timeout(PATIENCE, connect).await });
    let connection = connection.ok().and_then(Result::ok).ok_or(End::Bus)?;
    let markup = runtime.block_on(has_markup(&connection)).map_err(|_| End::Nobody)?;
    let mut last: Option<(u32, Instant)> = None;
    let mut lines = BufReader::new(stdin());
    let mut line = String::new();
    loop {
        let input = stdin();
        let mut wait = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::from(IDLE_SECONDS.saturating_mul(1000));
        if lines.buffer().is_empty() && poll(&mut wait, patience) == Ok(0) {
            return Ok(());
        }
        line.clear();
        if lines.read_line(&mut line).unwrap_or(0) == 0 {
            return Ok(());
        }
        let Ok(notice) = serde_json::from_str::<Notice>(&line) else { continue };
        let replaces = last.filter(|(_, at)| at.elapsed() < SAME).map_or(0, |(id, _)| id);
        let id = runtime.block_on(notify(&connection, &notice, markup, replaces)).map_err(|_| End::Nobody)?;
        last = Some((id, Instant::now()));
    }
}

/// Whether texts are read as markup by who shows them.
async fn has_markup(connection: &Connection) -> zbus::Result<bool> {
    let (service, path) = SERVICE;
    let answer = connection.call_method(Some(service), path, Some(service), "GetCapabilities", &()).await?;
    let can: Vec<String> = answer.body().deserialize()?;
    Ok(can.iter().any(|one| one == "body-markup"))
}

async fn notify(connection: &Connection, notice: &Notice, markup: bool, replaces: u32) -> zbus::Result<u32> {
    let (service, path) = SERVICE;
    let body = if markup { escaped(&notice.body) } else { notice.body.clone() };
    let hints = HashMap::from([("urgency", Value::U8(1))]);
    let actions: &[&str] = &[];
    let message = ("guard", replaces, "security-high", notice.summary.as_str(), body.as_str(), actions, hints, -1i32);
    connection.call_method(Some(service), path, Some(service), "Notify", &message).await?.body().deserialize()
}

/// A text that says the same where it is read as markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_says_what_the_text_says() {
        assert_eq!(escaped("a <b> && c"), "a &lt;b&gt; &amp;&amp; c");
        assert_ne!(reason(Some(End::Bus as i32)), reason(Some(1)));
    }
}
