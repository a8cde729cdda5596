//! Users and their homes, from the user database.

use nix::unistd::User;

/// Home of every user that the local user database lists.
#[must_use]
pub fn homes() -> Vec<(u32, Vec<u8>)> {
    // The database behind getpwent may ask the network; what is listed locally is enough to begin with, and the user
    // a session runs as is looked up by itself.
    let text = std::fs::read("/etc/passwd").unwrap_or_default();
    text.split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
            let uid = std::str::from_utf8(fields.get(2)?).ok()?.parse().ok()?;
            let home = *fields.get(5)?;
            (home.len() > 1).then(|| (uid, home.to_vec()))
        })
        .collect()
}

/// Home of one user, from whatever database the machine uses.
#[must_use]
pub fn home_of(uid: u32) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStringExt as _;
    User::from_uid(uid.into()).ok().flatten().map(|user| user.dir.into_os_string().into_vec())
}

/// Name of one user, likewise.
#[must_use]
pub fn name_of(uid: u32) -> Option<String> {
    User::from_uid(uid.into()).ok().flatten().map(|user| user.name)
}
