//! A client that writes what it is told and reads what comes.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::PATIENCE;
use super::message::{Body, Head, read_chunk, read_headers};

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Body,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.bytes.clone()).unwrap()
    }

    /// What an answer of the proxy's own says.
    pub(crate) fn detail(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body.bytes).unwrap();
        body["detail"].as_str().unwrap().to_owned()
    }
}

/// One connection to an endpoint.
pub(crate) struct Client {
    pub(crate) reader: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    pub(crate) fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        Self {
            reader: BufReader::new(stream),
        }
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.try_send(text).unwrap();
    }

    pub(crate) fn try_send(&mut self, text: &str) -> io::Result<()> {
        self.try_send_bytes(text.as_bytes())
    }

    pub(crate) fn try_send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    pub(crate) fn get(&mut self, target: &str) -> Answer {
        self.send(&format!(
            "GET {target} HTTP/1.1\r\nHost: example.org\r\n\r\n"
        ));
        self.answer()
    }

    pub(crate) fn head(&mut self) -> Head {
        Head::read(&mut self.reader)
            .unwrap()
            .expect("an answer, not the end of the connection")
    }

    pub(crate) fn answer(&mut self) -> Answer {
        self.try_answer().unwrap()
    }

    pub(crate) fn try_answer(&mut self) -> io::Result<Answer> {
        self.answer_to("GET")
    }

    /// The answer to a request with this method, which decides whether there is a body.
    pub(crate) fn answer_to(&mut self, method: &str) -> io::Result<Answer> {
        let head = Head::read(&mut self.reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status: u16 = head.first_line.split(' ').nth(1).unwrap().parse().unwrap();
        let body = if method == "HEAD" || matches!(status, 204 | 304) {
            Body {
                complete: true,
                ..Body::default()
            }
        } else {
            Body::read(&mut self.reader, &head, true)
        };
        Ok(Answer { status, head, body })
    }

    /// The next chunk; the last one is empty.
    pub(crate) fn chunk(&mut self) -> io::Result<String> {
        let mut bytes = Vec::new();
        if read_chunk(&mut self.reader, &mut bytes)? == 0 {
            read_headers(&mut self.reader)?;
        }
        Ok(String::from_utf8(bytes).unwrap())
    }

    pub(crate) fn end_sending(&mut self) {
        self.reader.get_mut().shutdown(Shutdown::Write).unwrap();
    }

    /// Whether anything comes within `span`: an answer, or the end.
    pub(crate) fn hears_within(&mut self, span: Duration) -> bool {
        let stream = self.reader.get_ref();
        stream.set_read_timeout(Some(span)).unwrap();
        let heard = stream.peek(&mut [0]).is_ok();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        heard
    }

    /// Whether the other side ends the connection without another byte.
    pub(crate) fn is_ended(&mut self) -> bool {
        matches!(self.reader.read(&mut [0]), Ok(0))
            || self.reader.get_ref().take_error().unwrap().is_some()
    }
}

/// One request on a connection of its own.
pub(crate) fn request(address: SocketAddr, method: &str, target: &str, extra: &str) -> Answer {
    let mut client = Client::connect(address);
    client.send(&format!(
        "{method} {target} HTTP/1.1\r\nHost: example.org\r\n{extra}\r\n"
    ));
    client.answer_to(method).unwrap()
}

pub(crate) fn get(address: SocketAddr) -> Answer {
    request(address, "GET", "/", "")
}
