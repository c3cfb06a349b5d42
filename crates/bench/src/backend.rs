//! The replica that every peer forwards to: one thread, canned answers, no work.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | 13 bytes |
//! | `GET /64k` | 65,536 bytes |
//! | `POST /generate` | reads the body, answers 22 bytes of JSON |
//! | `GET /sse?chunks=N&interval_ms=I` | N events, one chunk each, that carry the time of writing ([`crate::event`]) |
//! | `GET /slow` | the same without end, one event per second |
//!
//! Trusts its clients as far as a benchmark may: a body needs a Content-Length.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{MissedTickBehavior, interval};

use crate::event;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;
/// Largest head of a request that is read.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const SMALL: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!";
const GENERATED: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 22\r\n\r\n{\"text\":\"forty-two..\"}";
const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
const NOT_UNDERSTOOD: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// Events of an endless stream: more than any measurement waits for.
const ENDLESS: u32 = 3600;

/// Serves at `addresses` until the process is ended, and prints the port on standard output once it listens. All
/// addresses get the same port.
///
/// # Errors
///
/// When it cannot listen.
pub(crate) fn run(addresses: &[std::net::Ipv4Addr]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut port = 0;
        let mut tasks = Vec::new();
        for address in addresses {
            let listener = listen((*address, port).into())
                .with_context(|| format!("cannot listen at {address}"))?;
            port = listener.local_addr()?.port();
            tasks.push(tokio::spawn(accept(listener)));
        }
        let mut output = io::stdout();
        writeln!(output, "{port}")?;
        output.flush()?;
        for task in tasks {
            task.await??;
        }
        Ok(())
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener) -> io::Result<()> {
    loop {
        match listener.accept().await {
            // A client that goes away in the middle is its own affair.
            Ok((stream, _)) => drop(tokio::spawn(serve(stream))),
            // Out of descriptors, say.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    loop {
        let head_bytes = loop {
            if let Some(end) = head_end(&buffer) {
                break end;
            }
            if buffer.len() > MAX_HEAD_BYTES || stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let Some(request) = Request::parse(&buffer[..head_bytes]) else {
            return stream.write_all(NOT_UNDERSTOOD).await;
        };
        let whole = head_bytes + request.body_bytes;
        while buffer.len() < whole {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        buffer.drain(..whole);
        answer(&mut stream, &request).await?;
        if request.close {
            return stream.shutdown().await;
        }
    }
}

async fn answer(stream: &mut TcpStream, request: &Request) -> io::Result<()> {
    match request.target {
        Target::Small => stream.write_all(SMALL).await,
        Target::Large => stream.write_all(large()).await,
        Target::Generate => stream.write_all(GENERATED).await,
        Target::Stream { events, pause } => send_events(stream, events, pause).await,
    }
}

async fn send_events(stream: &mut TcpStream, events: u32, pause: Duration) -> io::Result<()> {
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream.write_all(STREAM_HEAD).await?;
    for _ in 0..events {
        ticks.tick().await;
        stream.write_all(&event::chunk(event::now_ns())).await?;
    }
    stream.write_all(b"0\r\n\r\n").await
}

fn large() -> &'static [u8] {
    static LARGE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    LARGE.get_or_init(|| {
        let mut answer =
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 65536\r\n\r\n"
                .to_vec();
        answer.resize(answer.len() + 65_536, b'x');
        answer
    })
}

/// Position after the empty line that ends a head.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    let position = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(position + 4)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Target {
    Small,
    Large,
    Generate,
    Stream { events: u32, pause: Duration },
}

#[derive(Debug, PartialEq)]
struct Request {
    target: Target,
    body_bytes: usize,
    close: bool,
}

impl Request {
    fn parse(head: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let target = Target::parse(words.nth(1)?)?;
        let mut request = Self {
            target,
            body_bytes: 0,
            close: false,
        };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                request.body_bytes = value.parse().ok()?;
            } else if name.eq_ignore_ascii_case("connection") {
                request.close = value.eq_ignore_ascii_case("close");
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                return None;
            }
        }
        Some(request)
    }
}

impl Target {
    fn parse(target: &str) -> Option<Self> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let number = |name: &str| {
            let mut fields = query.split('&').filter_map(|field| field.split_once('='));
            fields.find(|(key, _)| *key == name)?.1.parse().ok()
        };
        Some(match path {
            "/" => Self::Small,
            "/64k" => Self::Large,
            "/generate" => Self::Generate,
            "/sse" => Self::Stream {
                events: number("chunks")?,
                pause: Duration::from_millis(u64::from(number("interval_ms")?.max(1))),
            },
            "/slow" => Self::Stream {
                events: ENDLESS,
                pause: Duration::from_secs(1),
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canned_answers_say_their_length() {
        for answer in [SMALL, GENERATED, large()] {
            let head = head_end(answer).unwrap();
            let text = std::str::from_utf8(&answer[..head]).unwrap();
            let length = text.split("Content-Length: ").nth(1).unwrap();
            let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
            assert_eq!(answer.len() - head, length, "{text}");
        }
    }

    #[test]
    fn requests_are_understood_and_bodies_without_a_length_are_not() {
        let parse = |text: &str| Request::parse(text.as_bytes());
        let request =
            parse("POST /generate HTTP/1.1\r\ncontent-length: 16384\r\nConnection: Close\r\n\r\n");
        let request = request.unwrap();
        assert_eq!(request.target, Target::Generate);
        assert_eq!((request.body_bytes, request.close), (16_384, true));
        let request = parse("GET /sse?chunks=3&interval_ms=5 HTTP/1.1\r\n\r\n").unwrap();
        let pause = Duration::from_millis(5);
        assert_eq!(request.target, Target::Stream { events: 3, pause });
        assert_eq!(parse("GET /sse HTTP/1.1\r\n\r\n"), None);
        assert_eq!(
            parse("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            None
        );
        assert_eq!(parse("nonsense\r\n\r\n"), None);
    }
}
