//! A client of the daemon's control API: HTTP over its unix socket, as plain as it gets.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Long enough for any answer on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The API at a socket.
#[derive(Clone, Debug)]
pub struct Api(PathBuf);

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The head, in lower case.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Why it was refused, with this status.
    ///
    /// # Panics
    /// When it was not, or not with this status.
    #[must_use]
    pub fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        self.json()["error"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }
}

impl Api {
    /// The one at this socket.
    #[must_use]
    pub fn at(socket: &Path) -> Self {
        Self(socket.to_owned())
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.0
    }

    /// A connection, on which nothing was said yet.
    ///
    /// # Panics
    /// When there is none to be had.
    #[must_use]
    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.0).unwrap_or_else(|error| panic!("{}: {error}", self.0.display()));
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        stream
    }

    /// Says something, and gives what comes back until the connection ends.
    #[must_use]
    pub fn raw(&self, said: &[u8]) -> Answer {
        let mut stream = self.connect();
        // Who is turned away in the middle of his sentence still gets the answer.
        stream.write_all(said).unwrap_or_default();
        answer(&mut stream)
    }

    /// Sends a request.
    #[must_use]
    pub fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        let length = body.len();
        self.raw(
            format!("{method} {path} HTTP/1.1\r\nHost: guard\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
                .as_bytes(),
        )
    }

    /// What is at `path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "")
    }

    /// What is at `path`, in JSON.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Follows the events, from now on. `query` begins with `?`, or is empty.
    #[must_use]
    pub fn follow(&self, query: &str) -> Following {
        let mut stream = self.connect();
        let request = format!("GET /v1/events{query} HTTP/1.1\r\nHost: guard\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        Following::new(stream)
    }
}

/// Reads an answer to its end.
#[must_use]
pub fn answer(stream: &mut UnixStream) -> Answer {
    let mut bytes = Vec::new();
    // A connection that is cut off ends the answer too.
    stream.read_to_end(&mut bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// Events that are read as they come.
#[derive(Debug)]
pub struct Following {
    lines: Arc<Mutex<Vec<String>>>,
    stream: UnixStream,
}

impl Following {
    fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(None).expect("no time limit");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (into, reading) = (Arc::clone(&lines), stream.try_clone().expect("a second handle"));
        let (began, beginning) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(reading).lines() {
                let Ok(line) = line else { return };
                if let Some(data) = line.strip_prefix("data: ") {
                    into.lock().unwrap_or_else(PoisonError::into_inner).push(data.to_owned());
                } else if line.starts_with(": ") {
                    began.send(()).unwrap_or_default();
                }
            }
        });
        beginning.recv_timeout(PATIENCE).expect("the events begin");
        Self { lines, stream }
    }

    /// The events so far, each as it was sent.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The events so far, once one of them is what is waited for.
    ///
    /// # Panics
    /// When it does not come.
    #[must_use]
    pub fn until(&self, what: &str, matches: impl Fn(&Value) -> bool) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let events: Vec<Value> =
                self.lines().iter().map(|line| serde_json::from_str(line).expect("an event is JSON")).collect();
            if events.iter().any(&matches) {
                return events;
            }
            assert!(Instant::now() < deadline, "no event: {what} in {events:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // Ends the reading thread.
        self.stream.shutdown(std::net::Shutdown::Both).unwrap_or_default();
    }
}
