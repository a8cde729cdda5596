//! Gives records their names: the JSON event of each.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt as _;

use guard_common::event::{
    Connect, FLAG_ARGV_CUT, FLAG_CALL_ENDED, FLAG_ENFORCED, FLAG_INNER_PATH, FLAG_PATH_UNKNOWN, Head, NO_DESCRIPTOR,
    NO_RULE, OPENED_CREATED, OPENED_INHERITED, OPENED_READ, OPENED_TRUNCATED, OPENED_WRITE,
};
use guard_common::tree::{Id, Member, id_of};
use guard_common::words::{Action, Backend, How, Op, Scope};

use super::Watch;
use crate::record::decode::{Body, Record};
use crate::record::event::{Event, Exit, Open, Process, Verdict};
use crate::record::{clock, redact};
use crate::session::Image;

/// Bytes as text; what is no UTF-8 is replaced.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes as text, absent where there are none.
pub(super) fn known(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| text(bytes))
}

/// The words of a command line, secrets removed.
fn words(argv: &[u8]) -> Vec<String> {
    let argv = argv.strip_suffix(b"\0").unwrap_or(argv);
    if argv.is_empty() {
        return Vec::new();
    }
    redact::argv(argv.split(|byte| *byte == 0).map(text).collect())
}

/// What an exec made of its process.
pub(super) fn image(head: &Head, path: &[u8], cwd: &[u8], argv: &[u8]) -> Image {
    let id = id_of(head.tgid, head.time);
    Image { id, exe: OsStr::from_bytes(path).to_owned(), argv: words(argv), cwd: text(cwd) }
}

impl Watch<'_> {
    /// The event of a record.
    pub(super) fn event_of(&self, record: &Record) -> Event {
        let head = record.head;
        let mut event = self.event_of_head(&head);
        match &record.body {
            Body::Exec { body, enrol, path, argv, .. } => {
                event.op = if *enrol { "session-start" } else { Op::Exec.word() };
                event.path = known(path);
                // What was refused before it could begin has none yet.
                event.argv = (body.argv_total > 0).then(|| words(argv));
                event.argv_cut = head.flags & FLAG_ARGV_CUT != 0;
                if *enrol {
                    self.add_places(&mut event, head.tree);
                } else {
                    event.verdict = Some(self.verdict_of(&head));
                }
            }
            Body::Open { body, path } => {
                let opened = |bit| body.opened & bit != 0;
                event.path = known(path);
                event.inner_path = head.flags & FLAG_INNER_PATH != 0;
                event.open = Some(Open {
                    read: opened(OPENED_READ),
                    write: opened(OPENED_WRITE),
                    created: opened(OPENED_CREATED),
                    truncated: opened(OPENED_TRUNCATED),
                    inherited: opened(OPENED_INHERITED),
                    flags: body.file_flags,
                    result: (body.result != NO_DESCRIPTOR).then_some(body.result),
                });
                let mut verdict = self.verdict_of(&head);
                // The signal comes after the fact; where the kernel asks before it opens, it has created already.
                let stays: &[_] = match Backend::from_number(head.backend) {
                    Some(Backend::Signal) => &[(OPENED_CREATED, "created"), (OPENED_TRUNCATED, "truncated")],
                    Some(Backend::Lsm) => &[(OPENED_CREATED, "created")],
                    _ => &[],
                };
                verdict.happened = stays.iter().filter(|(bit, _)| opened(*bit)).map(|(_, what)| *what).collect();
                event.verdict = Some(verdict);
            }
            Body::Connect { body, path } => {
                event.proto = protocol(body);
                if i32::from(body.family) == libc::AF_UNIX {
                    event.path = known(path);
                } else if let Some((address, port)) = address_of(body) {
                    event.addr = Some(address.to_string());
                    event.port = Some(port);
                }
                event.verdict = Some(self.verdict_of(&head));
            }
            Body::Attempt { body, path, new_path } => {
                event.path = known(path);
                event.inner_path = head.flags & FLAG_INNER_PATH != 0;
                event.new_path = known(new_path);
                event.how = u8::try_from(body.how).ok().and_then(How::from_number).map(How::word);
                event.target = (body.target != 0).then_some(body.target);
                event.signal = (body.signal != 0).then_some(body.signal);
                event.verdict = Some(self.verdict_of(&head));
            }
            Body::Exit(exit) => {
                event.op = "exit";
                let signal = (exit.status & 0x7f) as u8;
                event.exit = Some(if signal == 0 {
                    Exit { code: Some((exit.status >> 8 & 0xff) as u8), signal: None }
                } else {
                    Exit { code: None, signal: Some(signal) }
                });
            }
            Body::Moved { .. } => {
                event.op = "session-start";
                self.add_places(&mut event, head.tree);
            }
            Body::Fork => event.op = "fork",
            Body::Doomed => {
                event.op = "fork";
                let mut verdict = self.verdict_of(&head);
                verdict.reason = Some(if head.flags & FLAG_CALL_ENDED != 0 {
                    "The call this process belongs to was ended.".to_owned()
                } else {
                    "The table of guarded processes is full; a process that can't be followed must not run."
                        .to_owned()
                });
                event.verdict = Some(verdict);
            }
        }
        if head.flags & FLAG_PATH_UNKNOWN != 0 {
            // What there is of it is its end only.
            event.path = None;
        }
        event
    }

    /// The event of a tree whose root was entered from user space.
    pub(super) fn event_of_start(&self, member: &Member, pid: u32, time: u64) -> Event {
        let mut event = self.event_about("session-start", member, pid, time);
        self.add_places(&mut event, member.tree);
        event
    }

    /// Says where a tree's places are, and what is not enforced.
    fn add_places(&self, event: &mut Event, tree: Id) {
        event.unenforced.clone_from(&self.unenforced);
        if let Some(places) = self.kernel.places(tree) {
            event.repo = known(&places.repo[..places.repo_len as usize]);
            event.home = known(&places.home[..places.home_len as usize]);
        }
    }

    /// An event about a process as it is now, with nothing attempted.
    pub(super) fn event_about(&self, op: &'static str, member: &Member, pid: u32, time: u64) -> Event {
        let head = Head {
            time,
            tree: member.tree,
            call: member.call,
            start: member.start,
            tgid: pid,
            scope: member.scope,
            agent: member.agent,
            rule: NO_RULE,
            ..Head::default()
        };
        let mut event = self.event_of_head(&head);
        event.op = op;
        if let Some(process) = &mut event.process {
            (process.ppid, process.uid) = (None, None);
        }
        event
    }

    /// What every event of a process has.
    pub(super) fn event_of_head(&self, head: &Head) -> Event {
        let image = self.processes.image(head.tgid, head.start, head.time);
        let call = self.calls.get(&head.call);
        let (exe, argv, cwd) = image.map_or((None, None, None), |image| {
            (known(image.exe.as_bytes()), Some(image.argv.clone()), known(image.cwd.as_bytes()))
        });
        Event {
            time: clock::time_of_day(head.time),
            op: Op::from_number(head.op).map_or("unknown", Op::word),
            session: call.and_then(|call| call.session.as_deref()).map(ToOwned::to_owned),
            tree: Some(format!("{:016x}", head.tree)),
            agent: self.policy.agents.get(head.agent as usize).map(|agent| agent.name.clone()),
            scope: Scope::from_number(head.scope).map(Scope::word),
            call: call.and_then(|call| call.label.as_deref()).map(ToOwned::to_owned),
            process: Some(Process {
                pid: head.tgid,
                ppid: (head.ppid != 0).then_some(head.ppid),
                start: head.start,
                exe,
                argv,
                cwd,
                uid: Some(head.uid),
            }),
            ..Event::default()
        }
    }

    fn verdict_of(&self, head: &Head) -> Verdict {
        let action = Action::from_number(head.action).unwrap_or(Action::Deny);
        let backend = Backend::from_number(head.backend).unwrap_or(Backend::None);
        let rule = (head.rule != NO_RULE).then_some(head.rule);
        self.verdict(head.generation, rule, action, head.flags & FLAG_ENFORCED != 0, backend)
    }

    /// A verdict under the policy of number `generation`.
    pub(super) fn verdict(
        &self,
        generation: u32,
        rule: Option<u16>,
        action: Action,
        enforced: bool,
        backend: Backend,
    ) -> Verdict {
        let rules = self.policies.iter().find(|(number, _)| *number == generation).map(|(_, rules)| rules);
        let info = rule.and_then(|rule| rules?.get(usize::from(rule)));
        Verdict {
            action: action.word(),
            rule: info.map(|info| info.name.clone()),
            reason: info.and_then(|info| info.reason.clone()),
            enforced,
            backend: (backend != Backend::None).then(|| backend.word()),
            happened: Vec::new(),
        }
    }
}

/// What a socket speaks, where that has a word.
pub(super) fn protocol(socket: &Connect) -> Option<&'static str> {
    Some(match i32::from(socket.family) {
        libc::AF_UNIX => "unix",
        libc::AF_INET | libc::AF_INET6 if i32::from(socket.socket_type) == libc::SOCK_RAW => "raw",
        libc::AF_INET | libc::AF_INET6 => match i32::from(socket.protocol) {
            libc::IPPROTO_TCP => "tcp",
            libc::IPPROTO_UDP => "udp",
            libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6 => "icmp",
            libc::IPPROTO_MPTCP => "mptcp",
            libc::IPPROTO_UDPLITE => "udplite",
            libc::IPPROTO_SCTP => "sctp",
            libc::IPPROTO_DCCP => "dccp",
            _ => return None,
        },
        libc::AF_PACKET => "packet",
        libc::AF_VSOCK => "vsock",
        libc::AF_XDP => "xdp",
        libc::AF_TIPC => "tipc",
        libc::AF_CAN => "can",
        libc::AF_BLUETOOTH => "bluetooth",
        _ => return None,
    })
}

/// The internet address and the port that it was about, if it was.
pub(super) fn address_of(socket: &Connect) -> Option<(IpAddr, u16)> {
    let internet = i32::from(socket.family) != libc::AF_UNIX && (socket.address != [0; 16] || socket.port != 0);
    internet.then(|| (address(socket.address), socket.port))
}

/// An address as people write it: IPv4 where it is mapped.
fn address(bytes: [u8; 16]) -> IpAddr {
    let address = Ipv6Addr::from(bytes);
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
}
