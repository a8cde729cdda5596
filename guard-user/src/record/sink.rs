//! Where events are written: JSON lines into a file or to standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Bytes that are gathered before they are written.
const BUFFER: usize = 256 << 10;

/// An open file of JSON lines.
pub struct Sink {
    /// Nothing for standard output.
    path: Option<PathBuf>,
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
        let path = Some(path).filter(|path| path.as_os_str() != "-").map(Path::to_owned);
        let (name, to): (_, Box<dyn io::Write + Send>) = match &path {
            None => ("standard output".to_owned(), Box::new(io::stdout())),
            Some(path) => (path.display().to_string(), Box::new(append(path)?)),
        };
        Ok(Self { path, name, to: BufWriter::with_capacity(BUFFER, to), failed: None, lost: 0 })
    }

    /// Opens the file anew, after what was gathered went into the one that was open: somebody has moved that away.
    ///
    /// # Errors
    /// If it can't be opened or made; then the one that was open stays so.
    pub fn reopen(&mut self) -> Result<(), SinkError> {
        let Some(path) = &self.path else { return Ok(()) };
        let file = append(path)?;
        self.flush();
        self.to = BufWriter::with_capacity(BUFFER, Box::new(file));
        Ok(())
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

/// A file to append to, readable by its owner only where it has to be made.
fn append(path: &Path) -> Result<File, SinkError> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    file.map_err(|error| SinkError { path: path.to_owned(), error })
}
