//! The webhook: what arrives at a real server, which fails, hangs, comes back, and is not who it says it is.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use support::api::Api;
use support::guard::{Daemon, Guard};
use support::http::{Request, Response, Server};
use support::run::Job;
use support::stage::{Stage, text, until};

/// What arrived: each batch with its headers, under its key.
#[derive(Clone, Debug)]
struct Batch {
    request: Request,
    key: String,
    events: Vec<Value>,
}

/// A receiver, which answers as it is told to.
struct Receiver {
    server: Server,
    status: Arc<AtomicU16>,
    arrived: Arc<Mutex<Vec<Batch>>>,
}

/// In place of a status: no answer at all.
const HANG: u16 = 0;

impl Receiver {
    fn start(port: u16, status: u16) -> Self {
        let (status, arrived) = (Arc::new(AtomicU16::new(status)), Arc::new(Mutex::new(Vec::new())));
        let server = Server::start(port, Self::answer(&status, &arrived)).expect("a server");
        Self { server, status, arrived }
    }

    fn answer(
        status: &Arc<AtomicU16>,
        arrived: &Arc<Mutex<Vec<Batch>>>,
    ) -> impl Fn(&Request) -> Response + Send + Sync + 'static {
        let (status, arrived) = (Arc::clone(status), Arc::clone(arrived));
        move |request| {
            let key = request.header("idempotency-key").expect("a key").to_owned();
            let events = serde_json::from_slice(&request.body).expect("an array of events");
            arrived.lock().unwrap_or_else(PoisonError::into_inner).push(Batch {
                request: request.clone(),
                key,
                events,
            });
            while status.load(Ordering::SeqCst) == HANG {
                std::thread::sleep(Duration::from_millis(10));
            }
            Response::status(status.load(Ordering::SeqCst), "so it is")
        }
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.server.addr())
    }

    fn becomes(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn batches(&self) -> Vec<Batch> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The verdicts that arrived, each batch counted once however often it was sent.
    fn verdicts(&self) -> Vec<Value> {
        let mut keys = BTreeSet::new();
        let batches = self.batches().into_iter().filter(|batch| keys.insert(batch.key.clone()));
        batches.flat_map(|batch| batch.events).filter(|event| event["verdict"].is_object()).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Whoever hangs is let go.
        self.becomes(500);
    }
}

/// guard that sends to this address, from a spool in the stage's folder.
fn guard(stage: &Stage, url: &str, more: &[&str]) -> Guard {
    let guard = stage.guard(
        "[[rule]]\nname = \"seen\"\non = [\"read\"]\npath = [\"{stage}/noted\"]\naction = \"log\"\n\
         [[rule]]\nname = \"no-secret-arguments\"\non = [\"exec\"]\npath = [\"/bin/true\", \"/usr/bin/true\"]\naction = \"log\"",
    );
    let guard = guard.flag("--webhook").flag(url).flag("--webhook-spool").flag(stage.path().join("spool"));
    more.iter().fold(guard, |guard, flag| guard.flag(*flag))
}

fn deny(stage: &Stage) {
    let done = Job::new(stage.agent(), stage.path()).args(["read", "denied/secret"]).run();
    assert_eq!(done.code(), 137, "{}", done.err());
}

/// What the status says of the webhook.
fn webhook(daemon: &Daemon) -> Value {
    Api::at(daemon.socket()).get("/v1/status").json()["machine"]["webhook"].clone()
}

fn number(daemon: &Daemon, name: &str) -> u64 {
    webhook(daemon)[name].as_u64().unwrap_or_else(|| panic!("no {name}"))
}

/// Waits for something that takes a retry or several.
fn eventually(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(2);
    while !so() {
        assert!(Instant::now() < deadline, "not within two minutes: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port on loopback where nobody listens.
fn nobody() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// One command's denials are sent by its own guard, before that ends; what nobody takes waits for the next.
#[test]
fn guard_run_sends_too() {
    let stage = Stage::new("webhook");
    let receiver = Receiver::start(0, 503);
    let guarded = guard(&stage, &receiver.url(), &[]).run(&stage.job(["read", "denied/secret"]));
    assert_eq!(guarded.done.code(), 137, "{}", guarded.done.err());
    eventually("it was tried", || !receiver.batches().is_empty());
    receiver.becomes(204);
    let guarded = guard(&stage, &receiver.url(), &[]).run(&stage.job(["read", "denied/secret"]));
    assert_eq!(guarded.done.code(), 137, "{}", guarded.done.err());
    assert_eq!(receiver.verdicts().len(), 2, "{:?}", receiver.batches());
}

#[test]
fn denials_arrive_as_they_are_recorded() {
    let stage = Stage::new("webhook");
    let receiver = Receiver::start(0, 204);
    let headers =
        stage.scratch().write("headers", "# the receiver knows us by\nAuthorization: Bearer s3cr3t\n\nX-Team: a\n");
    stage.scratch().write("noted", "x");
    let daemon = guard(&stage, &receiver.url(), &["--webhook-headers", headers.to_str().expect("a path")]).daemon();
    drop(Job::new(stage.agent(), stage.path()).args(["read", "noted"]).run().succeeded());
    deny(&stage);
    until("the denial arrives", || receiver.verdicts().len() == 1);
    until("that is known", || number(&daemon, "sent") == 1 && number(&daemon, "spooled") == 0);
    let batch = receiver.batches().remove(0);
    let request = &batch.request;
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hook"));
    for (name, value) in [("content-type", "application/json"), ("authorization", "Bearer s3cr3t"), ("x-team", "a")] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    assert!(request.header("user-agent").is_some_and(|agent| agent.starts_with("guard/")), "{request:?}");
    assert!(request.header("guard-host").is_some_and(|host| !host.is_empty()), "{request:?}");
    let said = daemon.stderr();
    assert!(!said.contains("s3cr3t") && !said.contains("/hook"), "{said}");
    let done = daemon.stop();
    let recorded: Vec<&Value> = done.events.rule("secrets").collect();
    assert_eq!(receiver.verdicts().iter().collect::<Vec<_>>(), recorded);
    assert_eq!(done.events.rule("seen").count(), 1, "it is noted, and not sent: {}", done.events);
}

/// Verdicts that are only noted are sent where that is asked for; secrets in their arguments are gone by then.
#[test]
fn what_is_noted_is_sent_on_demand_without_its_secrets() {
    let stage = Stage::new("webhook");
    let receiver = Receiver::start(0, 200);
    let daemon = guard(&stage, &receiver.url(), &["--webhook-on", "log"]).daemon();
    let job = Job::new(stage.agent(), stage.path()).args(["exec", "/bin/true", "--token", "hunter2"]);
    drop(job.run());
    deny(&stage);
    until("it arrives", || !receiver.verdicts().is_empty());
    drop(daemon.stop());
    let verdicts = receiver.verdicts();
    assert!(verdicts.iter().all(|event| event["verdict"]["action"] == "log"), "{verdicts:#?}");
    let batches = receiver.batches();
    let bodies: String = batches.iter().map(|batch| String::from_utf8_lossy(&batch.request.body)).collect();
    assert!(bodies.contains("[redacted]") && !bodies.contains("hunter2"), "{bodies}");
}

/// A receiver that fails, hangs and comes back gets everything, and guard does not wait for it.
#[test]
fn a_receiver_that_fails_and_hangs_gets_everything_in_the_end() {
    let stage = Stage::new("webhook");
    let receiver = Receiver::start(0, 503);
    let daemon = guard(&stage, &receiver.url(), &[]).daemon();
    deny(&stage);
    until("it is tried", || number(&daemon, "failed") >= 1);
    assert!(text(&webhook(&daemon), "/failure").contains("503"), "{}", webhook(&daemon));
    until("that is said", || daemon.stderr().contains("takes no events"));
    receiver.becomes(HANG);
    let tried = receiver.batches().len();
    eventually("it is tried again, and hangs", || receiver.batches().len() > tried);
    // Meanwhile guard goes on: what is denied is denied, recorded and kept.
    for _ in 0..5 {
        deny(&stage);
    }
    until("all are recorded", || daemon.events().rule("secrets").count() == 6);
    until("all are kept", || number(&daemon, "spooled") == 6);
    let failed = number(&daemon, "failed");
    eventually("it is given up", || number(&daemon, "failed") > failed);
    assert!(text(&webhook(&daemon), "/failure").contains("no answer within"), "{}", webhook(&daemon));
    receiver.becomes(200);
    eventually("everything arrives", || receiver.verdicts().len() == 6);
    until("that is known", || number(&daemon, "sent") == 6);
    assert!(webhook(&daemon)["failure"].is_null(), "{}", webhook(&daemon));
    until("that is said", || daemon.stderr().contains("takes events again"));
    let recorded = daemon.stop().events;
    assert_eq!(receiver.verdicts().iter().collect::<Vec<_>>(), recorded.rule("secrets").collect::<Vec<_>>());
    // However often the first batch was sent, it was the same batch.
    let batches = receiver.batches();
    let first: Vec<&Batch> = batches.iter().filter(|batch| batch.key == batches[0].key).collect();
    assert!(first.len() >= 3 && first.iter().all(|batch| batch.events == batches[0].events), "{first:?}");
}

/// What a daemon that was killed has not delivered, the next one does.
#[test]
fn the_spool_survives_a_daemon_that_is_killed() {
    let stage = Stage::new("webhook");
    let port = nobody();
    let url = format!("http://127.0.0.1:{port}/");
    let daemon = guard(&stage, &url, &["--webhook-batch", "2"]).daemon();
    (0..5).for_each(|_| deny(&stage));
    until("they are kept", || number(&daemon, "spooled") == 5);
    assert!(text(&webhook(&daemon), "/failure").contains("refused"), "{}", webhook(&daemon));

    // One spool is one guard's.
    let other = guard(&stage, &url, &[]);
    let socket = support::guard::Socket::new();
    let refused = other.start_daemon(socket.path()).wait();
    assert_eq!(refused.code(), 125, "{}", refused.err());
    assert!(refused.err().contains("another guard uses it"), "{}", refused.err());

    daemon.signal(Signal::SIGKILL);
    drop(daemon);
    let receiver = Receiver::start(port, 200);
    let daemon = guard(&stage, &url, &["--webhook-batch", "2"]).daemon();
    eventually("they arrive", || receiver.verdicts().len() == 5);
    deny(&stage);
    until("so does what is new", || receiver.verdicts().len() == 6);
    drop(daemon.stop());
    let times: Vec<Value> = receiver.verdicts().iter().map(|event| event["time"].clone()).collect();
    assert!(times.is_sorted_by(|a, b| text(a, "") < text(b, "")), "the oldest first, and none twice: {times:?}");
    assert!(receiver.batches().iter().all(|batch| batch.events.len() <= 2));
    let left: Vec<_> = fs::read_dir(stage.path().join("spool")).expect("a folder").filter_map(Result::ok).collect();
    assert!(left.iter().all(|file| file.file_name() == "lock"), "{left:?}");
}

/// Without room the oldest go, and every one of them is counted, in numbers and in events.
#[test]
fn a_full_spool_counts_what_it_drops() {
    const DENIALS: usize = 400;
    let stage = Stage::new("webhook");
    let port = nobody();
    let agent = stage.scratch().program(Path::new("/bin/bash"), "shell");
    let policy = stage.policy("").replace("/agent\"]", "/shell\"]");
    let guard = Guard::new(stage.scratch(), &policy)
        .audit()
        .flag("--webhook")
        .flag(format!("http://127.0.0.1:{port}/"))
        .flag("--webhook-spool")
        .flag(stage.path().join("spool"))
        .flag("--webhook-spool-size")
        .flag((64 << 10).to_string());
    let daemon = guard.daemon();
    let script = format!("for ((i = 0; i < {DENIALS}; i++)); do read -r x < denied/secret; done");
    drop(Job::new(&agent, stage.path()).args(["-c", &script]).run().succeeded());
    until("all are recorded", || daemon.events().rule("secrets").count() == DENIALS);
    let dropped = || daemon.events().op("lost").map(|event| event["count"].as_u64().unwrap_or(0)).sum::<u64>();
    until("all that were dropped are told", || number(&daemon, "dropped") == dropped() && dropped() > 100);
    assert!(number(&daemon, "spooled_bytes") <= 64 << 10, "{}", webhook(&daemon));
    assert!(daemon.events().op("lost").all(|event| event["kind"] == "not-sent"), "{}", daemon.events());
    // They may be a moment old.
    let metrics = || Api::at(daemon.socket()).get("/metrics").body;
    for line in [
        format!("guard_webhook_dropped_events_total {}", dropped()),
        format!("guard_lost_total{{kind=\"not-sent\"}} {}", dropped()),
    ] {
        until(&line, || metrics().contains(&line));
    }
    until("what waits is counted", || {
        metrics().contains(&format!("guard_webhook_spooled_events {}", number(&daemon, "spooled")))
    });
    let receiver = Receiver::start(port, 200);
    eventually("the rest arrives", || number(&daemon, "spooled") == 0);
    let (sent, dropped) = (number(&daemon, "sent"), number(&daemon, "dropped"));
    let done = daemon.stop();
    // Whoever receives knows that there is something missing, and how much.
    let batches = receiver.batches();
    let told: Vec<&Value> =
        batches.iter().flat_map(|batch| &batch.events).filter(|event| event["op"] == "lost").collect();
    assert!(told.iter().all(|event| event["kind"] == "not-sent" && event["time"].is_string()), "{told:?}");
    assert_eq!(told.iter().filter_map(|event| event["count"].as_u64()).sum::<u64>(), dropped);
    assert_eq!(sent + dropped, (DENIALS + told.len()) as u64);
    let last = done.events.rule("secrets").last().expect("denials");
    let arrived = receiver.verdicts();
    assert_eq!(arrived.last(), Some(last), "the last one is there");
    let keys: BTreeSet<&str> = batches.iter().map(|batch| batch.key.as_str()).collect();
    assert_eq!(keys.len(), batches.len(), "no batch was sent twice");
}

/// What the receiver refuses for good is dropped and counted, and does not hold up the rest; a redirect leads nowhere.
#[test]
fn refusals_and_redirects() {
    let stage = Stage::new("webhook");
    let receiver = Receiver::start(0, 422);
    let daemon = guard(&stage, &receiver.url(), &[]).daemon();
    deny(&stage);
    until("it is refused", || number(&daemon, "dropped") == 1);
    until("that is told", || daemon.events().op("lost").any(|event| event["kind"] == "not-sent"));
    until("and said", || daemon.stderr().contains("refuses 1 events for good"));
    receiver.becomes(200);
    deny(&stage);
    // With it, the receiver learns of the one that it did not take.
    until("the next is taken", || number(&daemon, "sent") == 2 && receiver.verdicts().len() == 2);
    let told = receiver.batches().into_iter().flat_map(|batch| batch.events).filter(|event| event["op"] == "lost");
    assert_eq!(told.map(|event| event["count"].as_u64()).collect::<Vec<_>>(), [Some(1)]);
    assert_eq!(number(&daemon, "dropped"), 1);
    drop(daemon.stop());

    let elsewhere = Receiver::start(0, 200);
    let target = elsewhere.url();
    let redirects = Server::start(0, move |_| Response::status(307, "elsewhere").with("Location", target.clone()));
    let redirects = redirects.expect("a server");
    let daemon = guard(&stage, &format!("http://{}/", redirects.addr()), &[]).daemon();
    deny(&stage);
    until("it leads nowhere", || number(&daemon, "failed") >= 1);
    assert!(text(&webhook(&daemon), "/failure").contains("redirects"), "{}", webhook(&daemon));
    assert_eq!((elsewhere.batches().len(), number(&daemon, "spooled")), (0, 1));
}

/// Over TLS, to a receiver whose certificate was given by an authority that this machine trusts; to another, nothing is sent.
#[test]
fn over_tls_only_to_who_it_says_it_is() {
    let stage = Stage::new("webhook");
    let authority = rcgen::KeyPair::generate().expect("a key");
    let mut about = rcgen::CertificateParams::new(Vec::new()).expect("a certificate");
    about.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let trusted = about.self_signed(&authority).expect("a certificate");
    let issuer = rcgen::Issuer::new(about, authority);
    let key = rcgen::KeyPair::generate().expect("a key");
    let own = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a certificate");
    let own = own.signed_by(&key, &issuer).expect("a certificate");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![own.der().clone()],
            rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .expect("a server's configuration");
    let (config, status) = (Arc::new(config), Arc::new(AtomicU16::new(200)));
    let arrived = Arc::new(Mutex::new(Vec::new()));
    let wrap = move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).map_err(std::io::Error::other)?;
        Ok(StreamOwned::new(connection, stream))
    };
    let server = Server::start_over(0, wrap, Receiver::answer(&status, &arrived)).expect("a server");
    let receiver = Receiver { server, status, arrived };
    let url = format!("https://localhost:{}/hook", receiver.server.addr().port());
    let start = |trusted: &Path| {
        let socket = support::guard::Socket::new();
        let running = guard(&stage, &url, &[]).daemon_job(socket.path()).env("SSL_CERT_FILE", trusted).start();
        until("it guards", || running.stderr().contains("guarding"));
        (running, socket)
    };
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let (running, socket) = start(&stage.scratch().write("other.pem", other.cert.pem()));
    deny(&stage);
    until("it is not trusted", || running.stderr().contains("invalid peer certificate"));
    drop((running, socket));
    assert!(receiver.batches().is_empty());
    let (running, socket) = start(&stage.scratch().write("trusted.pem", trusted.pem()));
    eventually("it arrives", || receiver.verdicts().len() == 1);
    drop((running, socket));
}
