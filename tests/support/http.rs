//! As much of HTTP/1.1 as a model server needs: one request a connection, bodies by length or in chunks.

use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// No request of Codex's comes near this; a larger one is a mistake and not worth the memory.
const LARGEST_BODY: u64 = 64 << 20;
/// Nobody here pauses in the middle of a request, so who does is dead.
const PATIENCE: Duration = Duration::from_secs(30);

/// What somebody asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// Header names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body, as it was sent.
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of this name, given in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }
}

/// What they get.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The `Content-Type`.
    pub content: &'static str,
    /// Other headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// A 200 with this body.
    #[must_use]
    pub fn ok(content: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, content, headers: Vec::new(), body: body.into() }
    }

    /// Another status, with a word on why.
    #[must_use]
    pub fn status(status: u16, why: &str) -> Self {
        Self { status, content: "text/plain", headers: Vec::new(), body: why.as_bytes().to_vec() }
    }

    /// One more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A server that answers until it is dropped.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
    /// The socket's own handle, so that stopping needs no connection, which another network namespace couldn't make.
    listener: TcpListener,
}

impl Server {
    /// Listens on loopback, in the network namespace of the calling thread. Port 0 takes a free one.
    pub fn start(port: u16, answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> io::Result<Self> {
        Self::start_over(port, Ok, answer)
    }

    /// The same, over what `wrap` makes of each connection: TLS, for one.
    pub fn start_over<S: io::Read + Write>(
        port: u16,
        wrap: impl Fn(TcpStream) -> io::Result<S> + Send + Sync + 'static,
        answer: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let addr = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let answer = Arc::new(move |stream: TcpStream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            serve(wrap(stream)?, &answer)
        });
        let accepting = {
            let (listener, stop) = (listener.try_clone()?, Arc::clone(&stop));
            thread::Builder::new().name("http".into()).spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(stream) = stream else { continue };
                    let answer = Arc::clone(&answer);
                    // A client that goes away mid-sentence (it was killed, say) is its own affair.
                    thread::spawn(move || answer(stream).unwrap_or_default());
                }
            })?
        };
        Ok(Self { addr, stop, accepting: Some(accepting), listener })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        use std::os::fd::AsRawFd as _;
        self.stop.store(true, Ordering::SeqCst);
        // SAFETY: shuts down a socket that this value owns; on Linux that ends a pending accept with an error.
        unsafe { libc::shutdown(self.listener.as_raw_fd(), libc::SHUT_RDWR) };
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap_or_default();
        }
    }
}

fn serve(stream: impl io::Read + Write, answer: &dyn Fn(&Request) -> Response) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let Some(request) = read(&mut reader)? else { return Ok(()) };
    let response = answer(&request);
    let out = reader.get_mut();
    write!(
        out,
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n",
        response.status,
        if response.status < 400 { "OK" } else { "Error" },
        response.content,
        response.body.len()
    )?;
    for (name, value) in &response.headers {
        write!(out, "{name}: {value}\r\n")?;
    }
    out.write_all(b"\r\n")?;
    out.write_all(&response.body)?;
    out.flush()
}

/// Reads one request; `None` when the peer closed without asking anything.
fn read<S: io::Read + Write>(reader: &mut BufReader<S>) -> io::Result<Option<Request>> {
    let first = line(reader)?;
    if first.is_empty() {
        return Ok(None);
    }
    let mut words = first.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no request line"));
    };
    let mut request = Request {
        method: method.to_owned(),
        path: target.split('?').next().unwrap_or(target).to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    loop {
        let header = line(reader)?;
        let Some((name, value)) = header.split_once(':') else { break };
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        reader.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    if request.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        loop {
            let size = line(reader)?;
            let size = u64::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            take(reader, size, &mut request.body)?;
            line(reader)?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = request.header("content-length").and_then(|value| value.parse().ok()) {
        take(reader, length, &mut request.body)?;
    }
    Ok(Some(request))
}

/// One line, without its end.
fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.take(64 << 10).read_line(&mut line)?;
    line.truncate(line.trim_end().len());
    Ok(line)
}

fn take(reader: &mut impl BufRead, length: u64, into: &mut Vec<u8>) -> io::Result<()> {
    if into.len() as u64 + length > LARGEST_BODY {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "body too large"));
    }
    if reader.take(length).read_to_end(into)? as u64 == length {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(text: &[u8]) -> Option<Request> {
        read(&mut BufReader::new(io::Cursor::new(text.to_vec()))).expect("a readable request")
    }

    #[test]
    fn bodies_come_by_length_and_in_chunks() {
        let request = ask(b"POST /a?b=c HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyzrest").expect("a request");
        assert_eq!((request.method.as_str(), request.path.as_str(), &request.body[..]), ("POST", "/a", &b"xyz"[..]));
        let request = ask(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n");
        assert_eq!(request.expect("a request").body, b"abcde");
        assert!(ask(b"").is_none());
    }

    #[test]
    fn a_cut_or_boundless_body_is_an_error() {
        for text in [
            &b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nxyz"[..],
            b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"nonsense\r\n",
        ] {
            read(&mut BufReader::new(io::Cursor::new(text.to_vec()))).expect_err("an error");
        }
    }

    #[test]
    fn a_server_answers_and_stops() {
        let server = Server::start(0, |request| Response::ok("text/plain", request.body.clone())).expect("a server");
        let mut stream = TcpStream::connect(server.addr()).expect("a connection");
        stream.write_all(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello").expect("sent");
        let mut back = String::new();
        stream.read_to_string(&mut back).expect("an answer");
        assert!(back.starts_with("HTTP/1.1 200 OK\r\n") && back.ends_with("\r\n\r\nhello"), "{back}");
        let addr = server.addr();
        drop(server);
        TcpStream::connect(addr).expect_err("nobody listens any more");
    }
}
