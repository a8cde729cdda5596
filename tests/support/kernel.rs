//! Whether this machine can run guard at all. Who can't test says so and fails: a skipped test looks like a passed one.

use std::io;
use std::path::Path;

use serde_json::Value;

use crate::guard::binary;
use crate::run::Job;

/// By which way guard says that security hooks ask it here; `none`, if it says that they don't.
///
/// # Panics
/// If it says nothing.
#[must_use]
pub fn hooks() -> String {
    let done = Job::new(binary(), Path::new("/")).args(["doctor", "--json"]).run();
    let report: Value = serde_json::from_str(&done.out()).unwrap_or_else(|error| panic!("{error}: {}", done.err()));
    report["hooks"].as_str().unwrap_or("none").to_owned()
}

/// Fails the test, with the way out, where this machine can't load kernel programs.
///
/// # Panics
/// Without root, without BTF, or where BPF is refused.
pub fn require_kernel() {
    if let Err(reason) = kernel() {
        panic!(
            "this test needs a kernel to load programs into, and can't be skipped: {reason}\n\
             as root: sudo --preserve-env=PATH,HOME cargo xtask test"
        );
    }
}

fn kernel() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("not root".to_owned());
    }
    let btf = Path::new("/sys/kernel/btf/vmlinux");
    if !btf.exists() {
        return Err(format!("no {}", btf.display()));
    }
    bpf().map_err(|error| format!("bpf(2) is refused: {error}"))
}

/// Makes the smallest of maps, which takes the same right as everything else.
fn bpf() -> io::Result<()> {
    /// The head of `union bpf_attr` for `BPF_MAP_CREATE`.
    #[repr(C)]
    struct Create {
        kind: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
    }
    const BPF_MAP_CREATE: libc::c_long = 0;
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    let create = Create { kind: BPF_MAP_TYPE_ARRAY, key_size: 4, value_size: 4, max_entries: 1 };
    // SAFETY: the attributes are as long as said, and outlive the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_CREATE, &raw const create, size_of::<Create>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and ours.
    unsafe { libc::close(fd as i32) };
    Ok(())
}
