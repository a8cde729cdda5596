//! Pins: what goes on enforcing when the daemon dies, and what the next one needs to take over.
//!
//! A program is attached as long as somebody holds its link, and a name in bpffs holds it as well as a process does
//! (`kernel/bpf/inode.c:bpf_obj_do_pin`). So each daemon has a folder of its own there, with the names of its links, and of the maps
//! that say who is guarded and what happened. As long as it lives it keeps the folder locked: one that can be
//! locked was left behind ([`Left`]).

use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use aya::maps::{Array, Map, MapData};
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::left::Left;
use super::own;

/// Where pins go if nothing else is said.
pub const FOLDER: &str = "/sys/fs/bpf/guard";
/// Where bpffs belongs.
const BPFFS: &str = "/sys/fs/bpf";
/// What a daemon's own folder begins with. To be raised with every change of what the maps hold that are pinned, so that none is
/// read as what it is not.
pub(super) const PREFIX: &str = "daemon-1-";
/// The map with the last sign of life.
pub(super) const ALIVE: &str = "alive";
/// How long another start is waited for.
const OTHER_START: Duration = Duration::from_secs(10);
/// `BPF_OBJ_PIN` (`include/uapi/linux/bpf.h:enum bpf_cmd`).
const BPF_OBJ_PIN: libc::c_long = 6;

/// A piece of what user space knows: what a map's value holds of it.
pub(super) type Piece = [u8; 4096];

/// The folder of all daemons' pins. While it is open, no other daemon starts with it.
pub struct Folder {
    path: PathBuf,
    _start: Flock<File>,
}

/// The pins of this daemon. Once they [stand](Self::stand) they stay when this is dropped, until they are [lifted](Self::lift).
pub struct Pins {
    path: PathBuf,
    alive: Array<MapData, u64>,
    alive_number: u32,
    stands: bool,
    _lock: Flock<File>,
}

impl Folder {
    /// Opens it, and makes it where it is missing. Where bpffs is not mounted at its usual place, it is.
    ///
    /// # Errors
    /// If it can't be had: nothing then survives this process.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        if path.starts_with(BPFFS) && !is_bpffs(Path::new(BPFFS)) {
            mount(Some("bpffs"), BPFFS, Some("bpf"), MsFlags::empty(), Some("mode=700"))
                .with_context(|| format!("bpffs could not be mounted at {BPFFS}"))?;
        }
        if !path.exists() {
            fs::create_dir(path).with_context(|| format!("{} could not be made", path.display()))?;
            fs::set_permissions(path, Permissions::from_mode(0o700)).with_context(|| path.display().to_string())?;
        }
        if !is_bpffs(path) {
            bail!("{} is not in a bpffs", path.display());
        }
        let start = lock_for_start(path)?;
        Ok(Self { path: path.to_owned(), _start: start })
    }

    /// What daemons have left behind that ended without a chance to remove it.
    ///
    /// # Errors
    /// If the folder can't be read.
    pub fn left_behind(&self) -> anyhow::Result<Vec<Left>> {
        let mut left = Vec::new();
        for entry in fs::read_dir(&self.path).with_context(|| self.path.display().to_string())? {
            let path = entry.with_context(|| self.path.display().to_string())?.path();
            let ours = path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"daemon-")) && path.is_dir();
            if ours && let Ok(folder) = File::open(&path)
                // One that is locked belongs to a daemon that lives.
                && let Ok(lock) = Flock::lock(folder, FlockArg::LockExclusiveNonblock)
            {
                left.push(Left::new(path, lock));
            }
        }
        Ok(left)
    }

    /// Makes a folder for this daemon.
    ///
    /// # Errors
    /// Whatever bpffs says.
    pub fn own(&self) -> anyhow::Result<Pins> {
        let mut number = std::process::id();
        let path = loop {
            let path = self.path.join(format!("{PREFIX}{number}"));
            match fs::create_dir(&path) {
                Ok(()) => break path,
                // The process that had this id before has left its own.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1 << 22,
                Err(error) => return Err(error).with_context(|| path.display().to_string()),
            }
        };
        let folder = File::open(&path).with_context(|| path.display().to_string())?;
        let lock = Flock::lock(folder, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| error)
            .with_context(|| format!("{} could not be locked", path.display()))?;
        let (alive, alive_number) = sign_of_life(&path.join(ALIVE)).inspect_err(|_| remove(&path))?;
        Ok(Pins { path, alive, alive_number, stands: false, _lock: lock })
    }
}

/// A pinned map for signs of life, and its number.
fn sign_of_life(path: &Path) -> anyhow::Result<(Array<MapData, u64>, u32)> {
    let (map, number) = own::array::<u64>(1, 0).context("the kernel refused a map")?;
    map.pin(path).with_context(|| format!("{} could not be pinned", path.display()))?;
    let map = MapData::from_pin(path).with_context(|| path.display().to_string())?;
    Ok((Array::try_from(Map::Array(map))?, number))
}

impl Pins {
    /// Where one of this name belongs.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Gives something a name here.
    pub(super) fn pin(&self, name: &str, object: BorrowedFd<'_>) -> anyhow::Result<()> {
        pin(object, &self.at(name))
    }

    /// Leaves a sign of life, of the moment `now`, in nanoseconds since boot.
    ///
    /// # Errors
    /// Whatever the kernel says.
    pub fn alive(&mut self, now: u64) -> anyhow::Result<()> {
        self.alive.set(0, now, 0).context("no sign of life could be left")
    }

    /// Leaves something that user space knows, by a name, for whoever takes over; what was left by that name is replaced at once
    /// and whole.
    ///
    /// # Errors
    /// If the kernel has no room for it.
    pub fn leave(&self, name: &str, content: &[u8]) -> anyhow::Result<u32> {
        let mut text = (content.len() as u64).to_le_bytes().to_vec();
        text.extend_from_slice(content);
        let pieces = text.len().div_ceil(size_of::<Piece>());
        text.resize(pieces * size_of::<Piece>(), 0);
        let (mut map, number) = own::array::<Piece>(pieces as u32, 0).context("the kernel refused a map")?;
        for (number, piece) in text.as_chunks::<{ size_of::<Piece>() }>().0.iter().enumerate() {
            map.set(number as u32, piece, 0).with_context(|| format!("{name} could not be written"))?;
        }
        let (next, name) = (self.at("next"), self.at(name));
        // An earlier attempt may have come to nothing between the two.
        drop(fs::remove_file(&next));
        map.pin(&next).with_context(|| format!("{} could not be pinned", next.display()))?;
        fs::rename(&next, &name).with_context(|| name.display().to_string())?;
        Ok(number)
    }

    /// Number of the map with signs of life.
    #[must_use]
    pub fn alive_number(&self) -> u32 {
        self.alive_number
    }

    /// From here on they outlive this process.
    pub fn stand(&mut self) {
        self.stands = true;
    }

    /// Removes them: what they held ends with this process.
    pub fn lift(mut self) {
        self.stands = false;
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if !self.stands {
            remove(&self.path);
        }
    }
}

/// Removes a daemon's folder, as far as that goes.
pub(super) fn remove(folder: &Path) {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    for name in names {
        drop(fs::remove_file(name.path()));
    }
    drop(fs::remove_dir(folder));
}

/// Gives what `object` stands for a name in bpffs.
fn pin(object: BorrowedFd<'_>, path: &Path) -> anyhow::Result<()> {
    /// What `BPF_OBJ_PIN` reads of `union bpf_attr`.
    #[repr(C)]
    struct Attributes {
        path: u64,
        object: u32,
        flags: u32,
    }
    let name = CString::new(path.as_os_str().as_bytes())?;
    let object = object.as_raw_fd() as u32;
    let attributes = Attributes { path: name.as_ptr() as u64, object, flags: 0 };
    // SAFETY: the attributes are those of this command, of the size that is told, and what they point to lives until the call
    // is over.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_PIN, &raw const attributes, size_of::<Attributes>()) };
    if result == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error()).with_context(|| format!("{} could not be pinned", path.display()))
}

/// Locks the folder, once no other daemon is starting any more.
fn lock_for_start(path: &Path) -> anyhow::Result<Flock<File>> {
    let deadline = Instant::now() + OTHER_START;
    let mut folder = File::open(path).with_context(|| path.display().to_string())?;
    loop {
        match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((_, error)) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("{} is locked by another start", path.display()));
            }
            Err((file, _)) => folder = file,
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}
