//! Running a program that must not run, known by its path.

use std::io;

use nix::libc;

use crate::place::{Place, word};
use crate::way::Class::Exec;
use crate::way::Outcome::Open;
use crate::way::Part::{Code, Sh};
use crate::way::{Need, Part, Way, way};

const fn program(name: &'static str, tries: &'static str, attempt: Part) -> Way {
    way(Exec, "programs", name, tries, attempt)
}

/// The ways.
pub const WAYS: &[Way] = &[
    program("exec", "executes the program, plainly", Sh("forbidden/tool $word")),
    program("execveat", "execveat(2)", Sh("$attempt exec --by execveat forbidden/tool $word")),
    program(
        "fexecve",
        "executes a descriptor, without a path",
        Sh("$attempt exec --by fexecve forbidden/tool $word"),
    ),
    program("exec-proc-fd", "executes /proc/self/fd/N", Sh("$attempt exec --by proc-fd forbidden/tool $word")),
    program("memfd", "executes a copy in memory", Sh("$attempt exec --by memfd forbidden/tool $word")),
    program("exec-by-thread", "executes it in a second thread", Sh("$attempt exec --by thread forbidden/tool $word")),
    program("exec-32-bit", "execve(2) by int 0x80", Code(compat)),
    program("exec-symlink", "a symbolic link to it", Sh("ln -s forbidden/tool x; ./x $word")),
    program("exec-bind-mount", "a bind mount of it", Sh(": >x; mount --bind forbidden/tool x; ./x $word")),
    program(
        "exec-bind-mount-elsewhere",
        "a bind mount of its folder, on a filesystem of its own",
        Sh("mkdir x; mount --bind forbidden x; x/tool $word"),
    )
    .apart(),
    program(
        "exec-chroot",
        "makes its folder the root, and executes it from there",
        Sh("chroot forbidden /busybox echo $word"),
    )
    // With its libraries, where it needs some.
    .before(Sh("box=$(command -v busybox); cp $box forbidden/busybox; \
                cp --parents $(ldd $box 2>&1 | grep -o '/[^ ]*\\.so[^ ]*') forbidden 2>/dev/null || :"))
    .needs(&[Need::Program("busybox")]),
    program("exec-hard-link", "a hard link to it", Sh("ln forbidden/tool x; ./x $word")),
    program("exec-renamed", "renames it", Sh("mv forbidden/tool x; ./x $word")),
    program(
        "exec-copied",
        "a copy of it elsewhere: the same bytes, but not the same file",
        Sh("cp forbidden/tool x; ./x $word"),
    )
    .ends(Open, Open),
    program("ld-so", "the dynamic loader, told to load it", Sh("$(ls /lib64/ld-linux-*.so.*) forbidden/tool $word"))
        .ends(Open, Open),
    program("script", "a script, whose interpreter may run", Sh("forbidden/script $word")),
    program(
        "script-of-script",
        "a script of its own, whose interpreter is the script",
        Sh("echo \"#!$place/forbidden/script $word\" >allowed/x; chmod +x allowed/x; allowed/x"),
    ),
    program("script-symlink", "a symbolic link to the script", Sh("ln -s forbidden/script x; ./x $word")),
    program("script-descriptor", "a descriptor of the script", Sh("exec 8<forbidden/script; /proc/self/fd/8 $word")),
    program(
        "script-bind-mount",
        "a bind mount of the script",
        Sh(": >x; mount --bind forbidden/script x; ./x $word"),
    ),
    program(
        "script-after-files",
        "the script, by a process whose many open files close at that moment",
        Code(after_files),
    ),
    program("script-interpreter", "its interpreter, told to read it", Sh("sh forbidden/script $word"))
        .ends(Open, Open),
    program("exec-env", "env", Sh("env forbidden/tool $word")),
    program("exec-xargs", "xargs", Sh("echo $word | xargs forbidden/tool")),
    program("exec-find", "find -exec", Sh("find forbidden/tool -exec {} $word ';'")),
    program(
        "exec-python",
        "os.execv of an interpreter",
        Sh("python3 -c 'import os, sys; os.execv(\"forbidden/tool\", [\"tool\", sys.argv[1]])' $word"),
    )
    .needs(&[Need::Program("python3")]),
];

/// The kernel puts what it has to close before what it has let go of.
fn after_files(_: &Place) -> io::Result<()> {
    use std::os::unix::process::CommandExt as _;
    let (_soft, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, hard, hard)?;
    let files: Vec<std::fs::File> = (0..3000).map_while(|_| std::fs::File::open("allowed/fine").ok()).collect();
    let error = std::process::Command::new("forbidden/script").arg(word()?).exec();
    drop(files);
    Err(error)
}

/// execve, as a 32-bit program calls it: number, strings and lists lie below 4 GiB.
#[cfg(target_arch = "x86_64")]
fn compat(_: &Place) -> io::Result<()> {
    const EXECVE: i64 = 11;
    let (path, word) = (b"forbidden/tool\0", std::ffi::CString::new(word()?)?);
    // SAFETY: a new mapping, wherever there is room below 2 GiB.
    let low = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
            -1,
            0,
        )
    };
    if low == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let low = low.cast::<u8>();
    let at = |offset: usize| (low as usize + offset) as u32;
    let (path_at, word_at, argv_at, empty_at) = (0, 64, 256, 512);
    let argv = [at(path_at), at(word_at), 0];
    // SAFETY: all of it lies in the mapping's one page, which is new, at places that do not overlap.
    unsafe {
        std::ptr::copy_nonoverlapping(path.as_ptr(), low.add(path_at), path.len());
        std::ptr::copy_nonoverlapping(word.as_ptr().cast(), low.add(word_at), word.as_bytes_with_nul().len());
        std::ptr::copy_nonoverlapping(argv.as_ptr().cast(), low.add(argv_at), size_of_val(&argv));
    }
    let result: i64;
    // SAFETY: the call reads what was just laid out, and comes back only with an error. rbx is the compiler's own.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {path}",
            "int 0x80",
            "xchg rbx, {path}",
            path = inout(reg) low as i64 => _,
            inlateout("rax") EXECVE => result,
            in("rcx") i64::from(at(argv_at)),
            in("rdx") i64::from(at(empty_at)),
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    Err(io::Error::from_raw_os_error(-result as i32))
}
