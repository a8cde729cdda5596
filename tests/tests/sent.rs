//! How many bytes leave: what a session's TCP connections have brought to the other side.

use std::fs;
use std::io::{Read as _, copy, sink};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::api::Api;
use support::guard::Daemon;
use support::net::{alone, own_address};
use support::run::{Job, Running};
use support::stage::{Stage, until};

/// Where the other side is: an address that is not the loopback's.
const THERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// Takes whatever is sent to it in so many connections; how much that was.
fn taker(address: Ipv4Addr, connections: usize) -> (SocketAddr, JoinHandle<u64>) {
    let listener = TcpListener::bind((address, 0)).expect("a port");
    let at = listener.local_addr().expect("an address");
    let take = move || {
        let streams: Vec<_> = (0..connections)
            .map(|_| {
                let (mut stream, _) = listener.accept().expect("a connection");
                spawn(move || copy(&mut stream, &mut sink()).expect("its end"))
            })
            .collect();
        streams.into_iter().map(|stream| stream.join().expect("it ends")).sum()
    };
    (at, spawn(take))
}

/// A session that runs a Python program. What it is to wait for is a file beside.
fn session(stage: &Stage, program: &str, words: &[String]) -> Running {
    let program = format!(
        "import os, socket, sys, time\ndef wait(name):\n    while not os.path.exists(name): time.sleep(0.01)\n\
         def to(text):\n    host, port = text.rsplit(':', 1)\n    return host, int(port)\n{program}"
    );
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let front = ["in", "fork", "exec", "/usr/bin/python3", "-c", &program];
    Job::new(stage.agent(), stage.path()).args(front).args(words).start()
}

fn go(stage: &Stage, name: &str) {
    fs::write(stage.path().join(name), "").expect("written");
}

/// What the only session has sent.
fn bytes_out(api: &Api) -> Option<u64> {
    api.json("/v1/sessions")["sessions"].as_array()?.first()?["bytes_out"].as_u64()
}

fn metric(api: &Api) -> u64 {
    let body = api.get("/metrics").body;
    let line = body.lines().find_map(|line| line.strip_prefix("guard_sent_bytes_total ")).expect("the metric");
    line.parse().expect("a number")
}

fn api(daemon: &Daemon) -> Api {
    Api::at(daemon.socket())
}

/// What was measured so far is counted, and never more than there was to be; it is all, unless something was sent twice.
fn counts_on(api: &Api, due: u64) {
    let begun = Instant::now();
    while bytes_out(api) != Some(due) && begun.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(bytes_out(api).is_some_and(|sent| sent <= due), "{:?} of {due}", bytes_out(api));
}

/// By whichever call, by whichever process, from the first byte to the last.
#[test]
fn every_byte_is_counted_once_however_it_is_sent() {
    alone(|| {
        own_address(THERE);
        let stage = Stage::new("sent");
        let daemon = stage.guard("").daemon();
        let api = api(&daemon);
        let (at, taken) = taker(THERE, 4);
        fs::write(stage.path().join("large"), vec![7; 3_000_000]).expect("a file");
        let program = "s = socket.create_connection(to(sys.argv[1]))\ns.sendall(b'x' * 1000)\nwait('go')\n\
            os.write(s.fileno(), b'y' * 234)\nf = open('large', 'rb')\nn = 0\nwhile n < 3000000: n += os.sendfile(s.fileno(), f.fileno(), n, 3000000 - n)\n\
            wait('child')\nif os.fork() == 0:\n    c = socket.create_connection(to(sys.argv[1]))\n    c.sendall(b'z' * 50000)\n    c.close()\n    os._exit(0)\n\
            os.wait()\nwait('close')\ns.shutdown(socket.SHUT_WR)\ns.recv(1)\n\
            one = socket.create_connection(to(sys.argv[1]))\none.sendall(b'1')\none.close()\n\
            none = socket.create_connection(to(sys.argv[1]))\nnone.close()\nwait('end')";
        let running = session(&stage, program, &[at.to_string()]);
        // While the connection is open.
        counts_on(&api, 1000);
        go(&stage, "go");
        counts_on(&api, 3_001_234);
        go(&stage, "child");
        counts_on(&api, 3_051_234);
        go(&stage, "close");
        until("the last is counted", || bytes_out(&api) == Some(3_051_235));
        assert_eq!(taken.join().expect("it ends"), 3_051_235);
        // The ends of connections are no bytes.
        assert_eq!((bytes_out(&api), metric(&api)), (Some(3_051_235), 3_051_235));
        go(&stage, "end");
        assert_eq!(running.wait().code(), 0);
        until("it is over", || bytes_out(&api).is_none());
        assert_eq!(metric(&api), 3_051_235, "sessions that are over count");
        let status = api.json("/v1/status");
        assert_eq!(status["machine"]["bytes_out"], 3_051_235, "{status}");
        assert_eq!(status["machine"]["lost"]["sockets-full"], 0, "{status}");
    });
}

/// What docs/api.md says is not counted.
#[test]
fn what_stays_here_or_is_no_tcp_is_not_counted() {
    alone(|| {
        own_address(THERE);
        let stage = Stage::new("sent");
        let daemon = stage.guard("").daemon();
        let api = api(&daemon);
        let (here, taken) = taker(Ipv4Addr::LOCALHOST, 2);
        let udp = UdpSocket::bind((THERE, 0)).expect("a port");
        let program = "s = socket.create_connection(to(sys.argv[1]))\ns.sendall(b'x' * 1000)\ns.close()\n\
            s = socket.create_connection(('0.0.0.0', to(sys.argv[1])[1]))\ns.sendall(b'x' * 1000)\ns.close()\n\
            u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nu.sendto(b'x' * 1000, to(sys.argv[2]))\n\
            try: socket.create_connection((sys.argv[3], 1))\nexcept OSError: pass\nopen('done', 'w')\nwait('end')";
        let to = |at: SocketAddr| at.to_string();
        let words = [to(here), to(udp.local_addr().expect("an address")), THERE.to_string()];
        let running = session(&stage, program, &words);
        until("all is sent", || stage.path().join("done").exists());
        assert_eq!(taken.join().expect("it ends"), 2000);
        assert_eq!((bytes_out(&api), metric(&api)), (Some(0), 0));
        // Nor what others send.
        let (there, taken) = taker(THERE, 1);
        let mut other = std::net::TcpStream::connect(there).expect("a connection");
        std::io::Write::write_all(&mut other, b"not guarded").expect("sent");
        other.shutdown(std::net::Shutdown::Write).expect("shut");
        assert_eq!(other.read(&mut [0]).expect("its end"), 0);
        drop(other);
        assert_eq!(taken.join().expect("it ends"), 11);
        assert_eq!((bytes_out(&api), metric(&api)), (Some(0), 0));
        go(&stage, "end");
        assert_eq!(running.wait().code(), 0);
    });
}

/// Looked at, a session has a number; `guard top` shows it.
#[test]
fn top_shows_it() {
    alone(|| {
        own_address(THERE);
        let stage = Stage::new("sent");
        let daemon = stage.guard("").daemon();
        let (at, taken) = taker(THERE, 1);
        let program = "s = socket.create_connection(to(sys.argv[1]))\ns.sendall(b'x' * 2048)\ns.close()\nwait('end')";
        let running = session(&stage, program, &[at.to_string()]);
        until("it is counted", || bytes_out(&api(&daemon)) == Some(2048));
        let words = ["top", "--json", "--wait", "0", "--socket"];
        let top = Job::new(support::guard::binary(), Path::new("/")).args(words).arg(daemon.socket()).run();
        let top: Value = serde_json::from_str(&top.out()).expect("JSON");
        assert_eq!(top["sessions"][0]["bytes_out"], 2048, "{top}");
        go(&stage, "end");
        assert_eq!(running.wait().code(), 0);
        assert_eq!(taken.join().expect("it ends"), 2048);
    });
}
