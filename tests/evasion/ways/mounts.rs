//! Mounts, roots and namespaces. Each attempt has a mount namespace of its own to begin with.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::FromRawFd as _;

use nix::libc;

use crate::place::Place;
use crate::way::Class::Read;

use crate::way::Part::{Code, Sh};
use crate::way::{Part, Way, way};

const fn mounted(name: &'static str, tries: &'static str, attempt: Part) -> Way {
    way(Read, "secrets", name, tries, attempt)
}

/// Somebody outside, in a mount namespace where the secret has another place.
const ELSEWHERE: Part = Sh("exec unshare -m --propagation private sh -c '
    mkdir allowed/x; mount --bind denied allowed/x; echo $$ >early; mv early ready; exec sleep 60'");

/// The ways.
pub const WAYS: &[Way] = &[
    mounted(
        "bind-mount",
        "a bind mount of the folder",
        Sh("mkdir allowed/x; mount --bind denied allowed/x; cat allowed/x/secret"),
    ),
    mounted(
        "bind-mount-file",
        "a bind mount of the file",
        Sh(": >allowed/x; mount --bind denied/secret allowed/x; cat allowed/x"),
    ),
    mounted(
        "bind-mount-twice",
        "a bind mount of the place, and one of what it shows",
        Sh("mkdir allowed/x allowed/y; mount --bind . allowed/x; mount --bind allowed/x/denied allowed/y
            cat allowed/y/secret"),
    ),
    mounted(
        "bind-mount-elsewhere",
        "a bind mount of a folder that lies on a filesystem of its own, as /home often does",
        Sh("mkdir allowed/x; mount --bind denied allowed/x; cat allowed/x/secret"),
    )
    .apart(),
    mounted(
        "bind-mount-whole",
        "a bind mount of a whole filesystem, at another place",
        Sh("mkdir allowed/x; mount --bind $place allowed/x; cat allowed/x/denied/secret"),
    )
    .apart(),
    mounted(
        "bind-mount-root",
        "a bind mount of the root's filesystem, with whatever lies on it",
        Sh("mkdir allowed/x; mount --rbind / allowed/x; cat allowed/x$place/denied/secret"),
    ),
    mounted(
        "user-namespace-elsewhere",
        "a user namespace, root in it, and a bind mount of a filesystem of its own",
        Sh("mkdir x; unshare -Urm sh -euc 'mount --bind denied x; cat x/secret'"),
    )
    .apart(),
    mounted(
        "overlay",
        "an overlay mount with the folder below",
        Sh("mkdir -p allowed/x tmp; mount -t tmpfs none tmp; mkdir tmp/up tmp/work
            mount -t overlay -o lowerdir=denied,upperdir=tmp/up,workdir=tmp/work none allowed/x; cat allowed/x/secret"),
    ),
    mounted(
        "mount-namespace",
        "a mount namespace of its own, and a bind mount there",
        Sh("mkdir x; unshare -m sh -euc 'mount --bind denied x; cat x/secret'"),
    ),
    mounted(
        "user-namespace",
        "a user namespace, root in it, and a bind mount there",
        Sh("mkdir x; unshare -Urm sh -euc 'mount --bind denied x; cat x/secret'"),
    ),
    mounted("mount-namespace-of-another", "enters a mount namespace where it has another place", Sh(
        "nsenter -t $(cat ready) -m cat $place/allowed/x/secret",
    ))
    .beside(ELSEWHERE),
    mounted("proc-root-of-another", "looks into that namespace through /proc/PID/root", Sh(
        "cat /proc/$(cat ready)/root/$place/allowed/x/secret",
    ))
    .beside(ELSEWHERE),
    mounted("detached-mount", "a copy of the mount that is attached nowhere", Code(detached)),
    mounted("chroot", "makes the folder its root", Code(|_| {
        std::os::unix::fs::chroot("denied")?;
        read("/secret")
    })),
    mounted("pivot-root", "makes a bind mount of the folder the root of its namespace", Code(pivot)),
];

/// Reads a file to standard output without another program's help.
fn read(path: &str) -> io::Result<()> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    out(&bytes)
}

fn out(bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    io::stdout().write_all(bytes)?;
    io::stdout().flush()
}

fn pivot(_: &Place) -> io::Result<()> {
    std::fs::create_dir("denied/old")?;
    std::fs::create_dir("x")?;
    nix::mount::mount(Some("denied"), "x", None::<&str>, nix::mount::MsFlags::MS_BIND, None::<&str>)?;
    nix::unistd::pivot_root("x", "x/old")?;
    std::env::set_current_dir("/")?;
    read("/secret")
}

/// `OPEN_TREE_CLONE`.
const OPEN_TREE_CLONE: libc::c_long = 1;

fn detached(_: &Place) -> io::Result<()> {
    let at = libc::c_long::from(libc::AT_FDCWD);
    // SAFETY: terminated paths; a result that is not negative is a new descriptor.
    let mut file = unsafe {
        let tree = libc::syscall(libc::SYS_open_tree, at, c"denied".as_ptr(), OPEN_TREE_CLONE);
        let tree = nix::errno::Errno::result(tree)?;
        File::from_raw_fd(nix::errno::Errno::result(libc::openat(tree as i32, c"secret".as_ptr(), libc::O_RDONLY))?)
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    out(&bytes)
}
