//! What a thread has called that waits for leave to open a file: the kernel asks without saying what the file is opened for.
//!
//! `/proc/TID/syscall` has the call's number and arguments, of 32-bit callers too (`arch/x86/include/asm/syscall.h`). That
//! they are the registers of a thread that sleeps in the kernel makes them true. What lies in the caller's memory is not
//! looked at: another thread could change it, and reading it may take as long as somebody likes, by `userfaultfd` or a
//! filesystem of his own.

use std::fs::File;
use std::io::Read as _;
use std::time::{Duration, Instant};

/// How long the thread may take to fall asleep once it has asked.
const PATIENCE: Duration = Duration::from_millis(5);

/// Bit of calls by the third table, x32 (`__X32_SYSCALL_BIT`).
const X32: i64 = 0x4000_0000;

/// What was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// An open, with these flags.
    Open(i32),
    /// A program is executed, which is judged as such.
    Exec,
    /// It can't be told.
    Unknown,
}

/// What `thread` has called.
#[must_use]
pub fn by(thread: u32) -> Called {
    let path = format!("/proc/{thread}/syscall");
    let since = Instant::now();
    loop {
        let mut text = [0; 256];
        let Ok(length) = File::open(&path).and_then(|mut file| file.read(&mut text)) else { return Called::Unknown };
        let text = &text[..length];
        // It has asked, and is on its way to sleep; or it was woken because somebody else was answered.
        if !text.starts_with(b"running") || since.elapsed() > PATIENCE {
            return read(text);
        }
        std::thread::yield_now();
    }
}

/// Understands a line of `/proc/TID/syscall`. Numbers of the 32-bit table stand for calls of the other that open nothing, so they
/// can't be mistaken.
fn read(line: &[u8]) -> Called {
    let text = String::from_utf8_lossy(line);
    let mut words = text.split_ascii_whitespace();
    let number: Option<i64> = words.next().and_then(|word| word.parse().ok());
    let arguments: Vec<u64> =
        words.map_while(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()).take(3).collect();
    let flags = |at: usize| arguments.get(at).map_or(Called::Unknown, |flags| Called::Open(*flags as i32));
    match number.map(|number| if number > 0 { number & !X32 } else { number }) {
        // open; the same of the 32-bit table; openat; likewise; open_by_handle_at; likewise
        Some(2 | 5) => flags(1),
        Some(257 | 295 | 304 | 342) => flags(2),
        // creat, and the same of the 32-bit table
        Some(85 | 8) => Called::Open(libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC),
        // execve and execveat, of both
        Some(59 | 322 | 11 | 358) => Called::Exec,
        // openat2, whose flags lie in memory; io_uring; whatever else opens files
        _ => Called::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_understood() {
        let arguments = "0xffffff9c 0x7ffe 0x80241 0x1b6 0x0 0x0 0x7ffe 0x7f00";
        assert_eq!(read(format!("257 {arguments}\n").as_bytes()), Called::Open(0x80241));
        assert_eq!(read(b"2 0x7ffe 0x1 0x0 0x0 0x0 0x0 0x7ffe 0x7f00\n"), Called::Open(1));
        assert_eq!(read(b"5 0x7ffe 0x2 0x0 0x0 0x0 0x0 0x7ffe 0x7f00\n"), Called::Open(2));
        assert_eq!(read(format!("{} {arguments}\n", 0x4000_0000u32 + 257).as_bytes()), Called::Open(0x80241));
        assert_eq!(read(format!("59 {arguments}\n").as_bytes()), Called::Exec);
        let creat = Called::Open(libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC);
        assert_eq!(read(format!("85 {arguments}\n").as_bytes()), creat);
        for line in
            ["running\n", "-1 0x7ffe 0x7f00\n", "", "437 0x1", "426 0x3 0x1 0x1 0x1 0x0 0x8\n", "257", "2 nonsense"]
        {
            assert_eq!(read(line.as_bytes()), Called::Unknown, "{line}");
        }
    }

    #[test]
    fn a_thread_that_is_not_there_has_called_nothing_known() {
        assert_eq!(by(u32::MAX), Called::Unknown);
    }
}
