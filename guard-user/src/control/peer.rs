//! Who asks, as the kernel says, and what that allows.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use anyhow::Context as _;
use axum::http::StatusCode;
use nix::unistd::Group;
use procfs::process::Process;

use super::problem::Problem;
use crate::watch::request::By;

/// The group whose members may read everything.
#[derive(Clone, Debug)]
pub struct Readers {
    name: String,
    id: Option<u32>,
}

impl Readers {
    /// The group of this name.
    ///
    /// # Errors
    /// If there is none, unless that is fine because nobody has asked for this one (`optional`).
    pub fn of(name: &str, optional: bool) -> anyhow::Result<Self> {
        let found = Group::from_name(name).with_context(|| format!("the group {name} can't be looked up"))?;
        anyhow::ensure!(
            found.is_some() || optional,
            "there is no group {name}, whose members were to read the control API; make it with `groupadd --system {name}`, \
             or name another with --group"
        );
        Ok(Self { name: name.to_owned(), id: found.map(|group| group.gid.as_raw()) })
    }
}

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything: root.
    All,
    /// Read everything: members of the group.
    Read,
    /// See its own sessions.
    Own,
}

impl Access {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Read => "read",
            Self::Own => "own",
        }
    }
}

/// A client.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its user.
    pub uid: u32,
    /// What it may do.
    pub access: Access,
    pid: u32,
    /// When that process was started, if it was still there when it was looked at.
    start: Option<u64>,
    /// The group it would have to be in.
    group: String,
}

impl Caller {
    /// The process at the other end of a connection.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn of(stream: &tokio::net::UnixStream, readers: &Readers) -> std::io::Result<Self> {
        use std::os::fd::AsFd as _;
        let peer = stream.peer_cred()?;
        let pid = peer.pid().unwrap_or(0) as u32;
        let member =
            readers.id.is_some_and(|wanted| peer.gid() == wanted || groups(stream.as_fd()).contains(&wanted));
        let access = match (peer.uid(), member) {
            (0, _) => Access::All,
            (_, true) => Access::Read,
            _ => Access::Own,
        };
        Ok(Self { uid: peer.uid(), access, pid, start: start_of(pid), group: readers.name.clone() })
    }

    /// Whoever can connect to the address that metrics are served on.
    #[must_use]
    pub fn by_network() -> Self {
        Self { uid: u32::MAX, access: Access::Read, pid: 0, start: None, group: String::new() }
    }

    /// Whether it may see what belongs to this user.
    #[must_use]
    pub fn sees(&self, owner: Option<u32>) -> bool {
        self.access != Access::Own || owner == Some(self.uid)
    }

    /// The user whose sessions are all that it may see; nothing where it may see everything.
    #[must_use]
    pub fn only(&self) -> Option<u32> {
        (self.access == Access::Own).then_some(self.uid)
    }

    /// Fails unless it may read everything.
    ///
    /// # Errors
    /// Says who may.
    pub fn reads(&self, what: &str) -> Result<(), Problem> {
        if self.access != Access::Own {
            return Ok(());
        }
        let Self { uid, group, .. } = self;
        Err(Problem::new(StatusCode::FORBIDDEN, format!("uid {uid} may see its own sessions only, not {what}"))
            .help(format!("ask as root, or as a member of the group {group}")))
    }

    /// Fails unless it may change things; who it is.
    ///
    /// # Errors
    /// Says who may.
    pub fn changes(&self, what: &str) -> Result<By, Problem> {
        let Self { uid, pid, .. } = *self;
        if self.access != Access::All {
            return Err(Problem::new(StatusCode::FORBIDDEN, format!("uid {uid} may not {what}: only root may"))
                .help("ask as root, for example with sudo"));
        }
        // The process must be there to be known: one that is guarded may not change what guards it.
        match self.start {
            Some(start) if start_of(pid) == Some(start) => Ok(By { pid, start, uid }),
            _ => Err(Problem::new(
                StatusCode::FORBIDDEN,
                format!("the process that has connected, {pid}, has ended, so whether it is guarded can't be told"),
            )
            .help(format!("to {what}, keep the process that connects running until the answer"))),
        }
    }
}

/// When a process was started, in nanoseconds since boot.
fn start_of(pid: u32) -> Option<u64> {
    let tick = 1_000_000_000 / procfs::ticks_per_second();
    Some(Process::new(pid as i32).ok()?.stat().ok()?.starttime * tick)
}

/// The groups that the process at the other end was in, beside its first, when it connected.
fn groups(socket: BorrowedFd<'_>) -> Vec<u32> {
    let mut groups = vec![0u32; 64];
    for _ in 0..2 {
        let mut length = (groups.len() * size_of::<u32>()) as libc::socklen_t;
        // SAFETY: a live socket, a buffer of as many bytes as `length` says, and `length` itself.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        // Either way `length` says how many there are.
        groups.resize(length as usize / size_of::<u32>(), 0);
        if result == 0 {
            return groups;
        }
        if std::io::Error::last_os_error().raw_os_error() != Some(libc::ERANGE) {
            break;
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_group_matters_where_it_was_asked_for() {
        let absent = "no-such-group-of-guard";
        assert!(Readers::of(absent, true).expect("optional").id.is_none());
        let why = format!("{:#}", Readers::of(absent, false).expect_err("asked for"));
        assert!(why.contains("groupadd"), "{why}");
        assert_eq!(Readers::of("root", false).expect("there").id, Some(0));
    }

    #[test]
    fn who_may_what() {
        let caller = |uid, access| Caller {
            uid,
            access,
            pid: std::process::id(),
            start: start_of(std::process::id()),
            group: "guard".to_owned(),
        };
        let (root, member, other) = (caller(0, Access::All), caller(1, Access::Read), caller(2, Access::Own));
        assert!(root.changes("x").is_ok() && root.reads("x").is_ok() && root.sees(Some(7)));
        assert!(member.changes("x").is_err() && member.reads("x").is_ok() && member.sees(None));
        assert!(other.changes("x").is_err() && other.reads("x").is_err());
        assert!(other.sees(Some(2)) && !other.sees(Some(7)) && !other.sees(None));
        assert!(Caller { start: None, ..root.clone() }.changes("x").is_err());
        assert!(Caller { start: Some(1), ..root }.changes("x").is_err());
    }
}
