//! Just enough of HTTP/1.1 to know when an answer is complete.

use crate::backend::head_end;

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// How far an answer is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Progress {
    More,
    Complete {
        /// The status is 2xx.
        success: bool,
        /// The connection may be used again.
        keep: bool,
    },
    /// Not HTTP, more bytes than announced, or an end in the middle.
    Broken,
}

/// An answer as it comes in.
#[derive(Debug, Default)]
pub(super) struct Response {
    /// What has come of the head; once that is known, the last bytes of a chunked body.
    buffer: Vec<u8>,
    head: Option<Head>,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    success: bool,
    keep: bool,
    body: Body,
}

#[derive(Clone, Copy, Debug)]
enum Body {
    /// Bytes that are still to come.
    Length(usize),
    Chunked,
    UntilEnd,
}

impl Response {
    /// Takes bytes in.
    pub(super) fn received(&mut self, bytes: &[u8]) -> Progress {
        if self.head.is_some() {
            return self.body(bytes);
        }
        let whole = if self.buffer.is_empty() {
            bytes
        } else {
            self.buffer.extend_from_slice(bytes);
            &self.buffer
        };
        let Some(end) = head_end(whole) else {
            if self.buffer.is_empty() {
                self.buffer = bytes.to_vec();
            }
            return Progress::More;
        };
        let Some(head) = Head::parse(&whole[..end]) else {
            return Progress::Broken;
        };
        let rest = whole[end..].to_vec();
        self.buffer.clear();
        self.head = Some(head);
        self.body(&rest)
    }

    /// The other side has closed.
    pub(super) fn ended(&self) -> Progress {
        match self.head {
            Some(Head {
                success,
                body: Body::UntilEnd,
                ..
            }) => Progress::Complete {
                success,
                keep: false,
            },
            _ => Progress::Broken,
        }
    }

    fn body(&mut self, bytes: &[u8]) -> Progress {
        let Some(head) = &mut self.head else {
            return Progress::Broken;
        };
        let complete = Progress::Complete {
            success: head.success,
            keep: head.keep,
        };
        match &mut head.body {
            Body::Length(left) => match left.checked_sub(bytes.len()) {
                Some(0) => complete,
                Some(rest) => {
                    *left = rest;
                    Progress::More
                }
                None => Progress::Broken,
            },
            Body::Chunked => {
                self.buffer.extend_from_slice(bytes);
                if self.buffer.ends_with(LAST_CHUNK) {
                    return complete;
                }
                let past = self.buffer.len().saturating_sub(LAST_CHUNK.len());
                self.buffer.drain(..past);
                Progress::More
            }
            Body::UntilEnd => Progress::More,
        }
    }
}

impl Head {
    fn parse(head: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
        let status_line = lines.next()?;
        if !status_line.starts_with("HTTP/1.") {
            return None;
        }
        let status: u16 = status_line.split(' ').nth(1)?.parse().ok()?;
        let (mut keep, mut body) = (true, Body::UntilEnd);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                body = Body::Length(value.parse().ok()?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                body = Body::Chunked;
            } else if name.eq_ignore_ascii_case("connection") {
                keep = !value.eq_ignore_ascii_case("close");
            }
        }
        Some(Self {
            success: (200..300).contains(&status),
            keep,
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_pieces(text: &str, size: usize) -> (Response, Progress) {
        let mut response = Response::default();
        let mut progress = Progress::More;
        for piece in text.as_bytes().chunks(size) {
            assert_eq!(progress, Progress::More, "in pieces of {size}: {text}");
            progress = response.received(piece);
        }
        (response, progress)
    }

    fn check(text: &str, expected: Progress) {
        for size in 1..=text.len() {
            assert_eq!(
                in_pieces(text, size).1,
                expected,
                "in pieces of {size}: {text}"
            );
        }
    }

    const fn complete(success: bool, keep: bool) -> Progress {
        Progress::Complete { success, keep }
    }

    #[test]
    fn answers_end_where_they_say() {
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            complete(true, true),
        );
        check(
            "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
            complete(true, true),
        );
        let refused = "HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
        check(refused, complete(false, false));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        check(chunked, complete(true, true));
    }

    #[test]
    fn an_answer_without_a_length_ends_with_the_connection() {
        let (response, progress) = in_pieces("HTTP/1.1 200 OK\r\n\r\nabc", 4);
        assert_eq!(progress, Progress::More);
        assert_eq!(response.ended(), complete(true, false));
    }

    #[test]
    fn what_is_cut_or_too_long_or_not_http_is_broken() {
        let (response, _) = in_pieces("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", 4);
        assert_eq!(response.ended(), Progress::Broken);
        assert_eq!(Response::default().ended(), Progress::Broken);
        let long = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab";
        assert_eq!(in_pieces(long, long.len()).1, Progress::Broken);
        assert_eq!(in_pieces("SSH-2.0-x\r\n\r\n", 20).1, Progress::Broken);
    }
}
