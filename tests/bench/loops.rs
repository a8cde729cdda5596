//! What is timed: the loops of the worker, in whatever tree it was started.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{BufRead as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::ptr::null;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt::Linger};

use crate::table::quartile;

/// The file that is opened over and over.
pub const FILE: &str = "some/folders/deep/opened.txt";
/// The file whose opens the policy has noted.
pub const NOTED: &str = "some/folders/deep/noted.txt";
/// The smallest of programs.
const PROGRAM: &str = "nothing";
/// Every so many opens of a flood, one is noted.
pub const NOTED_EVERY: u64 = 500;

/// A whole static program for x86-64: ELF header, one segment, and `exit(0)`.
fn smallest_program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const CODE: [u8; 7] = [0x31, 0xff, 0x6a, 60, 0x58, 0x0f, 0x05];
    let size = 120 + CODE.len() as u64;
    let mut program = Vec::new();
    program.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    program.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for number in [BASE + 120, 64, 0] {
        program.extend(number.to_le_bytes());
    }
    program.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    program.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for number in [0, BASE, BASE, size, size, 0x1000] {
        program.extend(number.to_le_bytes());
    }
    program.extend(CODE);
    program
}

/// Puts what the loops need into `folder`.
pub fn furnish(folder: &Path) {
    for name in [FILE, NOTED] {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("a folder can be made");
        fs::write(path, "text\n").expect("a file can be written");
    }
    let program = folder.join(PROGRAM);
    fs::write(&program, smallest_program()).expect("a program can be written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it can be made executable");
}

/// Does what each line of standard input says and answers with a line: the nanoseconds of an operation, and how many
/// there were.
pub fn serve(folder: &Path) {
    println!("ready");
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["open", milliseconds] => open(&folder.join(FILE), time(milliseconds)),
            ["open-noted", milliseconds] => open(&folder.join(NOTED), time(milliseconds)),
            ["open-refused", milliseconds] => refused(&folder.join(NOTED), time(milliseconds)),
            ["exec", milliseconds] => exec(folder, time(milliseconds)),
            ["spawn", milliseconds] => spawn(folder, time(milliseconds)),
            ["connect", milliseconds] => connect(time(milliseconds)),
            ["build"] => build(folder),
            ["flood", seconds, rate, processes] => floods(folder, seconds, rate, processes),
            _ => panic!("nobody says {line:?}"),
        }
    }
}

fn time(milliseconds: &str) -> Duration {
    Duration::from_millis(milliseconds.parse().expect("a number"))
}

/// Repeats `operation` in batches of `size`. The lower quartile of many short batches leaves out those in which somebody
/// else had the CPU.
fn repeat(time: Duration, size: u32, mut operation: impl FnMut()) {
    let began = Instant::now();
    let mut batches = Vec::new();
    while began.elapsed() < time {
        let started = Instant::now();
        for _ in 0..size {
            operation();
        }
        batches.push(started.elapsed().as_nanos() as f64 / f64::from(size));
    }
    let count = batches.len() * size as usize;
    println!("{} {count}", quartile(&mut batches));
}

fn open(path: &Path, time: Duration) {
    repeat(time, 100, || drop(File::open(path).expect("the file can be opened")));
}

/// An open that must fail.
fn refused(path: &Path, time: Duration) {
    repeat(time, 100, || {
        let error = File::options().write(true).open(path).expect_err("it is refused");
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    });
}

/// `fork`, `execve` and `wait`, and no other system call.
fn exec(folder: &Path, time: Duration) {
    let program = CString::new(folder.join(PROGRAM).into_os_string().into_vec()).expect("a path");
    let (argv, environment) = ([program.as_ptr(), null()], [null()]);
    repeat(time, 1, || {
        // SAFETY: this process has one thread, and the child only executes and exits.
        let status = unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::execve(program.as_ptr(), argv.as_ptr(), environment.as_ptr());
                libc::_exit(127);
            }
            let mut status = -1;
            libc::waitpid(child, &raw mut status, 0);
            status
        };
        assert_eq!(status, 0, "the program did not run");
    });
}

/// The same as Rust's library does it: by `posix_spawn`, which makes some 130 system calls around it.
fn spawn(folder: &Path, time: Duration) {
    let program = folder.join(PROGRAM);
    repeat(time, 1, || {
        let status = Command::new(&program).env_clear().status().expect("the program starts");
        assert!(status.success(), "{status}");
    });
}

fn connect(time: Duration) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    // Reset at the end instead of waiting: else the ports run out.
    let reset = libc::linger { l_onoff: 1, l_linger: 0 };
    repeat(time, 10, || {
        let stream = TcpStream::connect(address).expect("a connection");
        setsockopt(&stream, Linger, &reset).expect("an option");
        drop(listener.accept().expect("the other end"));
    });
}

/// A release build of a mid-size crate and what it depends on, from nothing. It is one of guard's own dependencies, so
/// its source is there already.
fn build(folder: &Path) {
    let target = folder.join("built");
    let started = Instant::now();
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--offline", "--locked", "--quiet", "--package", "clap_builder"])
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .stdout(Stdio::null())
        .status()
        .expect("cargo starts");
    let took = started.elapsed();
    assert!(status.success(), "{status}");
    fs::remove_dir_all(&target).expect("what was built can be removed");
    println!("{} 1", took.as_nanos());
}

/// Several processes that open files at once; says how many opens there were, and how many of them are to be noted.
fn floods(folder: &Path, seconds: &str, rate: &str, processes: &str) {
    let processes: u64 = processes.parse().expect("a number");
    let rate: u64 = rate.parse().expect("a number");
    let me = std::env::current_exe().expect("a program knows its own path");
    let mut children: Vec<_> = (0..processes)
        .map(|_| {
            let mut command = Command::new(&me);
            command.arg("flood").arg(folder).arg(seconds).arg((rate / processes).to_string());
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts")
        })
        .collect();
    // All are there, with everything open that starting takes, before the first begins.
    for child in &mut children {
        let mut ready = [0];
        std::io::Read::read_exact(child.stdout.as_mut().expect("a pipe"), &mut ready).expect("it is ready");
    }
    for child in &mut children {
        child.stdin.take().expect("a pipe").write_all(b"\n").expect("it waits");
    }
    let (mut opened, mut noted) = (0, 0);
    for child in children {
        let said = child.wait_with_output().expect("it ends").stdout;
        let said = String::from_utf8(said).expect("numbers");
        let mut numbers = said.split_whitespace().map(|word| word.parse::<u64>().expect("a number"));
        opened += numbers.next().expect("opens");
        noted += numbers.next().expect("noted opens");
    }
    println!("{opened} {noted}");
}

/// Opens files for `seconds`, `rate` a second or, where that is 0, as fast as it goes.
pub fn flood(folder: &Path, seconds: f64, rate: u64) {
    const STEP: Duration = Duration::from_millis(1);
    let (file, noted) = (folder.join(FILE), folder.join(NOTED));
    print!(".");
    std::io::stdout().flush().expect("somebody listens");
    std::io::stdin().read_line(&mut String::new()).expect("somebody says when");
    let (began, length) = (Instant::now(), Duration::from_secs_f64(seconds));
    let (mut opens, mut notes) = (0u64, 0u64);
    while began.elapsed() < length {
        let due = if rate == 0 { opens + 100 } else { (began.elapsed().as_secs_f64() * rate as f64) as u64 };
        while opens < due {
            drop(File::open(&file).expect("the file can be opened"));
            opens += 1;
            if opens % NOTED_EVERY == 0 {
                drop(File::open(&noted).expect("the file can be opened"));
                notes += 1;
            }
        }
        if rate != 0 {
            std::thread::sleep(STEP);
        }
    }
    println!("{opens} {notes}");
}
