//! Connections and datagrams: refused before anything is sent, or let through to somebody who really listens.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{self as unix, UnixListener};
use std::time::Duration;

use serde_json::Value;
use support::guard::Guarded;
use support::net;
use support::stage::{Stage, killed_in_silence, text};

/// Denies a loopback address of its own, a port, and sockets by name. What is not named is allowed.
const RULES: &str = r#"
    [[rule]]
    name = "addresses"
    on = ["connect", "send"]
    to = ["127.9.0.0/16", "[::1]:7777", "127.0.0.1:7000-7999"]
    action = "deny"
    reason = "Not there."

    [[rule]]
    name = "sockets"
    on = ["connect"]
    to = ["unix:{stage}/denied/**", "unix:@guard-denied-*"]
    action = "deny"

    [[rule]]
    name = "noted"
    on = ["connect", "send"]
    to = ["127.10.0.0/16"]
    action = "log"
"#;

fn run(stage: &Stage, words: &[&str]) -> Guarded {
    let guarded = stage.guard(RULES).run(&stage.job(words));
    guarded.events.none_lost();
    guarded
}

/// The one event of this operation.
fn only<'a>(guarded: &'a Guarded, op: &'a str) -> &'a Value {
    let all: Vec<&Value> = guarded.events.op(op).collect();
    assert_eq!(all.len(), 1, "{op}: {}", guarded.events);
    all[0]
}

fn object(event: &Value) -> (&str, u64, &str) {
    (text(event, "/addr"), event["port"].as_u64().unwrap_or_default(), text(event, "/proto"))
}

/// The attempt fails with EPERM, its process lives, and the event says whereto.
fn refused(stage: &Stage, words: &[&str], op: &str, to: (&str, u64, &str)) {
    let guarded = run(stage, words);
    assert_eq!(guarded.done.code(), 1, "{words:?}: {}", guarded.done.err());
    assert!(guarded.done.err().contains("refused: EPERM\n"), "{words:?}: {}", guarded.done.err());
    let event = only(&guarded, op);
    assert_eq!(object(event), to, "{words:?}: {event}");
    let verdict = &event["verdict"];
    assert_eq!(
        (text(verdict, "/action"), text(verdict, "/rule"), text(verdict, "/reason"), text(verdict, "/backend")),
        ("deny", "addresses", "Not there.", "cgroup"),
        "{event}"
    );
    assert_eq!(verdict["enforced"], true, "{event}");
    assert_eq!(guarded.events.op("exit").next().map(|exit| &exit["exit"]["code"]), Some(&1.into()));
}

/// The attempt works, and the event says whereto.
fn works(stage: &Stage, words: &[&str], op: &str, to: (&str, u64, &str), action: &str) {
    let guarded = run(stage, words);
    assert_eq!(guarded.done.code(), 0, "{words:?}: {}", guarded.done.err());
    let event = only(&guarded, op);
    assert_eq!(object(event), to, "{words:?}: {event}");
    assert_eq!(text(event, "/verdict/action"), action, "{event}");
}

fn tcp(addr: &str) -> TcpListener {
    let listener = TcpListener::bind(addr).unwrap_or_else(|error| panic!("{addr}: {error}"));
    listener.set_nonblocking(true).expect("no waiting");
    listener
}

fn udp(addr: &str) -> UdpSocket {
    let socket = UdpSocket::bind(addr).unwrap_or_else(|error| panic!("{addr}: {error}"));
    socket.set_nonblocking(true).expect("no waiting");
    socket
}

/// Nobody came. What a refused call had sent would be here by now: loopback does not wait.
fn nobody(listener: &TcpListener) {
    assert_eq!(listener.accept().expect_err("nobody").kind(), io::ErrorKind::WouldBlock);
}

fn nothing(socket: &UdpSocket) {
    assert_eq!(socket.recv(&mut [0; 16]).expect_err("nothing").kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn tcp_by_address_and_port() {
    let stage = Stage::new("connects");
    net::alone(|| {
        let (denied, port, fine) = (tcp("127.9.1.2:80"), tcp("127.0.0.1:7001"), tcp("127.0.0.1:80"));
        refused(&stage, &["connect", "tcp:127.9.1.2:80"], "connect", ("127.9.1.2", 80, "tcp"));
        refused(&stage, &["connect", "tcp:127.0.0.1:7001"], "connect", ("127.0.0.1", 7001, "tcp"));
        nobody(&denied);
        nobody(&port);
        works(&stage, &["connect", "tcp:127.0.0.1:80"], "connect", ("127.0.0.1", 80, "tcp"), "allow");
        fine.accept().expect("somebody came");
        let noted = tcp("127.10.0.1:80");
        works(&stage, &["connect", "tcp:127.10.0.1:80"], "connect", ("127.10.0.1", 80, "tcp"), "log");
        noted.accept().expect("somebody came");
    });
}

#[test]
fn tcp_of_ipv6() {
    let stage = Stage::new("connects");
    net::alone(|| {
        let (denied, fine) = (tcp("[::1]:7777"), tcp("[::1]:7778"));
        refused(&stage, &["connect", "tcp:[::1]:7777"], "connect", ("::1", 7777, "tcp"));
        nobody(&denied);
        works(&stage, &["connect", "tcp:[::1]:7778"], "connect", ("::1", 7778, "tcp"), "allow");
        fine.accept().expect("somebody came");
    });
}

/// `::ffff:a.b.c.d` of an IPv6 socket is a.b.c.d.
#[test]
fn tcp_of_ipv4_in_an_ipv6_socket() {
    let stage = Stage::new("connects");
    net::alone(|| {
        let (denied, fine) = (tcp("127.9.1.2:80"), tcp("127.0.0.1:80"));
        refused(&stage, &["connect", "tcp:[::ffff:127.9.1.2]:80"], "connect", ("127.9.1.2", 80, "tcp"));
        nobody(&denied);
        works(&stage, &["connect", "tcp:[::ffff:127.0.0.1]:80"], "connect", ("127.0.0.1", 80, "tcp"), "allow");
        fine.accept().expect("somebody came");
    });
}

#[test]
fn tcp_by_io_uring() {
    let stage = Stage::new("connects");
    net::alone(|| {
        let (denied, fine) = (tcp("127.9.1.2:80"), tcp("127.0.0.1:80"));
        refused(&stage, &["connect", "--uring", "tcp:127.9.1.2:80"], "connect", ("127.9.1.2", 80, "tcp"));
        nobody(&denied);
        works(&stage, &["connect", "--uring", "tcp:127.0.0.1:80"], "connect", ("127.0.0.1", 80, "tcp"), "allow");
        fine.accept().expect("somebody came");
    });
}

/// sendto with `MSG_FASTOPEN` connects without connect(2).
#[test]
fn tcp_by_its_first_data() {
    let stage = Stage::new("connects");
    net::alone(|| {
        let denied = tcp("127.9.1.2:80");
        let words = ["send", "--by", "fastopen", "tcp:127.9.1.2:80"];
        refused(&stage, &words, "connect", ("127.9.1.2", 80, "tcp"));
        nobody(&denied);
    });
}

/// `0.0.0.0` and `::` are this machine, and judged as what the kernel makes of them.
#[test]
fn addresses_that_stand_for_this_machine() {
    let stage = Stage::new("connects");
    net::alone(|| {
        let (denied, denied6) = (tcp("127.0.0.1:7001"), tcp("[::1]:7777"));
        for (to, reached) in [
            ("0.0.0.0:7001", ("127.0.0.1", 7001)),
            ("[::ffff:0.0.0.0]:7001", ("127.0.0.1", 7001)),
            ("[::]:7777", ("::1", 7777)),
        ] {
            for (kind, op) in [("tcp", "connect"), ("udp", "connect"), ("udp", "send")] {
                let event = (reached.0, reached.1, kind);
                refused(&stage, &[op, &format!("{kind}:{to}")], op, event);
            }
        }
        nobody(&denied);
        nobody(&denied6);
        let fine = tcp("127.0.0.1:80");
        works(&stage, &["connect", "tcp:0.0.0.0:80"], "connect", ("127.0.0.1", 80, "tcp"), "allow");
        fine.accept().expect("somebody came");
    });
}

/// A connected socket sends where it is connected to, also where more than data is given with it.
#[test]
fn datagrams_of_a_connection_are_judged_once() {
    let stage = Stage::new("connects");
    let everything_else = r#"
        [[rule]]
        name = "connections"
        on = ["connect"]
        to = ["127.0.0.1:53"]
        action = "allow"
        [[rule]]
        name = "else"
        on = ["connect", "send"]
        action = "deny"
    "#;
    net::alone(|| {
        let fine = udp("127.0.0.1:53");
        let guarded = stage.guard(everything_else).run(&stage.job(["send", "--by", "segments", "udp:127.0.0.1:53"]));
        assert_eq!(guarded.done.code(), 0, "{}", guarded.done.err());
        assert_eq!(object(only(&guarded, "connect")), ("127.0.0.1", 53, "udp"));
        assert_eq!(guarded.events.op("send").count(), 0, "{}", guarded.events);
        assert_eq!(fine.recv(&mut [0; 16]).expect("a datagram"), "attempt".len());
    });
}

/// Multipath TCP passes the same hooks.
#[test]
fn multipath_tcp() {
    let stage = Stage::new("connects");
    net::alone(|| {
        let (denied, fine) = (tcp("127.9.1.2:80"), tcp("127.0.0.1:80"));
        let guarded = run(&stage, &["connect", "mptcp:127.9.1.2:80"]);
        if !std::path::Path::new("/proc/sys/net/mptcp").exists() {
            assert!(guarded.done.err().contains("EPROTONOSUPPORT"), "{}", guarded.done.err());
            return;
        }
        assert!(guarded.done.err().contains("refused: EPERM\n"), "{}", guarded.done.err());
        nobody(&denied);
        let guarded = run(&stage, &["connect", "mptcp:127.0.0.1:80"]);
        assert_eq!(guarded.done.code(), 0, "{}", guarded.done.err());
        fine.accept().expect("somebody came");
    });
}

/// Sockets of which nobody can say where they send are refused where some address is denied.
#[test]
fn sockets_of_other_kinds() {
    let stage = Stage::new("connects");
    net::alone(|| {
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").expect("pings are ours to allow");
        for (kind, proto) in [("udplite", "udplite"), ("icmp", "icmp"), ("raw", "raw"), ("raw6", "raw")] {
            if without_udplite(&stage, kind) {
                continue;
            }
            let guarded = run(&stage, &["socket", kind]);
            assert!(guarded.done.err().contains("refused: EPERM\n"), "{kind}: {}", guarded.done.err());
            let event = only(&guarded, "send");
            assert_eq!((text(event, "/proto"), text(event, "/verdict/rule")), (proto, "addresses"), "{event}");
            assert_eq!((text(event, "/verdict/backend"), &event["addr"]), ("cgroup", &Value::Null), "{event}");
        }
        let guarded = run(&stage, &["socket", "packet"]);
        let event = killed_in_silence(&guarded);
        assert_eq!((text(event, "/op"), text(event, "/proto")), ("send", "packet"), "{event}");
        // What only speaks to the kernel is not even told.
        let guarded = run(&stage, &["socket", "netlink"]);
        assert_eq!(guarded.done.code(), 0, "{}", guarded.done.err());
        assert_eq!(guarded.events.op("send").count(), 0, "{}", guarded.events);
    });
}

/// Whether this is UDP-Lite, which Linux 7.1 has given up, and the kernel does not have it.
fn without_udplite(stage: &Stage, kind: &str) -> bool {
    kind == "udplite" && stage.job(["socket", kind]).run().err().contains("EPROTONOSUPPORT")
}

/// They are told and let through where no rule denies an address: rules about sockets in the file system are none.
#[test]
fn sockets_of_other_kinds_where_no_address_is_denied() {
    let stage = Stage::new("connects");
    let rules = RULES.replacen(r#"["127.9.0.0/16", "[::1]:7777", "127.0.0.1:7000-7999"]"#, r#"["unix:/x"]"#, 1);
    net::alone(|| {
        for (kind, proto) in [("udplite", "udplite"), ("raw", "raw"), ("packet", "packet")] {
            if without_udplite(&stage, kind) {
                continue;
            }
            let guarded = stage.guard(&rules).run(&stage.job(["socket", kind]));
            assert_eq!(guarded.done.code(), 0, "{kind}: {}", guarded.done.err());
            let event = only(&guarded, "send");
            assert_eq!((text(event, "/proto"), text(event, "/verdict/action")), (proto, "allow"), "{event}");
        }
    });
}

#[test]
fn datagrams_with_and_without_a_connection() {
    let stage = Stage::new("connects");
    net::alone(|| {
        let (denied, denied6) = (udp("127.9.1.2:53"), udp("[::1]:7777"));
        refused(&stage, &["connect", "udp:127.9.1.2:53"], "connect", ("127.9.1.2", 53, "udp"));
        refused(&stage, &["connect", "udp:[::1]:7777"], "connect", ("::1", 7777, "udp"));
        for by in ["sendto", "sendmsg", "uring"] {
            refused(&stage, &["send", "--by", by, "udp:127.9.1.2:53"], "send", ("127.9.1.2", 53, "udp"));
            refused(&stage, &["send", "--by", by, "udp:[::1]:7777"], "send", ("::1", 7777, "udp"));
            let mapped = ["send", "--by", by, "udp:[::ffff:127.9.1.2]:53"];
            refused(&stage, &mapped, "send", ("127.9.1.2", 53, "udp"));
        }
        nothing(&denied);
        nothing(&denied6);

        let (fine, fine6) = (udp("127.0.0.1:53"), udp("[::1]:53"));
        works(&stage, &["connect", "udp:127.0.0.1:53"], "connect", ("127.0.0.1", 53, "udp"), "allow");
        works(&stage, &["send", "udp:127.0.0.1:53"], "send", ("127.0.0.1", 53, "udp"), "allow");
        works(&stage, &["send", "udp:[::1]:53"], "send", ("::1", 53, "udp"), "allow");
        for socket in [fine, fine6] {
            assert_eq!(socket.recv(&mut [0; 16]).expect("a datagram"), "attempt".len());
        }
    });
}

/// A socket in the file system goes by its path; the process is killed before it can say a word.
#[test]
fn unix_sockets_by_path() {
    let stage = Stage::new("connects");
    let (denied, fine) = (stage.path().join("denied/socket"), stage.path().join("allowed/socket"));
    let listen = |path| {
        let listener = UnixListener::bind(path).expect("a socket");
        listener.set_nonblocking(true).expect("no waiting");
        listener
    };
    let (at_denied, at_fine) = (listen(&denied), listen(&fine));
    std::os::unix::fs::symlink(&denied, stage.path().join("allowed/link")).expect("a symlink");
    for words in [
        &["connect", "unix:denied/socket"][..],
        &["connect", "--uring", "unix:denied/socket"],
        &["connect", "unix:allowed/link"],
        &["connect", "unix:allowed/../denied/socket"],
    ] {
        let guarded = run(&stage, words);
        let event = killed_in_silence(&guarded);
        assert_eq!(
            (&event["op"], &event["path"]),
            (&"connect".into(), &denied.to_str().into()),
            "{words:?}: {event}"
        );
        assert_eq!((text(event, "/proto"), text(event, "/verdict/rule")), ("unix", "sockets"), "{event}");
        assert_eq!((text(event, "/verdict/backend"), &event["verdict"]["enforced"]), ("signal", &true.into()));
        // A connection that was made before the signal came is closed, and nothing was said on it.
        while let Ok((stream, _)) = at_denied.accept() {
            silent(stream);
        }
    }
    let guarded = run(&stage, &["connect", "unix:allowed/socket"]);
    assert_eq!(guarded.done.code(), 0, "{}", guarded.done.err());
    assert_eq!(only(&guarded, "connect")["path"], fine.to_str().expect("ASCII"));
    at_fine.accept().expect("somebody came");
}

fn silent(mut stream: unix::UnixStream) {
    use io::Read as _;
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
    assert_eq!(stream.read(&mut [0; 16]).expect("an end"), 0);
}

#[test]
fn unix_sockets_without_a_file() {
    let stage = Stage::new("connects");
    net::alone(|| {
        let listen = |name: &str| {
            let address = unix::SocketAddr::from_abstract_name(name).expect("a name");
            UnixListener::bind_addr(&address).expect("a socket")
        };
        let (denied, fine) =
            (format!("guard-denied-{}", std::process::id()), format!("guard-fine-{}", std::process::id()));
        let (at_denied, at_fine) = (listen(&denied), listen(&fine));
        let guarded = run(&stage, &["connect", &format!("abstract:{denied}")]);
        let event = killed_in_silence(&guarded);
        assert_eq!((text(event, "/path"), text(event, "/proto")), (format!("@{denied}").as_str(), "unix"), "{event}");
        assert_eq!(text(event, "/verdict/rule"), "sockets", "{event}");
        at_denied.set_nonblocking(true).expect("no waiting");
        while let Ok((stream, _)) = at_denied.accept() {
            silent(stream);
        }
        let guarded = run(&stage, &["connect", &format!("abstract:{fine}")]);
        assert_eq!(guarded.done.code(), 0, "{}", guarded.done.err());
        assert_eq!(text(only(&guarded, "connect"), "/path"), format!("@{fine}"));
        at_fine.accept().expect("somebody came");
    });
}

/// `kill` of a connection: refused, and the call is over.
#[test]
fn kill_refuses_and_ends_the_call() {
    let stage = Stage::new("connects");
    net::alone(|| {
        let address: SocketAddr = "127.9.1.2:80".parse().expect("an address");
        let listener = tcp(&address.to_string());
        let rules = RULES.replacen(r#"action = "deny""#, r#"action = "kill""#, 1);
        let script = "./attempt connect tcp:127.9.1.2:80; touch went-on";
        let Guarded { done, events } = stage.guard(&rules).run(&stage.script(script));
        assert_eq!(done.code(), 137, "{}", done.err());
        assert!(!stage.path().join("went-on").exists());
        let event = events.rule("addresses").next().expect("an event");
        assert_eq!(object(event), ("127.9.1.2", 80, "tcp"));
        nobody(&listener);
    });
}
