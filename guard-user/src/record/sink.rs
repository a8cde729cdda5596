//! Where events are written: JSON lines into a file or to standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Bytes that are gathered before they are written.
const BUFFER: usize = 256 << 10;

/// An open file of JSON lines.
pub struct Sink {
    name: String,
    to: BufWriter<Box<dyn io::Write + Send>>,
    failed: Option<String>,
    lost: u64,
}

/// Why a sink could not be opened.
#[derive(Debug)]
pub struct SinkError {
    path: PathBuf,
    error: io::Error,
}

impl std::fmt::Display for SinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the events file {} can't be opened: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for SinkError {}

impl Sink {
    /// Opens `path` for appending, readable by its owner only; `-` is standard output.
    ///
    /// # Errors
    /// If the file can't be opened or made.
    pub fn open(path: &Path) -> Result<Self, SinkError> {
        let (name, to): (_, Box<dyn io::Write + Send>) = if path.as_os_str() == "-" {
            ("standard output".to_owned(), Box::new(io::stdout()))
        } else {
            let file: File = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(path)
                .map_err(|error| SinkError { path: path.to_owned(), error })?;
            (path.display().to_string(), Box::new(file))
        };
        Ok(Self { name, to: BufWriter::with_capacity(BUFFER, to), failed: None, lost: 0 })
    }

    /// Writes one event, a line that ends. A full disk or a closed pipe loses it, and is counted; nothing else stops.
    pub fn write(&mut self, line: &[u8]) {
        if let Err(error) = self.to.write_all(line) {
            self.fail(&error);
        }
    }

    /// Hands over what was gathered.
    pub fn flush(&mut self) {
        if let Err(error) = self.to.flush() {
            self.fail(&error);
        }
    }

    /// Events lost and what went wrong last, since this was last asked.
    pub fn take_failure(&mut self) -> Option<(u64, String)> {
        let error = self.failed.take()?;
        Some((std::mem::take(&mut self.lost), format!("{}: {error}", self.name)))
    }

    fn fail(&mut self, error: &io::Error) {
        self.lost += 1;
        self.failed = Some(error.to_string());
    }
}
