//! Metrics: what they are called, what they count, and that a real Prometheus reads them, with the alerts and the dashboard
//! in deploy/.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use guard::control::METRICS;
use serde_json::Value;
use support::api::Api;
use support::guard::{Daemon, Guard};
use support::prometheus::{program, promtool};
use support::run::Job;
use support::stage::{Stage, text, until};

/// What is in a folder of deploy/.
fn deployed(folder: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(folder);
    path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A port that is free, on loopback.
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("an address")
}

/// The values by name and labels, as they are written.
fn values(text: &str) -> BTreeMap<String, f64> {
    let value = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(value).collect()
}

/// The metrics on the socket.
fn metrics(daemon: &Daemon) -> BTreeMap<String, f64> {
    let answer = Api::at(daemon.socket()).get("/metrics");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    values(&answer.body)
}

/// An answer over TCP.
fn http(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time limit");
    // The old version, in which an answer is in one piece.
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// With a webhook that nobody listens to.
fn with_webhook(stage: &Stage, guard: Guard) -> Guard {
    let url = format!("http://{}/", free_port());
    guard.flag("--webhook").flag(url).flag("--webhook-spool").flag(stage.path().join("spool"))
}

#[test]
fn what_happens_is_counted() {
    let stage = Stage::new("metrics");
    let daemon = with_webhook(&stage, stage.guard("").flag("--program-stats")).daemon();
    let before = metrics(&daemon);
    let of = |values: &BTreeMap<String, f64>, name: &str| {
        values.get(name).copied().unwrap_or_else(|| panic!("no {name} in {values:#?}"))
    };
    for name in [
        r#"guard_operations_total{action="deny",op="read"}"#,
        r#"guard_lost_total{kind="verdict-ring-full"}"#,
        r#"guard_lost_total{kind="not-written"}"#,
        r#"guard_life_total{op="session-start"}"#,
        r#"guard_would_have_total{action="kill",op="exec"}"#,
        "guard_policy_reloads_total",
        "guard_api_missed_events_total",
        "guard_webhook_dropped_events_total",
        "guard_sessions",
    ] {
        assert!(of(&before, name).abs() < 0.5, "there from the first, and 0: {name}");
    }
    for op in ["exec", "read", "write", "connect", "send", "outlive"] {
        assert!(of(&before, &format!("guard_enforcing{{op=\"{op}\"}}")) > 0.5, "{op}");
    }
    for _ in 0..3 {
        drop(Job::new(stage.agent(), stage.path()).args(["in", "fork", "read", "denied/secret"]).run());
    }
    let api = Api::at(daemon.socket());
    assert_eq!(api.send("PUT", "/v1/policy", "version = 2").status, 422);
    let counted = |name: &str, count: f64| {
        until(name, || (of(&metrics(&daemon), name) - count).abs() < 0.5);
    };
    counted(r#"guard_operations_total{action="deny",op="read"}"#, 3.0);
    counted(r#"guard_rule_hits_total{action="deny",rule="secrets"}"#, 3.0);
    counted(r#"guard_life_total{op="session-start"}"#, 3.0);
    counted(r#"guard_life_total{op="session-end"}"#, 3.0);
    counted(r#"guard_life_total{op="exit"}"#, 6.0);
    counted("guard_policy_reload_failures_total", 1.0);
    counted("guard_webhook_spooled_events", 3.0);
    let after = metrics(&daemon);
    assert!(of(&after, r#"guard_operations_total{action="allow",op="read"}"#) > 3.0);
    assert!(of(&after, r#"guard_program_runs_total{program="on_exec"}"#) >= 3.0, "{after:#?}");
    assert!(of(&after, r#"guard_program_run_seconds_total{program="on_exec"}"#) > 0.0);
    assert!(of(&after, r#"guard_ring_peak_bytes{ring="verdicts"}"#) > 0.0);
    assert!(of(&after, r#"guard_ring_size_bytes{ring="verdicts"}"#) > 4095.0);
    assert!(of(&after, "process_resident_memory_bytes") > 1e6);
    assert!(of(&after, "process_cpu_seconds_total") > 0.0);
    assert!(of(&after, "guard_store_lag_seconds") < 60.0);
    assert!(
        after.keys().any(|name| name.starts_with("guard_build_info{") && name.contains(env!("CARGO_PKG_VERSION")))
    );

    // promtool objects to what breaks the customs of metrics.
    let body = api.get("/metrics").body;
    let mut check = promtool(stage.path()).args(["check", "metrics"]).command();
    let mut check =
        check.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("promtool");
    check.stdin.take().expect("a pipe").write_all(body.as_bytes()).expect("written");
    let done = check.wait_with_output().expect("its end");
    let said = [done.stdout, done.stderr].concat();
    assert!(done.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    // What is there is what is promised to be: with everything switched on, all of it.
    let families: BTreeSet<&str> =
        body.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    // One that has counted nothing for any label is not written.
    let wanted: BTreeSet<&str> = METRICS.into_iter().collect();
    assert_eq!(families, wanted);
}

/// In audit mode nothing is enforced, and what would have been is counted apart.
#[test]
fn audit_counts_what_would_have_been() {
    let stage = Stage::new("metrics");
    let daemon = stage.guard("").audit().unrecorded().daemon();
    let done = Job::new(stage.agent(), stage.path()).args(["read", "denied/secret"]).run();
    assert_eq!(done.code(), 0, "{}", done.err());
    let is = |name: &str, value: f64| metrics(&daemon).get(name).is_some_and(|found| (found - value).abs() < 0.5);
    until("it is counted", || is(r#"guard_would_have_total{action="deny",op="read"}"#, 1.0));
    assert!(is(r#"guard_operations_total{action="deny",op="read"}"#, 1.0));
    assert!(is(r#"guard_enforcing{op="read"}"#, 0.0) && is("guard_audit_mode", 1.0));
    assert!(!metrics(&daemon).contains_key("guard_store_lag_seconds"), "nothing is recorded");
}

/// Waits until something is so that takes Prometheus a while.
fn slowly(what: &str, so: &dyn Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !so() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A real Prometheus scrapes a real daemon; every alert and every panel is something that it can evaluate.
#[test]
fn prometheus_scrapes_them() {
    let stage = Stage::new("metrics");
    let (guards, prometheus) = (free_port(), free_port());
    let guard = stage.guard("").flag("--metrics").flag(guards.to_string()).flag("--program-stats");
    let daemon = with_webhook(&stage, guard).daemon();
    assert!(http(guards, "/metrics").contains("guard_build_info"));
    let elsewhere = http(guards, "/v1/policy");
    assert!(elsewhere.contains(" 404 ") && elsewhere.contains("/metrics only"), "{elsewhere}");

    let shipped = fs::read_to_string(deployed("prometheus").join("prometheus.yml")).expect("readable");
    let config = shipped.replace("127.0.0.1:9470", &guards.to_string());
    assert_ne!(config, shipped, "the shipped configuration names the address");
    let config = format!("global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n{config}");
    stage.scratch().write("prometheus/prometheus.yml", config);
    for name in ["guard.rules.yml", "guard.test.yml"] {
        fs::copy(deployed("prometheus").join(name), stage.path().join("prometheus").join(name)).expect("copied");
    }
    let folder = stage.path().join("prometheus");
    drop(promtool(&folder).args(["check", "config", "prometheus.yml"]).run().succeeded());
    drop(promtool(&folder).args(["check", "rules", "guard.rules.yml"]).run().succeeded());
    drop(promtool(&folder).args(["test", "rules", "guard.test.yml"]).run().succeeded());

    let server = Job::new(program("prometheus"), &folder)
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"])
        .arg(format!("--web.listen-address={prometheus}"))
        .start();
    slowly("prometheus is ready", &|| {
        assert!(server.stderr().is_empty(), "{}", server.stderr());
        TcpStream::connect(prometheus).is_ok() && http(prometheus, "/-/ready").contains(" 200 ")
    });
    let ask = |what: &str| -> Value {
        let answer = http(prometheus, what);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let begin = body.find('{').unwrap_or(0);
        let end = body.rfind('}').map_or(0, |end| end + 1);
        serde_json::from_str(&body[begin..end])
            .unwrap_or_else(|error| panic!("{error}: {answer}\n{}", server.stderr()))
    };
    let query = |expression: &str| ask(&format!("/api/v1/query?query={}", encoded(expression)));
    let value = |expression: &str| -> Option<f64> {
        query(expression).pointer("/data/result/0/value/1")?.as_str()?.parse().ok()
    };
    drop(Job::new(stage.agent(), stage.path()).args(["read", "denied/secret"]).run());
    slowly("it scrapes", &|| value("up{job=\"guard\"}") == Some(1.0));
    slowly("it has the denial", &|| {
        value(r#"guard_operations_total{op="read",action="deny"}"#) == Some(1.0)
            && value(r#"guard_rule_hits_total{rule="secrets"}"#) == Some(1.0)
    });
    let scraped = ask("/api/v1/label/__name__/values");
    let scraped: BTreeSet<&str> =
        scraped["data"].as_array().expect("names").iter().filter_map(Value::as_str).collect();
    let missing: Vec<&str> = METRICS.into_iter().filter(|name| !scraped.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?} not in {scraped:?}");

    let rules = || ask("/api/v1/rules");
    let all =
        |rules: &Value| rules.pointer("/data/groups/0/rules").and_then(Value::as_array).cloned().unwrap_or_default();
    slowly("the alerts are evaluated", &|| {
        let rules = all(&rules());
        rules.len() > 5 && rules.iter().all(|rule| rule["health"] == "ok")
    });
    let firing: Vec<Value> = all(&rules()).into_iter().filter(|rule| rule["state"] == "firing").collect();
    assert!(firing.is_empty(), "{firing:?}");
    for expression in dashboard() {
        let answer = query(&expression.replace("$__rate_interval", "1m").replace("$__range", "1h"));
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
    }
    // A daemon that is gone is noticed.
    drop(daemon.stop());
    slowly("it is down", &|| {
        all(&rules()).iter().any(|rule| rule["name"] == "GuardDown" && rule["state"] == "pending")
    });
}

/// What the dashboard's panels ask for.
fn dashboard() -> Vec<String> {
    let text = fs::read_to_string(deployed("grafana").join("guard.json")).expect("readable");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| self::text(target, "/expr").to_owned()).collect()
}

/// The dashboard, the alerts and the documentation name metrics that there are, and all of them are documented.
#[test]
fn only_metrics_that_there_are_are_named() {
    let rules = fs::read_to_string(deployed("prometheus").join("guard.rules.yml")).expect("readable");
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).map(str::to_owned);
    let expressions: Vec<String> = dashboard().into_iter().chain(alerts).collect();
    assert!(expressions.len() > 30, "{expressions:?}");
    let names = |text: &str| -> BTreeSet<String> {
        let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
        let ours = |word: &&str| word.starts_with("guard_") || word.starts_with("process_");
        text.split(word).filter(ours).map(str::to_owned).collect()
    };
    for expression in &expressions {
        for name in names(expression) {
            assert!(METRICS.contains(&name.as_str()), "{name} in {expression}");
        }
    }
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md")).expect("readable");
    assert_eq!(names(&page), METRICS.into_iter().map(str::to_owned).collect());
}

/// A text as it stands in an address.
fn encoded(text: &str) -> String {
    let one = |byte: u8| {
        if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(one).collect()
}
