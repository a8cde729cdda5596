//! Names that are different each time: of temporary files, of processes, of what is called by its hash.

use crate::policy::glob::escaped;

/// Random endings of names that programs make temporary files with: the beginning, and how many characters follow.
const KNOWN: &[(&str, usize)] = &[
    // mktemp(1), Python's tempfile, gcc, rustc, Rust's tempfile.
    ("tmp.", 10),
    ("tmp", 8),
    ("cc", 6),
    ("rustc", 6),
    (".tmp", 6),
    // What Python tries out a folder with.
    ("", 8),
];
/// Characters that `mkstemp` puts in.
const MKSTEMP: usize = 6;
/// Digits that make a number one that is different each time.
const MANY_DIGITS: usize = 5;
/// Hexadecimal characters that make a name a hash.
const HASH: usize = 16;

/// The name as a glob in which what is different each time is a wildcard; none where nothing is.
pub fn general(name: &str) -> Option<String> {
    let mut changed = false;
    let mut glob = String::new();
    let parts: Vec<&str> = name.split_inclusive(['-', '.', '_', '@', '+']).collect();
    if is_uuid(name) {
        return Some("*".to_owned());
    }
    for part in parts {
        let (word, end) = match part.char_indices().next_back() {
            Some((at, separator)) if !separator.is_ascii_alphanumeric() => part.split_at(at),
            _ => (part, ""),
        };
        let digits = word.len() >= MANY_DIGITS && word.bytes().all(|byte| byte.is_ascii_digit());
        if digits || is_hash(word) {
            changed = true;
            glob.push('*');
        } else {
            glob.push_str(&escaped(word));
        }
        glob.push_str(&escaped(end));
    }
    changed.then_some(glob)
}

/// The same for a name in a folder of temporary files; `created`: the session itself made the file.
pub fn temporary(name: &str, created: bool) -> Option<String> {
    // Extensions of a few letters say what it is, and stay.
    let mut stem = name;
    while let Some(dot) = stem.rfind('.').filter(|&dot| dot > 0 && (2..=6).contains(&(stem.len() - dot))) {
        stem = &stem[..dot];
    }
    let extension = &name[stem.len()..];
    let random = |tail: &str| tail.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let known = KNOWN.iter().find(|(beginning, count)| {
        let tail = stem.strip_prefix(beginning);
        tail.is_some_and(|tail| {
            tail.len() == *count && random(tail) && (!beginning.is_empty() || created || mixed(tail))
        })
    });
    if let Some((beginning, count)) = known {
        return Some(format!("{}{}{}", escaped(beginning), "?".repeat(*count), escaped(extension)));
    }
    let cut = stem.len().checked_sub(MKSTEMP).filter(|&cut| stem.is_char_boundary(cut));
    if let Some((beginning, tail)) = cut.map(|cut| stem.split_at(cut))
        && random(tail)
        && mixed(tail)
    {
        return Some(format!("{}{}{}", escaped(beginning), "?".repeat(MKSTEMP), escaped(extension)));
    }
    general(name)
}

/// Whether letters look thrown together: a digit among them, or capitals among small ones.
fn mixed(tail: &str) -> bool {
    let has = |is: fn(&u8) -> bool| tail.as_bytes().iter().any(is);
    has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
        || tail.as_bytes()[1..].iter().any(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase)
}

fn is_hash(word: &str) -> bool {
    let hexadecimal = word.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    word.len() >= HASH && hexadecimal
}

fn is_uuid(name: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let groups: Vec<&str> = name.split('-').collect();
    groups.len() == lengths.len()
        && groups
            .iter()
            .zip(lengths)
            .all(|(group, length)| group.len() == length && group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_different_each_time_becomes_a_wildcard() {
        for (name, glob) in [
            ("8a0f3c1e-1111-2222-3333-0123456789ab", "*"),
            ("lib-0123456789abcdef.rlib", "lib-*.rlib"),
            ("log-20251121", "log-*"),
            ("da39a3ee5e6b4b0d3255bfef95601890afd80709", "*"),
        ] {
            assert_eq!(general(name).as_deref(), Some(glob), "{name}");
        }
        for name in ["main.rs", "libc.so.6", "python3.11", "x86_64-linux-gnu", "2025", "deadbeef"] {
            assert_eq!(general(name), None, "{name}");
        }
    }

    #[test]
    fn names_of_temporary_files_keep_their_form() {
        for (name, glob) in [
            ("tmp.Ab12Cd34Ef", "tmp.??????????"),
            ("tmpyt_mx3pq", "tmp????????"),
            ("fdmfxv5i", "????????"),
            ("ccabcdef.s", "cc??????.s"),
            ("ccADUoYL.cdtor.o", "cc??????.cdtor.o"),
            ("rustcAbC123", "rustc??????"),
            ("cargo-installXy12Zz", "cargo-install??????"),
            (".tmpAbC12x", ".tmp??????"),
            ("{a}-x9Yz12", "\\{a\\}-??????"),
        ] {
            assert_eq!(temporary(name, false).as_deref(), Some(glob), "{name}");
        }
        for name in ["output.log", "my-folder", "pytest-of-root", "a", "projects", "äöüäöü"] {
            assert_eq!(temporary(name, false), None, "{name}");
        }
        assert_eq!(temporary("mprgmmvx", true).as_deref(), Some("????????"));
    }
}
