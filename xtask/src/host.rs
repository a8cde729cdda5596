//! What this machine has. Only looks, changes nothing, and looks fast: every task starts with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

/// The name under which guard-user's build script looks for its compiler.
pub const TOOLCHAIN: &str = "guard-bpf";
/// Where Debian's compiler lives: as a toolchain, its folder is /usr.
pub const SYSTEM: &str = "/usr";
/// Where Debian's LLVM lives, of the version that bpf-linker is built with.
const LLVM: &str = "/usr/lib/llvm-22";
/// What a compiler with `core` for BPF is made of on Debian.
pub const COMPILER_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];
/// What building bpf-linker takes on Debian.
pub const LINKER_PACKAGES: [&str; 5] = ["llvm-22-dev", "libpolly-22-dev", "zlib1g-dev", "libzstd-dev", "g++"];

/// The facts that set-up decides by.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Whether packages can be installed by apt: it is there, and so is the right to.
    pub apt: bool,
    /// Debian or a child of it, root or not.
    pub debian: bool,
    /// Whether toolchains can be linked.
    pub rustup: bool,
    /// The folder that the toolchain `guard-bpf` points to, good or not.
    pub linked: Option<PathBuf>,
    /// Folders of compilers that can build for BPF and be linked, best first.
    pub compilers: Vec<PathBuf>,
    /// The folder of the compiler that plain `cargo` uses, asked for only without rustup.
    pub plain: Option<PathBuf>,
    /// bpf-linker's version, if there is one.
    pub linker: Option<String>,
    /// Folder of an LLVM that bpf-linker can be built with.
    pub llvm: Option<PathBuf>,
    /// Which of Debian's packages above are there.
    pub packages: Vec<String>,
}

impl Host {
    /// Looks around.
    pub fn look() -> Self {
        let debian = Path::new("/etc/debian_version").exists() && program("apt-get").is_some();
        let rustup = program("rustup").is_some();
        let toolchains = rustup_home().join("toolchains");
        let linked = fs::canonicalize(toolchains.join(TOOLCHAIN)).ok();
        let mut compilers = vec![PathBuf::from(SYSTEM)];
        let mut nightlies: Vec<PathBuf> = fs::read_dir(&toolchains)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        nightlies.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nightly")));
        // The undated `nightly-x86_64...` sorts after the dated ones, and is the newest.
        nightlies.sort_by(|a, b| b.cmp(a));
        compilers.extend(nightlies);
        compilers.retain(|folder| can_build_bpf(folder) && linkable(folder));
        let packages = if debian { installed() } else { Vec::new() };
        Self {
            apt: debian && is_root(),
            debian,
            rustup,
            linked,
            compilers,
            plain: if rustup { None } else { sysroot() },
            linker: said("bpf-linker", &["--version"])
                .and_then(|text| Some(text.split_whitespace().nth(1)?.to_owned())),
            llvm: llvm(&packages),
            packages,
        }
    }
}

/// Whether the compiler in this folder has what `bpfel-unknown-none` takes: `core` ready made, or its source for
/// a nightly to build.
pub fn can_build_bpf(folder: &Path) -> bool {
    let compiled = fs::read_dir(folder.join("lib/rustlib/bpfel-unknown-none/lib")).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    });
    let source = folder.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file();
    (compiled || source) && ["bin/rustc", "bin/cargo"].iter().all(|name| folder.join(name).exists())
}

/// Whether bpf-linker can read what this compiler writes: an LLVM reads what is as old as itself or older.
fn linkable(folder: &Path) -> bool {
    let output = Command::new(folder.join("bin/rustc")).arg("-vV").stdin(Stdio::null()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let version = text.lines().find_map(|line| line.strip_prefix("LLVM version: "));
    version.and_then(|version| version.split('.').next()?.parse().ok()).is_some_and(|major: u32| major <= 22)
}

/// Whether we may do anything.
pub fn is_root() -> bool {
    // The owner of /proc/self is the effective user.
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

/// The first program of this name on the path. Cargo's own folder counts too: cargo finds its tools there, and after
/// a first installation the user's shell may not have heard of it yet.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([cargo_home().join("bin")]);
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Cargo's folder for what it installs.
pub fn cargo_home() -> PathBuf {
    env::var_os("CARGO_HOME").map_or_else(|| home().join(".cargo"), PathBuf::from)
}

fn rustup_home() -> PathBuf {
    env::var_os("RUSTUP_HOME").map_or_else(|| home().join(".rustup"), PathBuf::from)
}

fn home() -> PathBuf {
    env::home_dir().unwrap_or_else(|| PathBuf::from("/"))
}

fn sysroot() -> Option<PathBuf> {
    said("rustc", &["--print", "sysroot"]).map(|text| PathBuf::from(text.trim()))
}

fn llvm(packages: &[String]) -> Option<PathBuf> {
    if let Some(named) = env::var_os("LLVM_SYS_221_PREFIX") {
        return Some(named.into());
    }
    if LINKER_PACKAGES.iter().all(|name| packages.iter().any(|have| have == name)) {
        return Some(LLVM.into());
    }
    let version = said("llvm-config", &["--version"])?;
    let prefix = PathBuf::from(said("llvm-config", &["--prefix"])?.trim());
    // Debian's, with some of its packages missing, was found wanting above.
    (version.starts_with("22.") && prefix != Path::new(LLVM)).then_some(prefix)
}

fn installed() -> Vec<String> {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f", "${Package} ${db:Status-Status}\\n"]).args(COMPILER_PACKAGES).args(LINKER_PACKAGES);
    // It fails when it doesn't know one of them, and still tells about the others.
    let Ok(output) = query.stderr(Stdio::null()).output() else { return Vec::new() };
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(|line| line.strip_suffix(" installed")).map(str::to_owned).collect()
}

/// What a program prints, if it is there and succeeds.
fn said(name: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program(name)?).args(args).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
