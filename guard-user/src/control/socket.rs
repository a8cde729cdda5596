//! The socket: in its place, with its modes, and only one daemon's.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::ErrorKind;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket};

/// Everybody may enter the folder, and connect: who may do what is decided by who it is.
const FOLDER_MODE: u32 = 0o755;
const SOCKET_MODE: u32 = 0o666;

/// A socket that is listened on; removed when dropped.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    /// Device and inode: what to recognise it by.
    identity: (u64, u64),
    listener: UnixListener,
}

impl Socket {
    /// Listens at `path`. What a daemon that is dead has left there is replaced.
    ///
    /// # Errors
    /// If another daemon listens there, something else is there, or the place can't be used.
    pub fn bind(path: &Path) -> anyhow::Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        make(folder)?;
        let folder = File::open(folder)
            .with_context(|| format!("the socket's folder {} can't be opened", folder.display()))?;
        // Two daemons that start at once look one after the other.
        let _lock = Flock::lock(folder, FlockArg::LockExclusive)
            .map_err(|(_, error)| error)
            .context("the socket's folder can't be locked")?;
        clear(path)?;
        let listener = UnixListener::bind(path).with_context(|| {
            format!("the control API can't listen at {}; --socket names another place", path.display())
        })?;
        fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))
            .with_context(|| format!("the modes of {} can't be set", path.display()))?;
        let identity = identity(path).with_context(|| format!("{} is gone at once", path.display()))?;
        Ok(Self { path: path.to_owned(), identity, listener })
    }

    /// What is listened on.
    ///
    /// # Errors
    /// If there are no descriptors left.
    pub fn listener(&self) -> anyhow::Result<UnixListener> {
        let listener = self.listener.try_clone().context("no descriptor for the control API")?;
        listener.set_nonblocking(true).context("the control API's socket can't be waited for")?;
        Ok(listener)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Only if it still is this one: somebody may have put another in its place.
        if identity(&self.path) == Some(self.identity) {
            let _gone = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Makes the folder, and those above it, where they are missing. What is there keeps its modes.
fn make(folder: &Path) -> anyhow::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let failed = || format!("the socket's folder {} can't be made; --socket names another place", folder.display());
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).with_context(failed)?;
    // Whatever the process's own mask says.
    fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE)).with_context(failed)
}

/// Takes away what a dead daemon has left.
fn clear(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("{shown} can't be looked at")),
    };
    if !found.file_type().is_socket() {
        bail!("{shown} is there and is no socket; remove it, or name another place with --socket");
    }
    match listening(path) {
        Ok(None) => fs::remove_file(path).with_context(|| format!("the old socket {shown} can't be removed")),
        Ok(Some(pid)) => bail!(
            "another daemon listens at {shown}: process {pid}. Stop it first, or give this one another place with --socket"
        ),
        Err(error) => Err(error).with_context(|| {
            format!("whether another daemon listens at {shown} can't be told; stop it, or name another place with --socket")
        }),
    }
}

/// The process that listens at `path`, or nothing where nobody does.
fn listening(path: &Path) -> nix::Result<Option<i32>> {
    // Without waiting: one that is stopped, with a full queue, listens too.
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let probe = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match connect(probe.as_raw_fd(), &UnixAddr::new(path)?) {
        Ok(()) => Ok(Some(getsockopt(&probe, PeerCredentials).map_or(0, |peer| peer.pid()))),
        Err(Errno::ECONNREFUSED) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("guard-socket-{}", std::process::id()));
        folder.join("made/api.sock")
    }

    #[test]
    fn a_dead_one_is_replaced_a_live_one_and_other_things_are_not() {
        let path = place();
        let folder = path.parent().expect("a folder").to_owned();
        let socket = Socket::bind(&path).expect("a socket");
        let mode = |path: &Path| fs::symlink_metadata(path).expect("there").permissions().mode() & 0o7777;
        assert_eq!((mode(&folder), mode(&path)), (FOLDER_MODE, SOCKET_MODE));

        let refused = format!("{:#}", Socket::bind(&path).expect_err("one listens"));
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");

        drop(socket);
        assert!(!path.exists());
        // A daemon that was killed leaves its socket.
        drop(UnixListener::bind(&path).expect("a socket"));
        let socket = Socket::bind(&path).expect("the dead one is replaced");

        // Somebody puts another in its place: that one stays.
        fs::remove_file(&path).expect("removed");
        let other = UnixListener::bind(&path).expect("a socket");
        drop(socket);
        assert!(path.exists());
        drop(other);

        fs::remove_file(&path).expect("removed");
        fs::write(&path, "not a socket").expect("written");
        let refused = format!("{:#}", Socket::bind(&path).expect_err("a file is there"));
        assert!(refused.contains("is no socket"), "{refused}");

        let long = folder.join("x".repeat(200));
        assert!(format!("{:#}", Socket::bind(&long).expect_err("too long")).contains("--socket"));
        fs::remove_dir_all(folder.parent().expect("a folder")).expect("cleaning up");
    }
}
