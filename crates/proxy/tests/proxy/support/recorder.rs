//! A replica that writes down every byte it gets, and reads them by a reader of its own: strict, simple, and written apart
//! from the one that it checks.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// One request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) raw: Vec<u8>,
    pub(crate) line: String,
    /// Without framing.
    pub(crate) body: Vec<u8>,
}

/// What came to the replica.
#[derive(Debug, Default)]
struct Log {
    complete: Vec<Recorded>,
    /// Requests that broke off.
    broken: Vec<Vec<u8>>,
    /// What no replica must ever see.
    malformed: Vec<String>,
}

/// A listening replica; ends when dropped.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    log: Mutex<Log>,
    open: Mutex<Vec<TcpStream>>,
}

impl Recorder {
    /// Answers each request with its target and its body.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.stop.load(Ordering::SeqCst) {
                    return;
                }
                stream.set_nodelay(true).unwrap();
                let copy = stream.try_clone().unwrap();
                accepting.open.lock().unwrap().push(copy);
                let shared = Arc::clone(&accepting);
                thread::spawn(move || serve(stream, &shared));
            }
        });
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// The whole requests since the last call.
    pub(crate) fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut self.shared.log.lock().unwrap().complete)
    }

    /// The requests that broke off since the last call.
    pub(crate) fn take_broken(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.shared.log.lock().unwrap().broken)
    }

    /// What was no request at all.
    pub(crate) fn malformed(&self) -> Vec<String> {
        self.shared.log.lock().unwrap().malformed.clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match parse(&bytes) {
            Ok(Some((request, length))) => {
                bytes.drain(..length);
                let text = format!(
                    "{}|{}",
                    request.line,
                    String::from_utf8_lossy(&request.body)
                );
                shared.log.lock().unwrap().complete.push(request);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
                let _ = stream.write_all(format!("{head}{text}").as_bytes());
                continue;
            }
            Ok(None) => {}
            Err(why) => {
                let what = format!("{why}: {}", bytes.escape_ascii());
                shared.log.lock().unwrap().malformed.push(what);
                break;
            }
        }
        match stream.read(&mut piece) {
            Ok(read) if read > 0 => bytes.extend_from_slice(&piece[..read]),
            _ => break,
        }
    }
    if !bytes.is_empty() {
        shared.log.lock().unwrap().broken.push(bytes);
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// One request at the beginning of `bytes`, and its length.
fn parse(bytes: &[u8]) -> Result<Option<(Recorded, usize)>, &'static str> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = &bytes[..end];
    if head.contains(&0) || head.iter().filter(|byte| **byte == b'\n').count() != count(head) {
        return Err("a line that does not end in CRLF");
    }
    let text = String::from_utf8_lossy(head).into_owned();
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let words: Vec<&str> = line.split(' ').collect();
    if words.len() != 3 || words[0].is_empty() || words[2] != "HTTP/1.1" {
        return Err("a malformed request line");
    }
    let (mut length, mut chunked, mut hosts) = (None, false, 0);
    for field in lines {
        let (name, value) = field.split_once(':').ok_or("a header without colon")?;
        if name.is_empty() || name.contains([' ', '\t']) {
            return Err("a malformed name of a header");
        }
        match name.to_ascii_lowercase().as_str() {
            "host" => hosts += 1,
            "content-length" if length.is_some() => return Err("two lengths"),
            "content-length" => {
                length = Some(value.trim().parse::<usize>().map_err(|_| "a bad length")?);
            }
            "transfer-encoding" if chunked || value.trim() != "chunked" => {
                return Err("a transfer encoding that is not chunked");
            }
            "transfer-encoding" => chunked = true,
            _ => {}
        }
    }
    if hosts != 1 || chunked && length.is_some() {
        return Err("not one host, or not one length");
    }
    let rest = &bytes[end + 4..];
    let body = match length {
        _ if chunked => parse_chunks(rest)?,
        Some(length) if rest.len() < length => None,
        Some(length) => Some((rest[..length].to_vec(), length)),
        None => Some((Vec::new(), 0)),
    };
    Ok(body.map(|(body, used)| {
        let length = end + 4 + used;
        let raw = bytes[..length].to_vec();
        (Recorded { raw, line, body }, length)
    }))
}

fn parse_chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else {
            return Ok(None);
        };
        let line = std::str::from_utf8(&bytes[at..at + end]).map_err(|_| "a bad chunk size")?;
        let size = line.split(';').next().unwrap_or_default();
        if size.is_empty() || !size.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err("a bad chunk size");
        }
        let size = usize::from_str_radix(size, 16).map_err(|_| "a huge chunk")?;
        at += end + 2;
        if size == 0 {
            return Ok(trailers_end(&bytes[at..]).map(|length| (data, at + length)));
        }
        let Some(chunk) = bytes.get(at..at + size + 2) else {
            return Ok(None);
        };
        if !chunk.ends_with(b"\r\n") {
            return Err("a chunk without its end");
        }
        data.extend_from_slice(&chunk[..size]);
        at += size + 2;
    }
}

/// Length of trailers with the empty line after them.
fn trailers_end(bytes: &[u8]) -> Option<usize> {
    if bytes.starts_with(b"\r\n") {
        return Some(2);
    }
    find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// How many line ends are whole, where no CR stands alone; otherwise a number that cannot be right.
fn count(head: &[u8]) -> usize {
    let whole = head.windows(2).filter(|pair| *pair == b"\r\n").count();
    let returns = head.iter().filter(|byte| **byte == b'\r').count();
    if returns == whole { whole } else { usize::MAX }
}
