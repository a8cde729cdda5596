//! Compiles the kernel programs and puts the object where `include_bytes_aligned!` finds it.

use std::env;

use anyhow::Context as _;
use aya_build::{Package, Toolchain};

/// Name under which `cargo xtask setup` links a compiler that has `core` for BPF.
const LINKED_TOOLCHAIN: &str = "guard-bpf";

fn main() -> anyhow::Result<()> {
    println!("cargo::rerun-if-changed=../guard-common/src");
    println!("cargo::rerun-if-env-changed=GUARD_BPF_TOOLCHAIN");
    let toolchain = env::var("GUARD_BPF_TOOLCHAIN").unwrap_or_else(|_| LINKED_TOOLCHAIN.to_owned());
    // aya-ebpf uses one unstable feature of the compiler. Naming the crate keeps everything else stable, and
    // keeps aya-build from asking for `-Z build-std` where the toolchain has `core` already.
    if env::var_os("RUSTC_BOOTSTRAP").is_none() && !toolchain.starts_with("nightly") {
        // SAFETY: a build script's main thread, before anything else was started.
        unsafe { env::set_var("RUSTC_BOOTSTRAP", "aya_ebpf,guard_ebpf") };
    }
    aya_build::build_ebpf(
        [Package { name: "guard-ebpf", root_dir: "../guard-ebpf", ..Package::default() }],
        Toolchain::Custom(&toolchain),
    )
    .context("the kernel programs could not be built; `cargo xtask setup` installs what that takes")
}
