//! Connections and datagrams.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::{fs, io};

use support::api::Api;
use support::guard::Guarded;
use support::net::own_address;
use support::run::Job;
use support::stage::{text, until};

use crate::Check;
use crate::ground::{Ground, shell};

pub const CHECKS: &[Check] = &[
    ("net: an allowed address is reached, and told of", allowed),
    ("net: a denied connection is refused", connections),
    ("net: a denied datagram is not sent", datagrams),
    ("net: 0.0.0.0 and :: are this machine", this_machine),
    ("net: a denied port is not bound", binding),
    ("net: sockets of other kinds are not made", other_kinds),
    ("net: a denied unix socket is left at once", unix_sockets),
    ("net: what leaves is counted to the byte", sent),
];

fn binding(ground: &Ground) {
    ground.allowed(&ground.places[0], ["listen", "7010"]);
    refused_by(ground, "listening", &["listen", "7009"], "bind");
}

/// The attempt fails with EPERM, and its process lives to say so.
fn refused(ground: &Ground, words: &[&str], op: &str) {
    refused_by(ground, "addresses", words, op);
}

fn refused_by(ground: &Ground, rule: &str, words: &[&str], op: &str) {
    let Guarded { done, events } = ground.attempt(&ground.places[0], words);
    assert_eq!(done.code(), 1, "{words:?}: {}", done.err());
    assert!(done.err().contains("refused: EPERM\n"), "{words:?}: {}", done.err());
    let event = events.denials().next().unwrap_or_else(|| panic!("{words:?}: nothing told\n{events}"));
    assert_eq!(
        (text(event, "/op"), text(event, "/verdict/rule"), text(event, "/verdict/backend")),
        (op, rule, "cgroup"),
        "{words:?}: {event}"
    );
}

fn allowed(ground: &Ground) {
    let listener = TcpListener::bind("127.10.0.1:80").expect("a port of our own");
    let Guarded { done, events } = ground.attempt(&ground.places[0], ["connect", "tcp:127.10.0.1:80"]);
    assert_eq!(done.code(), 0, "{}", done.err());
    listener.accept().expect("somebody came");
    let event = events.rule("noted").next().unwrap_or_else(|| panic!("nothing told\n{events}"));
    assert_eq!((text(event, "/addr"), &event["port"]), ("127.10.0.1", &80.into()), "{event}");
}

fn connections(ground: &Ground) {
    let listener = |addr: &str| {
        let listener = TcpListener::bind(addr).unwrap_or_else(|error| panic!("{addr}: {error}"));
        listener.set_nonblocking(true).expect("no waiting");
        listener
    };
    let listeners = [listener("127.9.1.2:80"), listener("[::1]:7777")];
    for to in
        ["tcp:127.9.1.2:80", "tcp:[::1]:7777", "tcp:[::ffff:127.9.1.2]:80", "udp:127.9.1.2:80", "udp:[::1]:7777"]
    {
        refused(ground, &["connect", to], "connect");
        if to.starts_with("tcp") {
            refused(ground, &["connect", "--uring", to], "connect");
        }
    }
    // Debian builds multipath TCP into later kernels than 5.10.
    if Path::new("/proc/sys/net/mptcp").exists() {
        refused(ground, &["connect", "mptcp:127.9.1.2:80"], "connect");
    } else {
        let Guarded { done, .. } = ground.attempt(&ground.places[0], ["connect", "mptcp:127.9.1.2:80"]);
        assert!(done.err().contains("EPROTONOSUPPORT"), "{}", done.err());
    }
    for listener in listeners {
        // What a refused call had sent would be here by now: loopback does not wait.
        assert_eq!(listener.accept().expect_err("nobody").kind(), io::ErrorKind::WouldBlock);
    }
}

fn datagrams(ground: &Ground) {
    let socket = |addr: &str| {
        let socket = UdpSocket::bind(addr).unwrap_or_else(|error| panic!("{addr}: {error}"));
        socket.set_nonblocking(true).expect("no waiting");
        socket
    };
    for (addr, denied) in [("127.9.1.2:53", true), ("[::1]:7777", true), ("127.0.0.1:53", false)] {
        let (socket, to) = (socket(addr), format!("udp:{addr}"));
        for call in ["sendto", "sendmsg", "uring"] {
            let words = ["send", "--by", call, &to];
            if denied {
                refused(ground, &words, "send");
                assert_eq!(socket.recv(&mut [0; 16]).expect_err("nothing").kind(), io::ErrorKind::WouldBlock);
            } else {
                ground.allowed(&ground.places[0], words);
                assert_eq!(socket.recv(&mut [0; 16]).expect("a datagram"), "attempt".len(), "{call}");
            }
        }
    }
}

fn this_machine(ground: &Ground) {
    for to in ["0.0.0.0:7001", "[::ffff:0.0.0.0]:7001", "[::]:7777"] {
        refused(ground, &["connect", &format!("tcp:{to}")], "connect");
        refused(ground, &["connect", &format!("udp:{to}")], "connect");
        refused(ground, &["send", &format!("udp:{to}")], "send");
    }
}

fn other_kinds(ground: &Ground) {
    let place = &ground.places[0];
    for kind in ["udplite", "raw", "raw6"] {
        // Linux 7.1 has given up UDP-Lite.
        let unguarded = Job::new(place.join("attempt"), place).args(["socket", kind]).run();
        if unguarded.code() == 0 {
            refused(ground, &["socket", kind], "send");
        } else {
            assert!(kind == "udplite" && unguarded.err().contains("EPROTONOSUPPORT"), "{kind}: {}", unguarded.err());
        }
    }
    ground.denied("addresses", place, ["socket", "packet"]);
    // io_uring makes sockets since 5.19.
    if ground.kernel.sees_uring() && ground.kernel.version() >= (5, 19) {
        ground.denied("addresses", place, ["socket", "--uring", "packet"]);
    }
    ground.allowed(place, ["socket", "netlink"]);
}

/// While the connection is open as far as it was measured, and when it has ended to the last.
fn sent(ground: &Ground) {
    let [disk, _] = &ground.places;
    let there = Ipv4Addr::new(10, 77, 0, 1);
    own_address(there);
    let listener = TcpListener::bind((there, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let taken = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        io::copy(&mut stream, &mut io::sink()).expect("its end")
    });
    let script = format!(
        "exec 3<>/dev/tcp/{there}/{port}; printf %70000d 0 >&3; while ! test -e sent; do sleep 0.1; done; printf 1 >&3; exec 3>&-; \
         while ! test -e over; do sleep 0.1; done; rm sent over"
    );
    let running = shell(disk, &script).start();
    let pid = running.pid();
    let api = Api::at(ground.daemon.socket());
    let counted = || {
        let sessions = api.json("/v1/sessions")["sessions"].clone();
        sessions.as_array()?.iter().find(|one| one["pid"] == pid)?["bytes_out"].as_u64()
    };
    until("it is counted", || counted().is_some_and(|sent| (1..=70_000).contains(&sent)));
    fs::write(disk.join("sent"), "").expect("written");
    assert_eq!(taken.join().expect("it ends"), 70_001);
    until("the last byte is counted", || counted() == Some(70_001));
    fs::write(disk.join("over"), "").expect("written");
    assert_eq!(running.wait().code(), 0);
}

fn unix_sockets(ground: &Ground) {
    for place in &ground.places {
        for (folder, denied) in [("denied", true), ("allowed", false)] {
            let path = place.join(folder).join("socket");
            // By a short name: the kernel takes no long ones.
            std::env::set_current_dir(place.join(folder)).expect("the folder is there");
            let _listener =
                UnixListener::bind("socket").unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let words = ["connect", &format!("unix:{folder}/socket")];
            if denied {
                let event = ground.denied("sockets", place, words);
                assert_eq!(event["path"], path.to_str().expect("a path of ASCII"), "{event}");
            } else {
                ground.allowed(place, words);
            }
        }
    }
    let name = SocketAddr::from_abstract_name("guard-matrix-denied").expect("a name");
    let _listener = UnixListener::bind_addr(&name).expect("a name of our own");
    ground.denied("sockets", &ground.places[0], ["connect", "abstract:guard-matrix-denied"]);
}
