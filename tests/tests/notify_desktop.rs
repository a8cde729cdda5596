//! A notification on the desktop: a real bus of a real user, and on it who shows notifications.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use support::guard::{Guard, binary};
use support::place::Scratch;
use support::run::{Job, Running};
use support::stage::until;
use tokio::runtime::Runtime;
use zbus::zvariant::OwnedValue;

/// What was to be shown.
#[derive(Debug)]
struct Shown {
    /// The user who asked for it, as the bus knows.
    uid: u32,
    app: String,
    replaces: u32,
    summary: String,
    body: String,
    /// Icon, actions, hints and how long it is to be shown.
    rest: (String, Vec<String>, HashMap<String, OwnedValue>, i32),
}

/// Who shows notifications.
struct Desk {
    shown: Arc<Mutex<Vec<Shown>>>,
    can: Vec<String>,
}

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl Desk {
    fn get_capabilities(&self) -> Vec<String> {
        self.can.clone()
    }

    #[expect(clippy::too_many_arguments, reason = "what the specification says")]
    async fn notify(
        &self,
        app: String,
        replaces: u32,
        icon: String,
        summary: String,
        body: String,
        actions: Vec<String>,
        hints: HashMap<String, OwnedValue>,
        expires: i32,
        #[zbus(header)] header: zbus::message::Header<'_>,
        #[zbus(connection)] connection: &zbus::Connection,
    ) -> zbus::fdo::Result<u32> {
        let bus = zbus::fdo::DBusProxy::new(connection).await?;
        let sender = header.sender().ok_or_else(|| zbus::fdo::Error::Failed("nobody".to_owned()))?;
        let uid = bus.get_connection_unix_user(sender.to_owned().into()).await?;
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.push(Shown { uid, app, replaces, summary, body, rest: (icon, actions, hints, expires) });
        Ok(if replaces == 0 { shown.len() as u32 } else { replaces })
    }
}

/// Users that a Debian has, and as whom nobody works. A bus wants one with a name.
const USERS: [&str; 8] = ["games", "news", "uucp", "proxy", "backup", "list", "irc", "nobody"];

/// A user, their runtime folder with a bus in it, and a place where they may work.
struct User {
    uid: u32,
    folder: PathBuf,
    bus: Option<Running>,
    work: tempfile::TempDir,
    scratch: Scratch,
    runtime: Runtime,
    desk: Option<zbus::Connection>,
    shown: Arc<Mutex<Vec<Shown>>>,
}

impl User {
    /// One whom nobody else uses, with a bus.
    fn new() -> Self {
        fs::create_dir_all("/run/user").expect("where runtime folders are");
        // Whose folder can be made is nobody else's now: no one who logs in, and no other test.
        let claimed = |name: &&str| {
            let uid = nix::unistd::User::from_name(name).ok().flatten()?.uid.as_raw();
            let folder = PathBuf::from(format!("/run/user/{uid}"));
            fs::create_dir(&folder).is_ok().then_some((uid, folder))
        };
        let (uid, folder) = USERS.iter().find_map(claimed).expect("a user whom nobody uses");
        let work = tempfile::tempdir().expect("a folder");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let mut user = Self {
            uid,
            folder,
            bus: None,
            work,
            scratch: Scratch::new("desktop"),
            runtime: runtime.expect("a runtime"),
            desk: None,
            shown: Arc::default(),
        };
        for folder in [user.folder.as_path(), user.work.path()] {
            chown(folder, Some(uid), Some(uid)).expect("a folder of theirs");
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("a folder of theirs");
        }
        user.start_bus();
        user
    }

    fn start_bus(&mut self) {
        let config = self.work.path().join("bus.conf");
        let text = format!(
            "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
             \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
             <busconfig><type>session</type><listen>unix:path={}/bus</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/><allow send_destination=\"*\"/>\
             <allow receive_sender=\"*\"/></policy></busconfig>\n",
            self.folder.display()
        );
        fs::write(&config, text).expect("a configuration");
        fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).expect("a file of ours");
        let job = self.as_user(Job::new("dbus-daemon", self.work.path()).args(["--nofork", "--nopidfile"]).arg({
            let mut option = std::ffi::OsString::from("--config-file=");
            option.push(&config);
            option
        }));
        self.bus = Some(job.start());
        let socket = self.folder.join("bus");
        until("the bus is there", || socket.exists());
    }

    fn as_user(&self, job: Job) -> Job {
        let id = |name: &str| format!("--{name}={}", self.uid);
        job.under(["setpriv".to_owned(), id("reuid"), id("regid"), "--clear-groups".to_owned()])
    }

    /// Begins to show what comes, as the user's desktop would.
    fn show(&mut self) {
        let address = format!("unix:path={}/bus", self.folder.display());
        let can = ["body", "body-markup"].map(str::to_owned).to_vec();
        let desk = Desk { shown: Arc::clone(&self.shown), can };
        let connect = async {
            zbus::connection::Builder::address(address.as_str())?
                .name("org.freedesktop.Notifications")?
                .serve_at("/org/freedesktop/Notifications", desk)?
                .build()
                .await
        };
        self.desk = Some(self.runtime.block_on(connect).expect("the bus takes us"));
    }

    fn shown(&self) -> MutexGuard<'_, Vec<Shown>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// guard with an agent that this user may run, a shell, and a file that it may not read.
    fn guard(&self) -> Guard {
        let agent = self.agent();
        fs::copy("/bin/bash", &agent).expect("a shell");
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).expect("a file of ours");
        let secret = self.work.path().join("secret <b>&");
        fs::write(&secret, "x").expect("written");
        let policy = format!(
            "version = 1\n[agent.tester]\nexe = [\"{}\"]\n[[rule]]\nname = \"secrets\"\non = [\"read\"]\n\
             path = [\"{}/secret*\"]\naction = \"deny\"\n",
            agent.display(),
            self.work.path().display()
        );
        Guard::new(&self.scratch, &policy).flag("--notify").flag("desktop")
    }

    fn agent(&self) -> PathBuf {
        self.work.path().join("agent")
    }

    /// So many denials, in one session.
    fn deny(&self, times: u32) {
        let script = format!("for ((i = 0; i < {times}; i++)); do cat secret*; done; true");
        let job = Job::new(self.agent(), self.work.path()).args(["-c", &script]);
        drop(self.as_user(job).run());
    }
}

impl Drop for User {
    fn drop(&mut self) {
        drop((self.desk.take(), self.bus.take()));
        fs::remove_dir_all(&self.folder).unwrap_or_default();
    }
}

/// The processes of guard that run as this user.
fn helpers(uid: u32) -> Vec<u32> {
    let of_user = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        exe == binary() && status.lines().any(|line| line == format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}"))
    };
    let all =
        fs::read_dir("/proc").expect("/proc").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(of_user).collect()
}

#[test]
fn the_user_s_desktop_shows_what_was_stopped() {
    let mut user = User::new();
    user.show();
    let daemon = user.guard().daemon();
    user.deny(1);
    until("it is shown", || user.shown().len() == 1);
    let shown = user.shown().remove(0);
    let (_, actions, hints, expires) = &shown.rest;
    assert!(actions.is_empty() && hints.contains_key("urgency") && *expires == -1, "{shown:?}");
    // The bus says who has asked: the user, for it was the user's process that did.
    assert_eq!((shown.uid, shown.app.as_str(), shown.replaces), (user.uid, "guard", 0), "{shown:?}");
    assert_eq!(shown.summary, "guard stopped tester");
    assert!(shown.body.contains("cat [") && shown.body.contains("; rule secrets"), "{shown:?}");
    // Names are shown as they are, and are no markup.
    assert!(shown.body.contains("secret &lt;b&gt;&amp;"), "{shown:?}");
    let helper = helpers(user.uid);
    assert_eq!(helper.len(), 1);
    let status = fs::read_to_string(format!("/proc/{}/status", helper[0])).expect("it runs");
    assert!(status.lines().any(|line| line.starts_with("CapEff:\t0000000000000000")), "{status}");
    assert!(status.lines().any(|line| line.trim_end() == "Groups:"), "{status}");
    drop(daemon.stop());
    until("it ends with guard", || helpers(user.uid).is_empty());
}

/// A storm is two notifications, of which the second takes the place of the first and says how many there were.
#[test]
fn a_storm_is_summed_up() {
    let mut user = User::new();
    user.show();
    let daemon = user.guard().daemon();
    user.deny(40);
    until("both are shown", || user.shown().len() == 2);
    let shown = user.shown();
    assert_eq!((shown[1].summary.as_str(), shown[1].replaces), ("guard stopped 39 more", 1), "{shown:?}");
    assert!(shown[1].body.starts_with("36 others, then:\n") && shown[1].body.lines().count() == 4, "{shown:?}");
    drop(shown);
    assert_eq!(daemon.stop().events.rule("secrets").count(), 40);
}

/// Who has no bus, or nobody on it to show anything, is not told; guard goes on, and says so once.
#[test]
fn a_desktop_that_does_not_answer_stops_nothing() {
    let mut user = User::new();
    let daemon = user.guard().daemon();
    user.deny(1);
    until("that is said", || daemon.stderr().contains("nobody on their session bus shows notifications"));
    user.deny(2);
    until("they are recorded", || daemon.events().rule("secrets").count() == 3);
    assert_eq!(daemon.stderr().matches("can't be told of denials").count(), 1, "{}", daemon.stderr());
    drop(user.bus.take());
    fs::remove_file(user.folder.join("bus")).unwrap_or_default();
    user.deny(1);
    until("it is recorded", || daemon.events().rule("secrets").count() == 4);
    let done = daemon.stop().done;
    assert!(done.status.success(), "{}", done.err());
    assert!(Path::new("/proc").exists() && helpers(user.uid).is_empty());
}
