//! What comes from the network is not run unread: `curl | sh`, in whichever order its two ends get ready.

use support::guard::{Events, Guard, Guarded};
use support::http::{Response, Server};
use support::run::Job;
use support::stage::{Stage, text};

const RULES: &str = r#"
    [[rule]]
    name = "pipe-to-shell"
    on = ["exec"]
    path = ["**/{sh,bash,dash}"]
    stdin = "network"
    action = "deny"
    reason = "Download it, look at it, then run it."
"#;

/// A server whose only file is a script that leaves a mark.
fn server(stage: &Stage) -> Server {
    let script = format!("touch {}\n", stage.path().join("ran").display());
    Server::start(0, move |_| Response::ok("text/x-shellscript", script.clone())).expect("a server")
}

/// Runs a script under guard that finds the server's URL in `$url`.
fn run(stage: &Stage, guard: &Guard, script: &str) -> Guarded {
    let server = server(stage);
    // Only the test's own server is asked, by whatever way the machine would otherwise go.
    let job = Job::new("bash", stage.path()).args(["-c", script]).env("url", format!("http://{}/x", server.addr()));
    let job = job.env("no_proxy", "*").env("stage", stage.path());
    let guarded = guard.run(&job);
    guarded.events.none_lost();
    guarded
}

fn ran(stage: &Stage) -> bool {
    stage.path().join("ran").exists()
}

/// The script is not run, and the event is about one or the other end of the pipe.
fn stopped(script: &str) -> Events {
    let stage = Stage::new("pipe");
    let Guarded { done, events } = run(&stage, &stage.guard(RULES), script);
    assert!(!ran(&stage), "{script}: it ran\n{}\n{events}", done.err());
    let event = events.rule("pipe-to-shell").next().unwrap_or_else(|| panic!("{script}: nothing told\n{events}"));
    assert_eq!((text(event, "/verdict/action"), &event["verdict"]["enforced"]), ("deny", &true.into()), "{event}");
    assert_eq!(text(event, "/verdict/reason"), "Download it, look at it, then run it.", "{event}");
    events
}

/// The script is run, and nobody minds.
fn fine(script: &str) {
    let stage = Stage::new("pipe");
    let Guarded { done, events } = run(&stage, &stage.guard(RULES), script);
    assert!(ran(&stage), "{script}: it did not run\n{}\n{events}", done.err());
    assert_eq!(events.denials().count(), 0, "{script}: {events}");
}

#[test]
fn curl_into_a_shell() {
    for script in
        ["curl -sS $url | sh", "curl -sS $url | bash", "curl -sS $url | bash -s -- --yes", "curl -sS $url | env sh"]
    {
        stopped(script);
    }
}

/// The shell is started when the other end has connected already.
#[test]
fn the_shell_comes_last() {
    let events = stopped("{ curl -sS $url; } | { sleep 0.5; exec sh; }");
    let event = events.rule("pipe-to-shell").next().expect("an event");
    assert_eq!(text(event, "/op"), "exec", "the shell was stopped: {event}");
    assert!(text(event, "/path").ends_with("sh"), "{event}");
}

/// The shell waits already when the other end connects: then that end is stopped.
#[test]
fn the_shell_comes_first() {
    let events = stopped("{ sleep 0.5; exec curl -sS $url; } | sh");
    let event = events.rule("pipe-to-shell").next().expect("an event");
    assert_eq!(text(event, "/op"), "connect", "the download was stopped: {event}");
    assert!(text(event, "/process/exe").ends_with("/curl"), "{event}");
}

#[test]
fn python_into_a_shell() {
    let download =
        "import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1]).read().decode())";
    stopped(&format!("/usr/bin/python3 -c '{download}' $url | bash"));
    stopped(&format!("{{ /usr/bin/python3 -c '{download}' $url; }} | {{ sleep 0.5; exec sh; }}"));
}

/// bash's own network needs no program at all.
#[test]
fn the_shell_itself_into_a_shell() {
    let talk = r"hostport=${url#http://}; exec 5<>/dev/tcp/${hostport%%:*}/$(echo ${hostport##*:} | cut -d/ -f1); printf 'GET /x HTTP/1.0\r\n\r\n' >&5; sed '1,/^\r$/d' <&5";
    stopped(&format!("{{ {talk}; }} | {{ sleep 0.5; exec sh; }}"));
}

/// What stands between passes it on, whoever is started when.
#[test]
fn through_other_programs() {
    for script in [
        "curl -sS $url | cat | sh",
        "curl -sS $url | sed s/x/x/ | tee copy | bash",
        "curl -sS $url | { sleep 0.3; exec cat; } | { sleep 0.6; exec sh; }",
        "{ sleep 0.3; exec curl -sS $url; } | cat | cat | sh",
        "{ sleep 0.3; exec curl -sS $url; } | { sleep 0.6; exec cat; } | sh",
    ] {
        stopped(script);
    }
}

#[test]
fn with_more_rights() {
    stopped("wget -qO- $url | sudo sh");
    stopped("{ sleep 0.5; exec wget -qO- $url; } | sudo sh");
}

/// The script is named on the command line, but it is a pipe all the same.
#[test]
fn as_a_file_that_is_a_pipe() {
    stopped("bash <(curl -sS $url)");
    stopped("bash <(sleep 0.5; exec curl -sS $url)");
    stopped("bash -x -- <(curl -sS $url | cat) --yes");
    stopped("curl -sS $url | bash /dev/stdin");
    stopped("curl -sS $url | bash /proc/self/fd/0");
}

/// A program that has downloaded something and starts a shell to read it.
#[test]
fn from_the_program_that_starts_the_shell() {
    let python = |script: &str| format!("/usr/bin/python3 -c '{script}' $url");
    let get = "import sys, subprocess, urllib.request as r; get = lambda: r.urlopen(sys.argv[1]).read()";
    stopped(&python(&format!("{get}; subprocess.run([\"sh\"], input=get())")));
    stopped(&python(&format!("{get}; subprocess.run(\"env sh\", shell=True, input=get())")));
    stopped(&python(&format!(
        "{get}; s = subprocess.Popen([\"sh\"], stdin=subprocess.PIPE); import time; time.sleep(0.5); s.communicate(get())"
    )));
    let node = r#"node -e "
        require('http').get(process.argv[1], got => got.pipe(
            require('child_process').spawn('sh', { stdio: ['pipe', 'inherit', 'inherit'] }).stdin))" $url"#;
    stopped(node);
}

/// The program that has downloaded something has written all of it, and closed the pipe, when the shell is executed.
#[test]
fn from_a_program_that_holds_the_pipe_no_more() {
    for child in [
        "os.close(w); time.sleep(0.3); os.dup2(r, 0); os.execvp(\"sh\", [\"sh\"])",
        "os.close(w); time.sleep(0.3); os.execvp(\"sh\", [\"sh\", f\"/dev/fd/{r}\"])",
    ] {
        stopped(&format!(
            "/usr/bin/python3 -c 'import os, sys, time, urllib.request as u; got = u.urlopen(sys.argv[1]).read(); \
             r, w = os.pipe(); os.set_inheritable(r, True); os.write(w, got); \
             p = os.fork()\nif p == 0: {child}\nos.close(w); os.waitpid(p, 0)' $url"
        ));
    }
}

/// The program that has downloaded something gets the pipe to a shell that waits only then.
#[test]
fn from_a_program_that_gets_the_pipe_later() {
    stopped("mkfifo fifo; { sh < fifo & }; sleep 0.3; curl -sS -o fifo $url; wait");
    stopped("mkfifo fifo; { { exec < fifo; sleep 0.3; sh; } & }; curl -sS -o fifo $url; wait");
    stopped(
        "/usr/bin/python3 -c 'import os, socket, sys, time, urllib.request as u; here, there = socket.socketpair()\n\
         if os.fork() == 0:\n r, w = os.pipe(); os.set_inheritable(r, True); socket.send_fds(here, [b\"x\"], [w]); \
         os.close(w); os.dup2(r, 0); os.execvp(\"sh\", [\"sh\"])\n\
         time.sleep(0.5); got = u.urlopen(sys.argv[1]).read(); w = socket.recv_fds(there, 1, 1)[1][0]; os.pipe(); \
         os.write(w, got); os.close(w); os.wait()' $url",
    );
}

/// A connection is a way in by itself.
#[test]
fn from_a_connection() {
    stopped(
        r"hostport=${url#http://}; exec 5<>/dev/tcp/${hostport%%:*}/$(echo ${hostport##*:} | cut -d/ -f1); \
          printf 'GET /x HTTP/1.0\r\n\r\n' >&5; sh <&5",
    );
}

#[test]
fn local_data_into_a_shell_is_fine() {
    fine("bash <(echo \"touch $stage/ran\")");
    fine("echo \"touch $stage/ran\" | cat | sed s/x/x/ | bash");
    fine("echo \"touch $stage/ran\" | sudo sh");
    // A download before, into nothing that the shell reads.
    fine("curl -sS $url > /dev/null; echo \"touch $stage/ran\" | sh");
    fine("x=$(curl -sS $url | wc -c); echo \"touch $stage/ran\" | bash");
    fine(
        "/usr/bin/python3 -c 'import subprocess, sys; subprocess.run([\"sh\"], input=sys.argv[1].encode())' \"touch $stage/ran\"",
    );
    fine("echo \"touch $stage/ran\" > script; cat script | bash");
    fine("printf 'touch %s/ran' \"$stage\" | sh");
    fine("sh <<< \"touch $stage/ran\"");
}

/// A download into a file, a look, and then the file: that is what the rule asks for.
#[test]
fn a_download_that_is_run_as_a_file_is_fine() {
    fine("curl -sS -o script $url && cat script && sh script");
    fine("curl -sS $url > script; sh < script");
}

/// Data from the network may flow into what runs no orders.
#[test]
fn other_readers_are_fine() {
    fine("curl -sS $url | grep touch && touch $stage/ran");
    fine("curl -sS $url | sort | wc -l && touch $stage/ran");
}

/// The rule that we ship says the same, of what the model asked for.
#[test]
fn the_shipped_policy() {
    let stage = Stage::new("pipe");
    let policy = std::fs::read_to_string(support::guard::shipped()).expect("the policy");
    let agent = format!("[agent.tester]\nexe = [\"{}\"]\n\n[[rule]]", stage.agent().display());
    let policy = policy.replacen("[[rule]]", &agent, 1);
    let script = r#"./agent in fork exec /usr/bin/env CODEX_TOOL_CALL_ID=call_1 /bin/bash -c "$1 $url $2""#;
    for (before, after, runs) in [("curl -sS", "| sh", false), ("curl -sS -o s", "&& sh s", true)] {
        let server = server(&stage);
        let job = Job::new("bash", stage.path()).args(["-c", script, "bash", before, after]);
        let job = job.env("url", format!("http://{}/x", server.addr())).env("no_proxy", "*");
        let Guarded { done, events } = Guard::new(stage.scratch(), &policy).run(&job);
        assert_eq!(ran(&stage), runs, "{before} {after}: {}\n{events}", done.err());
        assert_eq!(events.rule("pipe-to-shell").count() > 0, !runs, "{events}");
    }
}
