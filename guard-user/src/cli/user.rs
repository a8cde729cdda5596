//! Whom a command runs as: the person who called, not the root that guard needs for itself.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;

use anyhow::Context as _;
use nix::unistd::{Gid, Uid, User, getuid, setgid, setgroups, setuid};

/// The person behind guard.
pub struct Caller {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    /// Where they live.
    pub home: Vec<u8>,
    /// Variables that sudo changed to root's and that must be theirs again.
    pub variables: Vec<(&'static str, String)>,
}

impl Caller {
    /// The person who ran sudo, or whoever runs this where there was no sudo.
    ///
    /// # Errors
    /// If sudo's variables name nobody.
    pub fn find() -> anyhow::Result<Self> {
        let id = |name: &str| -> anyhow::Result<Option<u32>> {
            match std::env::var(name) {
                Ok(text) => Ok(Some(text.parse().with_context(|| format!("{name} is {text:?}, not a number"))?)),
                Err(_) => Ok(None),
            }
        };
        let by_sudo = if getuid().is_root() { id("SUDO_UID")? } else { None };
        let uid = by_sudo.map_or_else(getuid, Uid::from_raw);
        let user = User::from_uid(uid).ok().flatten();
        let gid = match (by_sudo, id("SUDO_GID")?) {
            (Some(_), Some(gid)) => Gid::from_raw(gid),
            (Some(_), None) => user.as_ref().map_or(Gid::from_raw(uid.as_raw()), |user| user.gid),
            (None, _) => nix::unistd::getgid(),
        };
        let groups = match (&user, by_sudo) {
            (Some(user), Some(_)) => {
                let name = CString::new(user.name.as_bytes()).context("a user name with a NUL")?;
                nix::unistd::getgrouplist(&name, gid).context("the caller's groups can't be read")?
            }
            (None, Some(_)) => vec![gid],
            (_, None) => nix::unistd::getgroups().context("the groups can't be read")?,
        };
        let home = match (&user, std::env::var_os("HOME")) {
            (_, Some(home)) if by_sudo.is_none() => home.as_bytes().to_vec(),
            (Some(user), _) => user.dir.as_os_str().as_bytes().to_vec(),
            (None, home) => home.map(|home| home.as_bytes().to_vec()).unwrap_or_default(),
        };
        let variables = match (&user, by_sudo) {
            (Some(user), Some(_)) => vec![
                ("HOME", user.dir.to_string_lossy().into_owned()),
                ("USER", user.name.clone()),
                ("LOGNAME", user.name.clone()),
                ("SHELL", user.shell.to_string_lossy().into_owned()),
            ],
            _ => Vec::new(),
        };
        Ok(Self { uid, gid, groups, home, variables })
    }

    /// Becomes that person. Only calls system calls, so it may be used between fork and exec.
    ///
    /// # Errors
    /// What the system calls say.
    pub fn become_them(&self) -> nix::Result<()> {
        if getuid().is_root() {
            setgroups(&self.groups)?;
            setgid(self.gid)?;
            setuid(self.uid)?;
        }
        Ok(())
    }
}
