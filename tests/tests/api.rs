//! The control API: what the daemon says of itself and of its sessions, and what it can be told.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::api::Api;
use support::guard::{Daemon, Guard, Guarded, Socket};
use support::run::{Job, Running};
use support::stage::{FINE, SECRET, Stage, text, until};

fn api(daemon: &Daemon) -> Api {
    Api::at(daemon.socket())
}

/// An agent that runs until the file `stop` is there.
fn running(stage: &Stage, words: &[&str]) -> Running {
    Job::new(stage.agent(), stage.path()).args(words).start()
}

/// The only session, once there is one.
fn session(api: &Api) -> Value {
    let one =
        || api.json("/v1/sessions")["sessions"].as_array().filter(|all| all.len() == 1).map(|all| all[0].clone());
    until("there is a session", || one().is_some());
    one().expect("a session")
}

fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {pointer} in {value}"))
}

const PHASES: &str = r#"
    [[phase]]
    name = "setup"
    [[phase]]
    name = "work"
    marker = ["nothing begins it"]
    [[phase]]
    name = "review"
    [[rule]]
    name = "frozen"
    on = ["read"]
    path = ["{stage}/allowed/**"]
    phase = "review"
    action = "deny"
"#;

/// Every answer is what the description says, and the description says everything.
#[test]
fn answers_are_as_described() {
    let stage = Stage::new("api");
    let daemon = stage.guard(PHASES).daemon();
    let api = api(&daemon);
    let agent = running(&stage, &["in", "fork", "after", "stop", "read", "allowed/fine"]);
    until("both processes are there", || session(&api)["processes"] == 2);
    let id = text(&session(&api), "/id").to_owned();

    let description = api.json("/v1/openapi.json");
    let valid = |schema: &Value, answer: &Value| {
        let mut whole = schema.clone();
        whole["components"] = description["components"].clone();
        let validator = jsonschema::validator_for(&whole).expect("a schema");
        let wrong: Vec<String> = validator.iter_errors(answer).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{schema}: {wrong:?} in {answer}");
    };
    let paths = description["paths"].as_object().expect("paths");
    let wanted = [
        "/metrics",
        "/v1/doctor",
        "/v1/events",
        "/v1/phase",
        "/v1/policy",
        "/v1/policy/reload",
        "/v1/sessions",
        "/v1/sessions/{id}",
        "/v1/sessions/{id}/kill",
        "/v1/sessions/{id}/mode",
        "/v1/status",
    ];
    assert_eq!(paths.keys().map(String::as_str).collect::<Vec<_>>(), wanted);
    for (path, methods) in paths {
        let real = path.replace("{id}", &id);
        // The stream has no end.
        if methods.get("get").is_some() && path != "/v1/events" {
            let answer = api.get(&real);
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            let schema = &methods["get"]["responses"]["200"]["content"]["application/json"]["schema"];
            if path != "/metrics" {
                valid(schema, &answer.json());
            }
        }
        // What isn't described isn't there.
        let answer = api.send("DELETE", &real, "");
        assert!(answer.refused(405).contains("DELETE"), "{answer:?}");
        valid(&json!({"$ref": "#/components/schemas/Refusal"}), &answer.json());
    }

    let status = api.json("/v1/status");
    assert_eq!(number(&status, "/pid"), u64::from(daemon.pid()), "{status}");
    assert_eq!((text(&status, "/mode"), text(&status, "/access")), ("enforce", "all"), "{status}");
    assert_eq!(status["policy"]["agents"], json!(["tester"]), "{status}");
    assert_eq!(number(&status, "/policy/rules"), 2, "{status}");
    assert_eq!(number(&status, "/machine/sessions"), 1, "{status}");
    assert_eq!(number(&status, "/machine/processes"), 2, "{status}");
    assert!(number(&status, "/machine/daemon/memory_bytes") > 1 << 20, "{status}");
    assert!(status["machine"]["programs"].as_array().is_some_and(|programs| programs.len() >= 8), "{status}");
    assert!(status["protection"].as_array().is_some_and(|all| all.iter().any(|one| one["op"] == "read")), "{status}");

    fs::write(stage.path().join("stop"), "").expect("written");
    assert_eq!(agent.wait().out(), FINE);
    until("it is over", || api.json("/v1/sessions")["sessions"] == json!([]));
}

#[test]
fn a_session_is_shown_with_what_it_did() {
    let stage = Stage::new("api");
    let daemon = stage.guard("").daemon();
    let api = api(&daemon);
    let script = "cat allowed/fine > /dev/null; cat denied/secret; (exec sleep 300) & while [ ! -e stop ]; do sleep 0.1; done; kill $!";
    let agent = running(&stage, &["in", "fork", "exec", "/bin/sh", "-c", script]);
    until("it was stopped", || session(&api)["verdicts"]["deny"] == 1);
    let one = session(&api);
    assert_eq!((text(&one, "/agent"), text(&one, "/mode"), text(&one, "/worst")), ("tester", "enforce", "deny"));
    assert_eq!(one["pid"], agent.pid(), "{one}");
    assert_eq!(one["uid"], 0, "{one}");
    assert_eq!(text(&one, "/user"), "root", "{one}");
    assert!(stage.path().starts_with(text(&one, "/repo")), "{one}");
    assert!(number(&one, "/ops/read") >= 2 && number(&one, "/ops/exec") >= 3, "{one}");
    assert_eq!(one["over"], false, "{one}");

    let detail = || api.json(&format!("/v1/sessions/{}", text(&one, "/id")));
    until("the sleeper sleeps", || detail().to_string().contains(r#"["sleep","300"]"#));
    let detail = detail();
    let processes = detail["processes"].as_array().expect("processes");
    let first = &processes[0];
    assert_eq!((&first["pid"], &first["agent"]), (&json!(agent.pid()), &json!(true)), "{detail}");
    let shell = processes.iter().find(|process| process["argv"][0] == "/bin/sh").expect("the shell");
    assert_eq!(shell["ppid"], agent.pid(), "{detail}");
    let sleeper = processes.iter().find(|process| process["argv"] == json!(["sleep", "300"])).expect("the sleeper");
    assert_eq!((&sleeper["ppid"], &sleeper["call"]), (&shell["pid"], &shell["call"]), "{detail}");
    let call = detail["calls"].as_array().expect("calls").iter().find(|call| call["id"] == shell["call"]);
    assert!(call.is_some_and(|call| number(call, "/processes") >= 2), "{detail}");

    assert!(api.get("/v1/sessions/0000000000000001").refused(404).contains("no session"));
    for nonsense in ["x", "00", "..%2f..", "00000000000000001", "+000000000000001"] {
        assert!(api.get(&format!("/v1/sessions/{nonsense}")).refused(400).contains("16 hexadecimal"), "{nonsense}");
    }
    fs::write(stage.path().join("stop"), "").expect("written");
    drop(agent.wait());
}

#[test]
fn a_call_and_a_session_are_ended() {
    let stage = Stage::new("api");
    // A shell is the agent: it can have several calls at once, each with a process that has left it in every other way.
    let shell = stage.path().join("shell");
    fs::copy("/bin/bash", &shell).expect("copied");
    let daemon = Guard::new(stage.scratch(), &stage.policy("").replace("/agent\"]", "/shell\"]")).daemon();
    let api = api(&daemon);
    let calls = "for call in call_1 call_2; do \
        CODEX_TOOL_CALL_ID=$call CODEX_SESSION_ID=s sh -c 'setsid sleep 300 & sleep 300; true' & done; wait";
    let agent = Job::new(&shell, stage.path()).args(["-c", calls]).start();
    let sizes = || -> Option<(u64, u64)> {
        let id = text(&session(&api), "/id").to_owned();
        let detail = api.json(&format!("/v1/sessions/{id}"));
        let of = |label: &str| {
            detail["calls"].as_array()?.iter().find(|call| call["label"] == label)?["processes"].as_u64()
        };
        Some((of("call_1")?, of("call_2")?))
    };
    until("both calls run", || sizes() == Some((3, 3)) && session(&api)["calls"] == 2);
    let one = session(&api);
    assert_eq!((&one["calls"], &one["agent_sessions"]), (&json!(2), &json!(["s"])), "{one}");
    let kill = format!("/v1/sessions/{}/kill", text(&one, "/id"));

    assert!(api.send("POST", &kill, r#"{"call":"call_3"}"#).refused(404).contains("no call `call_3`"));
    assert!(api.send("POST", &kill, r#"{"kall":"call_1"}"#).refused(400).contains("kall"));
    assert_eq!(sizes(), Some((3, 3)));
    let events = api.follow("?op=control");
    let killed = api.send("POST", &kill, r#"{"call":"call_1"}"#);
    assert_eq!((killed.status, killed.json()), (200, json!({"processes": 3})), "{killed:?}");
    until("only the one is ended", || sizes() == Some((0, 3)));

    let killed = api.send("POST", &kill, "");
    assert_eq!(killed.status, 200, "{killed:?}");
    assert!(number(&killed.json(), "/processes") >= 4, "{killed:?}");
    assert_eq!(agent.wait().code(), 137);
    until("it is over", || api.json("/v1/sessions")["sessions"] == json!([]));
    assert!(api.send("POST", &kill, "").refused(404).contains("no session"));

    let told = events.until("both", |event| number(event, "/count") >= 4);
    assert_eq!(told.len(), 2, "{told:?}");
    for event in &told {
        assert_eq!((&event["op"], &event["kind"], &event["tree"]), (&json!("control"), &json!("kill"), &one["id"]));
        assert_eq!((&event["process"]["pid"], &event["process"]["uid"]), (&json!(std::process::id()), &json!(0)));
    }
}

/// What is followed is the record, line for line.
#[test]
fn events_are_the_records_lines() {
    let stage = Stage::new("api");
    let daemon = stage.guard("").daemon();
    let api = api(&daemon);
    let (all, strict) = (api.follow(""), api.follow("?allowed=false"));
    let denied = api.follow("?op=read,write&action=deny");
    for file in ["allowed/fine", "denied/secret"] {
        drop(Job::new(stage.agent(), stage.path()).args(["in", "fork", "read", file]).run());
    }
    let over = |events: &[Value]| events.iter().filter(|event| event["op"] == "session-end").count() == 2;
    until("all is told", || {
        let parse = |line: &String| serde_json::from_str(line).expect("JSON");
        over(&all.lines().iter().map(parse).collect::<Vec<_>>())
            && over(&strict.lines().iter().map(parse).collect::<Vec<_>>())
    });
    let status = api.json("/v1/status");
    assert_eq!(number(&status, "/machine/clients/streams"), 3, "{status}");
    let (strict, denied) = (strict.lines(), denied.lines());
    // The bulk may come a moment later.
    let Guarded { done, events } = daemon.stop();
    assert_eq!(done.code(), 0, "{}", done.err());
    let mut followed = all.lines();
    let mut recorded: Vec<String> = fs::read_dir(stage.path())
        .expect("a folder")
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "jsonl"))
        .flat_map(|entry| {
            fs::read_to_string(entry.path()).expect("readable").lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(recorded.len(), events.0.len());
    followed.sort_unstable();
    recorded.sort_unstable();
    assert_eq!(followed, recorded);
    let chosen = |choose: &dyn Fn(&Value) -> bool| -> Vec<String> {
        let mut lines = recorded.clone();
        lines.retain(|line| choose(&serde_json::from_str(line).expect("JSON")));
        lines
    };
    let sorted = |mut lines: Vec<String>| {
        lines.sort_unstable();
        lines
    };
    assert_eq!(sorted(strict), chosen(&|event| event["verdict"]["action"] != "allow"));
    assert_eq!(sorted(denied), chosen(&|event| event["verdict"]["action"] == "deny"));
}

/// Who wants numbers is told as many operations as who wants each, and of the same things.
#[test]
fn allowed_operations_are_counted() {
    let stage = Stage::new("api");
    let daemon = stage.guard("").daemon();
    let api = api(&daemon);
    let (each, counted) = (api.follow(""), api.follow("?allowed=counted"));
    let script =
        "n=0; while [ $n -lt 300 ]; do read line < allowed/fine; n=$((n+1)); done; cat denied/secret; exit 0";
    let done = Job::new(stage.agent(), stage.path()).args(["in", "fork", "exec", "/bin/sh", "-c", script]).run();
    assert_eq!(done.code(), 0, "{}", done.err());
    let over = |event: &Value| event["op"] == "session-end";
    drop(each.until("the end", over));
    drop(counted.until("the end", over));
    let lines = |following: &support::api::Following| -> Vec<Value> {
        following.lines().iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    // By operation, process and object.
    let key = |event: &Value, of: &Value| {
        format!("{} {} {} {} {}", of["op"], event["process"]["pid"], of["path"], of["addr"], event["process"]["exe"])
    };
    let is_counted = |event: &&Value| {
        event["verdict"]["action"] == "allow" && event["op"] != "exec" && event["op"] != "session-start"
    };
    let told = |events: &[Value]| {
        let mut told = std::collections::BTreeMap::<String, u64>::new();
        for event in events.iter().filter(is_counted) {
            *told.entry(key(event, event)).or_default() += 1;
        }
        told
    };
    let numbers = |events: &[Value]| {
        let mut numbers = std::collections::BTreeMap::<String, u64>::new();
        for event in events.iter().filter(|event| event["op"] == "counted") {
            let counts = event["counts"].as_array().expect("counts");
            assert_eq!(
                number(event, "/count"),
                counts.iter().map(|one| number(one, "/count")).sum::<u64>(),
                "{event}"
            );
            for one in counts {
                *numbers.entry(key(event, one)).or_default() += number(one, "/count");
            }
        }
        numbers
    };
    until("all is told", || {
        told(&lines(&each)).values().sum::<u64>() > 300 && told(&lines(&each)) == numbers(&lines(&counted))
    });
    let (each, counted) = (lines(&each), lines(&counted));
    assert!(counted.iter().filter(is_counted).count() == 0, "{counted:?}");
    assert!(counted.len() < each.len() / 4, "{} of {}", counted.len(), each.len());
    // The rest is the same, execs each.
    let rest = |events: &[Value], leave: &dyn Fn(&&Value) -> bool| {
        let mut rest: Vec<String> = events.iter().filter(|event| !leave(event)).map(Value::to_string).collect();
        rest.sort();
        rest
    };
    assert_eq!(rest(&each, &is_counted), rest(&counted, &|event| event["op"] == "counted"));
}

#[test]
fn events_are_chosen_by_words_that_there_are() {
    let stage = Stage::new("api");
    let daemon = stage.guard("").daemon();
    let api = api(&daemon);
    for (query, why) in [
        ("?op=reed", "there is no operation `reed`"),
        ("?action=stop", "there is no verdict `stop`"),
        ("?session=1", "16 hexadecimal"),
        ("?allowed=maybe", "allowed"),
        ("?allowed=counted&op=read", "neither op nor action"),
        ("?colour=red", "unknown field `colour`"),
    ] {
        let refused = api.get(&format!("/v1/events{query}")).refused(400);
        assert!(refused.contains(why), "{query}: {refused}");
    }
}

/// Phases go forward, by name, for one session.
#[test]
fn a_phase_is_begun() {
    let stage = Stage::new("api");
    let daemon = stage.guard(PHASES).daemon();
    let api = api(&daemon);
    let script = "while [ ! -e go ]; do sleep 0.05; done; cat allowed/fine";
    let agent = running(&stage, &["in", "fork", "exec", "/bin/sh", "-c", script]);
    let id = text(&session(&api), "/id").to_owned();
    assert_eq!(
        api.json("/v1/phase"),
        json!({"phases": ["setup", "work", "review"], "sessions": {id.as_str(): "setup"}})
    );
    let go = |phase: &str| api.send("POST", "/v1/phase", &json!({"session": id, "phase": phase}).to_string());
    assert!(go("lunch").refused(404).contains("setup, work, review"));
    assert!(go("setup").refused(409).contains("only go forward"));
    assert_eq!(go("review").status, 200);
    assert_eq!(text(&session(&api), "/phase"), "review");
    assert!(go("work").refused(409).contains("`review` already"));
    fs::write(stage.path().join("go"), "").expect("written");
    assert_eq!(agent.wait().out(), "", "the phase's rule holds");
    let other = r#"{"session":"0000000000000001","phase":"work"}"#;
    assert!(api.send("POST", "/v1/phase", other).refused(404).contains("no session"));
    let Guarded { events, .. } = daemon.stop();
    let phases: Vec<&str> = events.op("phase").map(|event| text(event, "/phase")).collect();
    assert_eq!(phases, ["review"], "{events}");
    assert_eq!(events.rule("frozen").count(), 1, "{events}");
}

/// A policy is checked, put in force whole, or refused with its place; and the file's comes back at a reload.
#[test]
fn a_policy_is_replaced_or_stays() {
    let stage = Stage::new("api");
    let daemon = stage.guard("").daemon();
    let api = api(&daemon);
    let read = |file: &str| Job::new(stage.agent(), stage.path()).args(["read", file]).run().out();
    let swapped = stage.policy("").replace("/denied/**", "/allowed/**").replace("\"secrets\"", "\"swapped\"");
    let bad = stage.policy("").replace("action = \"deny\"", "action = \"denny\"");

    let checked = api.send("POST", "/v1/policy", &swapped);
    assert_eq!((checked.status, &checked.json()["accepted"]), (200, &json!(true)), "{checked:?}");
    let checked = api.send("POST", "/v1/policy", &bad).json();
    assert_eq!(checked["accepted"], false, "{checked}");
    assert!(checked["findings"][0]["line"].as_u64().is_some_and(|line| line > 1), "{checked}");
    assert_eq!((read("denied/secret").as_str(), read("allowed/fine").as_str()), ("", FINE), "nothing has changed");

    let put = api.send("PUT", "/v1/policy", &swapped);
    assert_eq!((put.status, &put.json()["generation"]), (200, &json!(2)), "{put:?}");
    assert_eq!((read("denied/secret").as_str(), read("allowed/fine").as_str()), (SECRET, ""));
    let now = api.json("/v1/policy");
    assert_eq!((text(&now, "/text"), number(&now, "/policy/generation")), (swapped.as_str(), 2));
    assert_eq!(text(&now, "/policy/origin"), "the control API (uid 0)");

    for (wrong, status, why) in
        [(bad.as_str(), 422, "denny"), ("not toml at all", 422, "1:"), ("version = 1\n", 422, "names no agent")]
    {
        let refused = api.send("PUT", "/v1/policy", wrong);
        assert_eq!(refused.status, status, "{refused:?}");
        assert!(text(&refused.json(), "/text").contains(why), "{refused:?}");
        assert_eq!((read("denied/secret").as_str(), read("allowed/fine").as_str()), (SECRET, ""), "{wrong}");
    }
    until("failures are counted", || {
        let reloads = api.json("/v1/status")["machine"]["reloads"].clone();
        reloads["done"] == 1 && reloads["failed"] == 3 && text(&reloads, "/last_failure").contains("names no agent")
    });

    daemon.signal(Signal::SIGHUP);
    until("the file's policy is back", || api.json("/v1/policy")["text"] == json!(stage.policy("")));
    assert_eq!((read("denied/secret").as_str(), read("allowed/fine").as_str()), ("", FINE));
    assert!(api.json("/v1/status")["machine"]["reloads"].get("last_failure").is_none());
    let Guarded { done, events } = daemon.stop();
    assert_eq!(done.err().matches("refused; the policy that was in force stays").count(), 3, "{}", done.err());
    assert_eq!(events.op("control").filter(|event| event["kind"] == "policy").count(), 1, "{events}");
}

/// As `reload.rs` has it for the file: while policies are replaced, no open is decided by a mixture or by none.
#[test]
fn a_hundred_policies_under_load() {
    const POLICIES: usize = 100;
    let stage = Stage::new("api");
    let rule = |name: &str, body: &str| format!("[[rule]]\nname = \"{name}\"\non = [\"read\"]\n{body}\n");
    let fine = rule("fine", "path = [\"{stage}/allowed/**\"]\nby = [\"{stage}/agent\"]\naction = \"allow\"");
    let system = "[[rule]]\nname = \"system\"\non = [\"read\", \"write\"]\n\
        path = [\"/{usr,lib,lib64,etc,proc,dev,sys}/**\", \"{stage}/agent\", \"{stage}/stop\"]\naction = \"allow\"\n";
    let never = |name: &str| rule(name, &format!("path = [\"/{name}/**\"]\nby = [\"/{name}/x\"]\naction = \"deny\""));
    let policy = |rules: &[&str]| stage.policy(&format!("[default]\nread = \"deny\"\n\n{}", rules.join("\n")));
    let policies = [
        policy(&[&fine, &never("one"), system, &never("two")]),
        policy(&[&never("three"), &never("one"), &fine, system]),
    ];
    let daemon = Guard::new(stage.scratch(), &policies[0]).unrecorded().daemon();
    let api = api(&daemon);
    let jobs: Vec<_> = (0..4).map(|_| running(&stage, &["spin", "stop", "allowed/fine"])).collect();
    let execs = running(&stage, &["each", "400", "read", "allowed/fine"]);
    for number in 0..POLICIES {
        let put = api.send("PUT", "/v1/policy", &policies[(number + 1) % 2]);
        assert_eq!(put.status, 200, "{number}: {put:?}");
        // And now and then one that is refused.
        if number % 10 == 0 {
            assert_eq!(api.send("PUT", "/v1/policy", "version = 1\nnonsense = 1\n").status, 422);
        }
    }
    fs::write(stage.path().join("stop"), "").expect("written");
    for job in jobs {
        let done = job.wait();
        assert_eq!(done.code(), 0, "an open was denied: {}\n{}", done.err(), daemon.stderr());
    }
    let done = execs.wait();
    assert!(done.err().contains(r#"{"done":400,"refused":0,"killed":0,"else":0}"#), "{}", done.err());
    let reloads = api.json("/v1/status")["machine"]["reloads"].clone();
    assert_eq!((number(&reloads, "/done"), number(&reloads, "/failed")), (POLICIES as u64, POLICIES as u64 / 10));
    let Guarded { done, .. } = daemon.stop();
    assert!(done.err().contains("nothing to object to"), "{}", done.err());
}

/// One daemon at a place: a live one is not disturbed, a dead one's socket is replaced.
#[test]
fn the_socket_is_one_daemons() {
    let stage = Stage::new("api");
    let guard = stage.guard("");
    let daemon = guard.daemon();
    let second = stage.guard("").start_daemon(daemon.socket()).wait();
    assert_eq!(second.code(), 125, "{}", second.err());
    assert!(second.err().contains(&format!("process {}", daemon.pid())), "{}", second.err());
    assert_eq!(api(&daemon).get("/v1/status").status, 200);

    let socket = Socket::new();
    let killed = guard.start_daemon(socket.path());
    until("it serves", || std::os::unix::net::UnixStream::connect(socket.path()).is_ok());
    killed.signal(Signal::SIGKILL);
    assert_eq!(killed.wait().code(), 137);
    assert!(socket.path().exists());
    let next = guard.start_daemon(socket.path());
    until("it serves again", || next.stderr().contains("guarding"));
    assert_eq!(Api::at(socket.path()).get("/v1/status").status, 200);
    next.signal(Signal::SIGTERM);
    assert_eq!(next.wait().code(), 0);
    assert!(!socket.path().exists(), "it leaves nothing");

    fs::write(socket.path(), "a file").expect("written");
    let refused = guard.start_daemon(socket.path()).wait();
    assert!(refused.err().contains("is no socket"), "{}", refused.err());
    assert_eq!(fs::read_to_string(socket.path()).expect("readable"), "a file");
    let refused = guard.start_daemon(Path::new("/proc/guard/guard.sock")).wait();
    assert!(refused.err().contains("--socket names another place"), "{}", refused.err());
    let refused = stage.guard("").flag("--group").flag("no-such-group").start_daemon(&stage.path().join("s")).wait();
    assert!(refused.err().contains("groupadd"), "{}", refused.err());
    drop(daemon);
}
