//! From the paths that were seen to the patterns that allow them and their like.

use super::name::{general, temporary};
use crate::policy::glob::escaped;

/// Where a session's places are, each absolute and without `/` at its end.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Its repository.
    pub repo: Option<String>,
    /// Its user's home.
    pub home: Option<String>,
}

/// What a path is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It is read: a folder of the system may be read as a whole.
    Read,
    /// It is written.
    Write,
    /// It was created: in a folder of temporary files its name is likely to be a new one each time.
    Create,
    /// It is executed, or is a socket.
    Exact,
}

/// Folders in which everybody puts temporary files.
const TEMPORARY: &[&str] = &["/tmp", "/var/tmp", "/dev/shm"];
/// Folders of programs and what belongs to them; one more name says which.
const SYSTEM: &[&str] = &["/usr/local", "/usr", "/opt", "/nix", "/snap", "/etc", "/var/lib", "/sys"];
/// Folders of the system that can be read as they are.
const LIBRARIES: &[&str] = &["/lib", "/lib64", "/bin", "/sbin"];
/// Folders in a home whose folders belong to one program each.
const SHARED: &[&str] = &[".cache", ".config", ".local/share", ".local/state", ".local/lib"];

impl Places {
    /// Without a repository that is no project of its own: it would make a pattern of half the machine.
    #[must_use]
    pub fn sensible(mut self) -> Self {
        let home = self.home.clone();
        let holds_home = |repo: &str| home.as_deref().is_some_and(|home| below(home, repo).is_some() || home == repo);
        self.repo = self.repo.filter(|repo| repo.matches('/').count() > 1 && !holds_home(repo));
        self.home = self.home.filter(|home| home.len() > 1);
        self
    }
}

/// The pattern that allows `path`; none where there is no pattern that could.
pub fn pattern(path: &str, used: Use, places: &Places) -> Option<String> {
    if !path.starts_with('/') || path.ends_with('/') || path.contains(char::is_control) {
        return None;
    }
    // The place itself; `{repo}` alone is no pattern.
    if [&places.repo, &places.home].into_iter().flatten().any(|place| path == place) {
        return Some(escaped(path));
    }
    if let Some(repo) = &places.repo
        && below(path, repo).is_some()
    {
        return Some("{repo}/**".to_owned());
    }
    if let Some(home) = &places.home
        && let Some(rest) = below(path, home)
    {
        return Some(format!("{{home}}/{}", in_home(rest, used)));
    }
    if let Some((folder, rest)) = in_one_of(path, TEMPORARY) {
        let (first, deeper) = rest.split_once('/').map_or((rest, false), |(first, _)| (first, true));
        let name = temporary(first, used == Use::Create).unwrap_or_else(|| escaped(first));
        return Some(format!("{folder}/{name}{}", if deeper { "/**" } else { "" }));
    }
    if let Some(rest) = path.strip_prefix("/proc/") {
        return Some(format!("/proc/{}", numbers(rest)));
    }
    if path.starts_with("/dev/") || path.starts_with("/run/") {
        return Some(numbers(path));
    }
    if used == Use::Read
        && let Some(folder) = system(path)
    {
        return Some(folder);
    }
    Some(names(path))
}

/// What lies below `folder`, from there.
fn below<'p>(path: &'p str, folder: &str) -> Option<&'p str> {
    path.strip_prefix(folder)?.strip_prefix('/').filter(|rest| !rest.is_empty())
}

fn in_one_of<'p>(path: &'p str, folders: &[&'static str]) -> Option<(&'static str, &'p str)> {
    folders.iter().find_map(|folder| Some((*folder, below(path, folder)?)))
}

/// A path in a home: a hidden folder's folder belongs to one program, and is taken as a whole.
fn in_home(rest: &str, used: Use) -> String {
    if !rest.starts_with('.') || used == Use::Exact {
        return names(rest);
    }
    let shared = SHARED.iter().find(|shared| below(rest, shared).is_some());
    let kept = shared.map_or(2, |shared| shared.split('/').count() + 1);
    let components: Vec<&str> = rest.split('/').collect();
    match components.get(..kept) {
        Some(folder) if components.len() > kept => format!("{}/**", names(&folder.join("/"))),
        _ => names(rest),
    }
}

/// The folder of the system that a path lies in.
fn system(path: &str) -> Option<String> {
    if let Some((folder, _)) = in_one_of(path, LIBRARIES) {
        return Some(format!("{folder}/**"));
    }
    let (folder, rest) = in_one_of(path, SYSTEM)?;
    let (first, _) = rest.split_once('/')?;
    Some(format!("{folder}/{}/**", escaped(first)))
}

/// A path in which every component that is a number is any.
fn numbers(path: &str) -> String {
    let any = |component: &str| !component.is_empty() && component.bytes().all(|byte| byte.is_ascii_digit());
    let component = |component| if any(component) { "*".to_owned() } else { name(component) };
    path.split('/').map(component).collect::<Vec<_>>().join("/")
}

/// A path with its names made general, each by itself.
fn names(path: &str) -> String {
    path.split('/').map(name).collect::<Vec<_>>().join("/")
}

fn name(name: &str) -> String {
    general(name).unwrap_or_else(|| escaped(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_patterns() {
        let places = Places { repo: Some("/home/u/src/app".to_owned()), home: Some("/home/u".to_owned()) }.sensible();
        let read = |path: &str| pattern(path, Use::Read, &places).expect(path);
        for (path, glob) in [
            ("/usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib/**"),
            ("/usr/local/lib/python3/x.py", "/usr/local/lib/**"),
            ("/etc/ld.so.cache", "/etc/ld.so.cache"),
            ("/etc/ssl/certs/x.pem", "/etc/ssl/**"),
            ("/home/u/src/app/a/b", "{repo}/**"),
            ("/home/u/src/other/a", "{home}/src/other/a"),
            ("/home/u/.gitconfig", "{home}/.gitconfig"),
            ("/home/u/.cache/pip/http/a", "{home}/.cache/pip/**"),
            ("/home/u/.local/share/x/y/z", "{home}/.local/share/x/**"),
            ("/home/u/.cargo/registry/index/a", "{home}/.cargo/registry/**"),
            ("/home/u/.cargo/env", "{home}/.cargo/env"),
            ("/tmp/tmp.Ab12Cd34Ef/x/y", "/tmp/tmp.??????????/**"),
            ("/tmp/ccAbCdEf.s", "/tmp/cc??????.s"),
            ("/proc/4711/status", "/proc/*/status"),
            ("/proc/4711/task/12/comm", "/proc/*/task/*/comm"),
            ("/dev/pts/3", "/dev/pts/*"),
            ("/dev/null", "/dev/null"),
            ("/run/user/1000/bus", "/run/user/*/bus"),
            ("/srv/data/{x}", "/srv/data/\\{x\\}"),
        ] {
            assert_eq!(read(path), glob);
        }
        assert_eq!(pattern("/usr/lib/git-core/git", Use::Exact, &places).as_deref(), Some("/usr/lib/git-core/git"));
        assert_eq!(pattern("/etc/x/y", Use::Write, &places).as_deref(), Some("/etc/x/y"));
        for none in ["/", "pipe:[1]", "", "/a\n"] {
            assert_eq!(pattern(none, Use::Read, &places), None, "{none}");
        }
    }

    #[test]
    fn a_repository_is_a_folder_of_its_own() {
        let repo = |repo: &str| {
            let places = Places { repo: Some(repo.to_owned()), home: Some("/home/u".to_owned()) };
            places.sensible().repo.is_some()
        };
        assert!(repo("/home/u/x") && repo("/srv/x"));
        assert!(!repo("/home/u") && !repo("/home") && !repo("/") && !repo("/srv") && !repo(""));
    }
}
