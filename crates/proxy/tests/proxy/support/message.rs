//! Just enough HTTP/1.1 to look at every byte.

use std::io::{self, BufRead, ErrorKind, Read};

/// First line and headers of a message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) first_line: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    /// `None` at the end of the connection.
    pub(crate) fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some(first_line) = read_line(reader)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            first_line,
            headers: read_headers(reader)?,
        }))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let matching = self.headers.iter().filter(|(found, _)| found == name);
        matching.map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn is_chunked(&self) -> bool {
        self.get("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }

    pub(crate) fn length(&self) -> Option<usize> {
        self.get("content-length")
            .map(|value| value.parse().unwrap())
    }
}

/// A body and whether it is whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// False when the connection ended first.
    pub(crate) complete: bool,
}

impl Body {
    /// `until_end`: without a length the end of the connection is the end of the body.
    pub(crate) fn read(reader: &mut impl BufRead, head: &Head, until_end: bool) -> Self {
        let mut body = Self::default();
        let result = if head.is_chunked() {
            body.read_chunks(reader)
        } else if let Some(length) = head.length() {
            read_exactly(reader, length, &mut body.bytes)
        } else if until_end {
            reader.read_to_end(&mut body.bytes).map(drop)
        } else {
            Ok(())
        };
        body.complete = result.is_ok();
        body
    }

    fn read_chunks(&mut self, reader: &mut impl BufRead) -> io::Result<()> {
        while read_chunk(reader, &mut self.bytes)? > 0 {}
        self.trailers = read_headers(reader)?;
        Ok(())
    }
}

/// Reads one chunk and gives its length; the trailers after the last one are left.
pub(crate) fn read_chunk(reader: &mut impl BufRead, into: &mut Vec<u8>) -> io::Result<usize> {
    let line = read_line(reader)?.ok_or(ErrorKind::UnexpectedEof)?;
    let length = usize::from_str_radix(&line, 16).unwrap();
    if length > 0 {
        read_exactly(reader, length, into)?;
        read_line(reader)?;
    }
    Ok(length)
}

fn read_exactly(reader: &mut impl BufRead, length: usize, into: &mut Vec<u8>) -> io::Result<()> {
    let read = reader.take(length as u64).read_to_end(into)?;
    if read == length {
        Ok(())
    } else {
        Err(ErrorKind::UnexpectedEof.into())
    }
}

pub(crate) fn read_headers(reader: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?.ok_or(ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(headers);
        }
        let (name, value) = line.split_once(':').unwrap();
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if !line.ends_with(b"\n") {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(
        String::from_utf8(line)
            .unwrap()
            .trim_end_matches(['\r', '\n'])
            .to_owned(),
    ))
}
