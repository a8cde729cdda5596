//! The control API's clients: who may do what, and what those can do who are slow, many, or talk nonsense.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::unistd::Group;
use serde_json::Value;
use support::api::{Api, answer};
use support::guard::{Daemon, Guarded};
use support::run::{Finished, Job};
use support::stage::{Stage, text, until};

/// A user who is nobody in particular.
const NOBODY: u32 = 65534;
/// A group that every machine has, and nobody is in.
const GROUP: &str = "games";

fn api(daemon: &Daemon) -> Api {
    Api::at(daemon.socket())
}

/// Who runs something.
#[derive(Clone, Copy)]
enum As {
    Nobody,
    Member,
    Root,
}

/// A job of that user's.
fn run_as(who: As, job: &Job) -> Job {
    let group = Group::from_name(GROUP).expect("the groups").expect("it has a number").gid;
    let nobody = NOBODY.to_string();
    let mut front = vec!["setpriv".to_owned(), format!("--reuid={nobody}"), format!("--regid={nobody}")];
    match who {
        As::Nobody => front.push("--clear-groups".to_owned()),
        As::Member => front.push(format!("--groups={group}")),
        As::Root => return job.clone(),
    }
    job.clone().under(front)
}

/// What curl gets, as that user: the body, then a line with the status.
fn curl(api: &Api, who: As, path: &str, more: &[&str]) -> (String, u16) {
    let url = format!("http://guard{path}");
    let job = Job::new("curl", std::path::Path::new("/"))
        .args(["-sS", "--max-time", "30", "-w", "\\n%{http_code}", "--unix-socket"])
        .arg(api.socket())
        .args(more)
        .arg(&url);
    let Finished { stdout, stderr, .. } = run_as(who, &job).run();
    let said = String::from_utf8_lossy(&stdout).into_owned();
    let (body, status) = said.rsplit_once('\n').unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&stderr)));
    (body.to_owned(), status.parse().expect("a status"))
}

fn parsed(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

/// The agent at a place where every user may run it; gone with the value.
struct Public(PathBuf);

impl Public {
    fn new(stage: &Stage) -> Self {
        let folder = std::env::temp_dir().join(format!("guard-test-public-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("its modes");
        fs::copy(stage.attempt(), folder.join("agent")).expect("copied");
        Self(folder)
    }
}

impl Drop for Public {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

#[test]
fn root_changes_members_read_others_see_their_own() {
    let stage = Stage::new("clients");
    let public = Public::new(&stage);
    let agent = public.0.join("agent");
    let policy = stage.policy("").replace(&stage.agent().display().to_string(), &agent.display().to_string());
    let guard = support::guard::Guard::new(stage.scratch(), &policy).flag("--group").flag(GROUP);
    let daemon = guard.daemon();
    let api = api(&daemon);

    let everybodys = api.follow("");
    let url = "http://guard/v1/events";
    let follow = Job::new("curl", &public.0).args(["-sSN", "--unix-socket"]).arg(api.socket()).arg(url);
    let nobodys = run_as(As::Nobody, &follow).start();
    let members = run_as(As::Member, &follow).start();
    until("they follow", || [&nobodys, &members].iter().all(|job| job.stdout().contains("from here on")));

    let stop = public.0.join("stop");
    let waits = Job::new(&agent, &public.0).arg("after").arg(&stop).args(["read", "/etc/passwd"]);
    let sessions = [waits.start(), run_as(As::Nobody, &waits).start()];
    until("both are there", || api.json("/v1/sessions")["sessions"].as_array().is_some_and(|all| all.len() == 2));
    let all = api.json("/v1/sessions");
    let owned_by = |uid: u32| -> String {
        let found = all["sessions"].as_array().and_then(|all| all.iter().find(|one| one["uid"] == uid));
        text(found.unwrap_or_else(|| panic!("none of uid {uid}: {all}")), "/id").to_owned()
    };
    let (roots, own) = (owned_by(0), owned_by(NOBODY));

    // What each may read.
    for (who, path, status) in [
        (As::Nobody, "/v1/status", 200),
        (As::Nobody, "/v1/sessions", 200),
        (As::Nobody, &format!("/v1/sessions/{own}"), 200),
        (As::Nobody, &format!("/v1/sessions/{roots}"), 403),
        (As::Nobody, "/v1/phase", 200),
        (As::Nobody, "/v1/policy", 403),
        (As::Nobody, "/v1/doctor", 403),
        (As::Nobody, "/metrics", 403),
        (As::Nobody, "/v1/openapi.json", 200),
        (As::Member, &format!("/v1/sessions/{roots}"), 200),
        (As::Member, "/v1/policy", 200),
        (As::Member, "/v1/doctor", 200),
        (As::Member, "/metrics", 200),
    ] {
        let (body, found) = curl(&api, who, path, &[]);
        assert_eq!(found, status, "{path}: {body}");
        if status == 403 {
            let refusal = parsed(&body);
            assert!(text(&refusal, "/error").contains("uid 65534 may see its own sessions only"), "{body}");
            assert!(text(&refusal, "/help").contains(GROUP), "{body}");
        }
    }
    let list = |who| -> Vec<String> {
        let listed = parsed(&curl(&api, who, "/v1/sessions", &[]).0);
        listed["sessions"].as_array().expect("a list").iter().map(|one| text(one, "/id").to_owned()).collect()
    };
    assert_eq!(list(As::Nobody), [own.as_str()]);
    assert_eq!((list(As::Member).len(), list(As::Root).len()), (2, 2));
    for (who, access, machine) in [(As::Nobody, "own", false), (As::Member, "read", true), (As::Root, "all", true)] {
        let status = parsed(&curl(&api, who, "/v1/status", &[]).0);
        assert_eq!((text(&status, "/access"), status.get("machine").is_some()), (access, machine), "{status}");
    }

    // What each may change: the member nothing either.
    let kill = format!("/v1/sessions/{own}/kill");
    for who in [As::Nobody, As::Member] {
        for (path, more) in [
            (kill.as_str(), ["-X", "POST", "-d", "{}"]),
            ("/v1/policy", ["-X", "PUT", "-d", "version = 1"]),
            ("/v1/policy/reload", ["-X", "POST", "-d", ""]),
            ("/v1/phase", ["-X", "POST", "-d", "{}"]),
        ] {
            let (body, status) = curl(&api, who, path, &more);
            assert_eq!(status, 403, "{path}: {body}");
            assert!(text(&parsed(&body), "/error").contains("only root may"), "{body}");
        }
    }
    let (body, status) = curl(&api, As::Nobody, "/v1/policy", &["-X", "POST", "-d", "version = 1"]);
    assert_eq!(status, 403, "{body}");
    let (body, status) = curl(&api, As::Member, "/v1/policy", &["-X", "POST", "-d", "version = 1"]);
    assert_eq!(status, 200, "{body}");
    let (body, status) = curl(&api, As::Root, &kill, &["-X", "POST"]);
    assert_eq!(status, 200, "{body}");

    // Who follows is told of what it may see, and of nothing else.
    fs::write(&stop, "").expect("written");
    let [first, second] = sessions.map(support::run::Running::wait);
    assert_eq!((first.code(), second.code()), (0, 137), "{}{}", first.err(), second.err());
    let ends = |said: &str| said.matches(r#""op":"session-end""#).count();
    until("the ends are told", || {
        ends(&everybodys.lines().concat()) == 2 && ends(&members.stdout()) == 2 && ends(&nobodys.stdout()) == 1
    });
    assert!(everybodys.lines().concat().contains(&roots) && members.stdout().contains(&roots));
    let seen = nobodys.stdout();
    assert!(seen.contains(&own) && !seen.contains(&roots), "{seen}");
    assert!(seen.contains(r#""op":"control""#), "who has killed it is told: {seen}");
}

/// What is guarded can't change what guards it, not even as root.
#[test]
fn a_guarded_process_changes_nothing() {
    let stage = Stage::new("clients");
    let daemon = stage.guard("").daemon();
    let api = api(&daemon);
    let script = "curl -sS --max-time 30 --unix-socket $socket -X PUT --data-binary 'version = 1' http://guard/v1/policy; \
        curl -sS --max-time 30 --unix-socket $socket -o /dev/null -w '%{http_code}' http://guard/v1/status";
    let job = Job::new(stage.agent(), stage.path()).args(["in", "fork", "exec", "/bin/sh", "-c", script]);
    let done = job.env("socket", api.socket()).run();
    assert!(done.out().contains("what is guarded may not change what guards it"), "{}{}", done.out(), done.err());
    assert!(done.out().ends_with("200"), "it may look: {}", done.out());
    assert_eq!(api.json("/v1/policy")["policy"]["generation"], 1);

    // Nor can it by a process that is gone by the time.
    let parts = ["PUT /v1/policy HTTP/1.1\\r\\nContent-Length: 1\\r\\n\\r\\nx", "import socket,os,sys"];
    let script = format!(
        "{}\ns = socket.socket(socket.AF_UNIX)\nif os.fork() == 0:\n    s.connect(sys.argv[1])\n    os._exit(0)\nos.wait()\n\
         s.sendall(b'{}')\nprint(s.recv(4096).decode())",
        parts[1], parts[0]
    );
    let done = Job::new("python3", stage.path()).args(["-c", &script]).arg(api.socket()).run();
    assert!(done.out().contains("403") && done.out().contains("has ended"), "{}{}", done.out(), done.err());
}

/// Whoever follows and does not read holds up nobody: neither the daemon nor others who follow.
#[test]
fn a_reader_that_stalls_misses_a_told_number() {
    let stage = Stage::new("clients");
    let daemon = stage.guard("").unrecorded().daemon();
    let api = api(&daemon);
    let memory = || api.json("/v1/status")["machine"]["daemon"]["memory_bytes"].as_u64().expect("a number");
    let before = memory();
    let mut stalled: Vec<UnixStream> = (0..8).map(|_| api.connect()).collect();
    for stream in &mut stalled {
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: guard\r\n\r\n").expect("sent");
    }
    until("they follow", || api.json("/v1/status")["machine"]["clients"]["streams"] == 8);
    let verdicts = api.follow("?allowed=false");
    let spinning = Job::new(stage.agent(), stage.path()).args(["spin", "stop", "allowed/fine"]).start();
    until("they miss some", || {
        api.json("/v1/status")["machine"]["clients"]["missed"].as_u64().is_some_and(|missed| missed > 100_000)
    });
    // Who goes on to read is told how many it has missed, where they are missing.
    let mut text = Vec::new();
    let mut stream = stalled.remove(0);
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a time limit");
    let mut buffer = vec![0; 1 << 16];
    let deadline = Instant::now() + Duration::from_secs(30);
    while !String::from_utf8_lossy(&text[text.len().saturating_sub(1 << 17)..]).contains("reader-slow") {
        assert!(Instant::now() < deadline, "it is not told");
        let length = stream.read(&mut buffer).expect("more to read");
        text.extend_from_slice(&buffer[..length]);
    }
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find(|line| line.contains("reader-slow")).expect("told");
    let event = parsed(line.split_once("data: ").expect("data").1);
    assert_eq!((&event["op"], &event["kind"]), (&"lost".into(), &"reader-slow".into()), "{event}");
    assert!(event["count"].as_u64().is_some_and(|count| count > 1000), "{event}");
    // In the midst of it: answers, enforcement, and verdicts for who reads.
    let asked = Instant::now();
    assert_eq!(api.get("/v1/sessions").status, 200);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    let denied = Job::new(stage.agent(), stage.path()).args(["read", "denied/secret"]).run();
    assert_eq!((denied.code(), denied.out().as_str()), (137, ""));
    drop(verdicts.until("the verdict", |event| event["verdict"]["action"] == "deny"));
    let grown = memory().saturating_sub(before);
    println!("8 stalled readers: {} KiB more", grown >> 10);
    assert!(grown < 64 << 20, "{grown} bytes");
    fs::write(stage.path().join("stop"), "").expect("written");
    let done = spinning.wait();
    assert_eq!(done.code(), 0, "{}", done.err());

    drop((stalled, stream));
    until("nobody stalled follows any more", || api.json("/v1/status")["machine"]["clients"]["streams"] == 1);
    let Guarded { done, .. } = daemon.stop();
    assert_eq!(done.code(), 0, "{}", done.err());
}

/// Lets this process have as many descriptors as the test takes.
fn many_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(4096), hard.max(4096)).expect("root may raise it");
}

/// The calling thread becomes another user for what follows in it; other threads stay who they are.
fn become_nobody() {
    // SAFETY: numbers only. The plain system call changes this thread alone, and every thread of this kind ends with its test.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_thousand_idle_clients_take_little_and_no_others_place() {
    many_descriptors();
    let stage = Stage::new("clients");
    let daemon = stage.guard("").daemon();
    let api = api(&daemon);
    let memory = || api.json("/v1/status")["machine"]["daemon"]["memory_bytes"].as_u64().expect("a number");
    let connections = || api.json("/v1/status")["machine"]["clients"]["connections"].as_u64().expect("a number");
    let before = memory();

    // One user can't have all.
    let other = api.clone();
    let by_nobody = std::thread::spawn(move || {
        become_nobody();
        let held: Vec<UnixStream> = (0..128).map(|_| other.connect()).collect();
        let refused = other.get("/v1/status").refused(503);
        assert!(refused.contains("128 clients of uid 65534"), "{refused}");
        held
    })
    .join()
    .expect("as nobody");
    assert_eq!(api.get("/v1/status").status, 200);
    drop(by_nobody);
    until("they are gone", || connections() == 1);

    let began = Instant::now();
    let idle: Vec<UnixStream> = (0..1000).map(|_| api.connect()).collect();
    // Some have begun to say something.
    for mut stream in idle.iter().step_by(3) {
        stream.write_all(b"GET /v1/status HTT").expect("sent");
    }
    if began.elapsed() < Duration::from_secs(5) {
        assert!(connections() > 900, "{}", connections());
        let grown = memory().saturating_sub(before);
        println!("1,000 idle clients: {} KiB more", grown >> 10);
        assert!(grown < 48 << 20, "{grown} bytes");
        let more: Vec<UnixStream> = (0..24).map(|_| api.connect()).collect();
        let refused = api.get("/v1/status");
        // Slow machines have seen the first of them go by now.
        assert!(refused.status == 200 || refused.refused(503).contains("as many as can"), "{refused:?}");
        drop(more);
    }
    // Who says nothing is not kept.
    let deadline = Instant::now() + Duration::from_mins(1);
    for mut stream in idle {
        stream
            .set_read_timeout(Some(deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))))
            .expect("a limit");
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest) {
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("it is not closed: {error}"),
            _ => {}
        }
        assert!(
            rest.is_empty() || rest.starts_with(b"HTTP/1.1 408") || rest.starts_with(b"HTTP/1.1 503"),
            "{rest:?}"
        );
    }
    until("all are gone", || connections() == 1);
    let status = api.json("/v1/status");
    assert!(status["machine"]["clients"]["refused"].as_u64().is_some_and(|refused| refused >= 1), "{status}");
}

#[test]
fn nonsense_is_answered_and_harms_nobody() {
    let stage = Stage::new("clients");
    let daemon = stage.guard("").daemon();
    let api = api(&daemon);
    let long = "x".repeat(64 << 10);
    for said in [
        "\r\n\r\n\r\n".to_owned(),
        "nonsense\r\n\r\n".to_owned(),
        "\0\u{1}\u{2}\u{3}\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        "GET /v1/status HTTP/9.9\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        format!("GET /{long} HTTP/1.1\r\nHost: guard\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nX: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000)),
        "POST /v1/policy HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_owned(),
        "POST /v1/policy HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx".to_owned(),
        "POST /v1/policy HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(),
    ] {
        let answer = api.raw(said.as_bytes());
        assert!(answer.status == 0 || (400..600).contains(&answer.status), "{answer:?}");
    }
    for (method, path, body, status) in [
        ("GET", "/", "", 404),
        ("GET", "/v1", "", 404),
        ("GET", "/v1/../../etc/passwd", "", 404),
        ("GET", "/v1/sessions/%00%ff", "", 400),
        ("POST", "/v1/status", "", 405),
        ("POST", "/v1/phase", "", 400),
        ("POST", "/v1/phase", "{", 400),
        ("POST", "/v1/phase", "[]", 400),
        ("POST", "/v1/phase", r#"{"session":1,"phase":2}"#, 400),
        ("POST", "/v1/sessions/0000000000000001/kill", "null and void", 400),
        ("PUT", "/v1/policy", "\u{1}", 422),
    ] {
        let answer = api.send(method, path, body);
        assert_eq!(answer.status, status, "{method} {path} {body}: {answer:?}");
    }
    let raw = |head: &str, body: &[u8]| {
        let head = format!("{head} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        api.raw(&[head.as_bytes(), body].concat())
    };
    assert!(raw("PUT /v1/policy", b"a = \"\xff\"").refused(400).contains("not UTF-8 text from byte 5"));
    assert!(raw("PUT /v1/policy", &vec![b'#'; 2 << 20]).refused(413).contains("1048576 bytes"));
    assert!(raw("POST /v1/phase", &vec![b' '; 64 << 10]).refused(413).contains("16384 bytes"));
    // A body that is announced and never comes; meanwhile others are served.
    let mut slow = api.connect();
    slow.write_all(b"PUT /v1/policy HTTP/1.1\r\nConnection: close\r\nContent-Length: 100\r\n\r\nversion")
        .expect("sent");
    assert_eq!(api.send("POST", "/v1/policy", "version = 1").status, 200);
    assert!(answer(&mut slow).refused(408).contains("did not arrive"));

    let status = api.json("/v1/status");
    assert_eq!(status["policy"]["generation"], 1, "{status}");
    let Guarded { done, events } = daemon.stop();
    assert_eq!(done.code(), 0, "{}", done.err());
    events.none_lost();
}
