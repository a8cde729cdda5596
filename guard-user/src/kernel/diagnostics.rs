//! The programs' own diagnostics (`--debug`), logged as they come.

use std::os::fd::AsRawFd as _;

use anyhow::Context as _;
use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};

/// Logs every line, whatever its level: whoever asks for them wants them all.
struct ToLog;

impl Log for ToLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        tracing::info!("kernel: {}: {}", record.target(), record.args());
    }

    fn flush(&self) {}
}

/// Shows the diagnostics, from a thread of its own that ends with the process.
pub fn show(ebpf: &mut Ebpf) -> anyhow::Result<()> {
    let mut logger = EbpfLogger::init_with_logger(ebpf, ToLog).context("the programs offer no diagnostics")?;
    std::thread::Builder::new()
        .name("guard-diagnostics".to_owned())
        .spawn(move || {
            let mut fds = [libc::pollfd { fd: logger.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
            loop {
                // SAFETY: one valid entry.
                if unsafe { libc::poll(fds.as_mut_ptr(), 1, -1) } > 0 {
                    logger.flush();
                }
            }
        })
        .context("no thread for the programs' diagnostics")?;
    Ok(())
}
