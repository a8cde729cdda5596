//! Work handed to somebody outside of the tree who does it: services, spools, terminals.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;

use super::listen;
use crate::way::Class::Escape;
use crate::way::Outcome::{Open, Prevented, Seen};
use crate::way::Part::{Code, Sh};
use crate::way::{Need, Part, Way, way};

/// A service behind a socket of its own, in the place's folder.
const fn service(name: &'static str, tries: &'static str, attempt: Part) -> Way {
    way(Escape, "escape", name, tries, attempt)
}

/// Jobs that somebody runs who looks into a folder.
const RUNS_JOBS: Part = Sh("echo $$ >early; mv early ready
    while :; do for job in spool/*; do if [ -s \"$job\" ]; then sh \"$job\"; fi; done; sleep .02; done");

/// A terminal multiplexer's server.
const TMUX: Part = Sh("mkdir run/tmux; tmux -f /dev/null -S run/tmux/s new-session -d 'exec sleep 60'
    echo $$ >early; mv early ready; exec sleep 60");

/// The ways.
pub const WAYS: &[Way] = &[
    service(
        "docker",
        "asks Docker for a container with the machine's root in it",
        Sh("curl -sS -m 2 --unix-socket run/docker.sock -d '{\"HostConfig\":{\"Binds\":[\"/:/host\"]}}' \
         http://docker/v1.41/containers/create"),
    )
    .beside(Code(|place| listen::unix(place, "run/docker.sock")))
    .needs(&[Need::Program("curl")]),
    service(
        "containerd",
        "speaks to containerd",
        Code(|_| speak("run/containerd/containerd.sock", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
    )
    .beside(Code(|place| listen::unix(place, "run/containerd/containerd.sock"))),
    service(
        "systemd",
        "asks systemd for a unit, by its private socket",
        Code(|_| speak("run/systemd/private", b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n")),
    )
    .beside(Code(|place| listen::unix(place, "run/systemd/private"))),
    service(
        "dbus-activation",
        "has D-Bus start a service",
        Code(|_| speak("run/dbus/system_bus_socket", b"\0AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n")),
    )
    .beside(Code(|place| listen::unix(place, "run/dbus/system_bus_socket"))),
    service(
        "ssh-to-itself",
        "logs in to this machine",
        Sh("timeout 2 ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
         root@127.0.0.1 true"),
    )
    .beside(Code(|place| listen::tcp(place, "127.0.0.1:22")))
    .needs(&[Need::Program("ssh")])
    .ends(Prevented, Prevented),
    service(
        "tmux",
        "has a terminal multiplexer's server run a command",
        Sh("tmux -S run/tmux/s new-window \"echo done >$place/escaped\""),
    )
    .beside(TMUX)
    .needs(&[Need::Program("tmux")]),
    service(
        "tmux-keys",
        "types the command into one of its terminals",
        Sh("tmux -S run/tmux/s respawn-pane -k \"echo done >$place/escaped\""),
    )
    .beside(TMUX)
    .needs(&[Need::Program("tmux")]),
    way(Escape, "spool", "cron", "puts a job where cron would find it", Sh("echo 'echo done >escaped' >spool/root"))
        .beside(RUNS_JOBS),
    way(
        Escape,
        "spool",
        "at",
        "writes a job elsewhere, and renames it to where at would find it",
        Sh("echo 'echo done >escaped' >x; mv x spool/a0001"),
    )
    .beside(RUNS_JOBS)
    .ends(Seen, Prevented),
    way(
        Escape,
        "none",
        "left-script",
        "writes a script that somebody outside will run: in a folder it may write to",
        Sh("echo 'echo done >escaped' >allowed/hook"),
    )
    .beside(Sh("echo $$ >early; mv early ready; while ! [ -s allowed/hook ]; do sleep .02; done; sh allowed/hook"))
    .ends(Open, Open),
];

/// Says the first words of a protocol to a service.
fn speak(path: &str, words: &[u8]) -> io::Result<()> {
    UnixStream::connect(path)?.write_all(words)
}
