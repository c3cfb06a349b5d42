//! `sky api metrics`: what the proxy counts, for people and for machines without curl.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::failure::Failure;
use crate::server_process;

/// The proxy answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run() -> Result<ExitCode, Failure> {
    let paths = proxy::ProxyPaths {
        home: server_process::home()?.path().to_owned(),
    };
    let socket = paths.metrics_socket();
    let answer = ask(&socket).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failure::Refused(
            "the proxy does not run; it is started with the server: sky api start".to_owned(),
        ),
        _ => Failure::Refused(format!("cannot ask {}: {error}", socket.display())),
    })?;
    match page(&answer) {
        Ok(page) => io::stdout().write_all(page)?,
        Err(status) => {
            let socket = socket.display();
            return Err(Failure::Refused(format!(
                "the proxy gives no metrics at {socket}: {status}"
            )));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// HTTP/1.0, so that the end of the connection is the end of the answer.
fn ask(socket: &Path) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// The body of a good answer, else what its first line says.
fn page(answer: &[u8]) -> Result<&[u8], String> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let (head, body) = answer.split_at(end.map_or(answer.len(), |end| end + 4));
    let status = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let status = String::from_utf8_lossy(status);
    match status.split(' ').nth(1) {
        Some("200") if end.is_some() => Ok(body),
        Some(_) => Err(status.into_owned()),
        None => Err("no answer".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_head_that_says_200_is_an_answer() {
        let good = b"HTTP/1.1 200 OK\r\na: b\r\n\r\nx 1\n\r\n\r\n";
        assert_eq!(page(good), Ok(&b"x 1\n\r\n\r\n"[..]));
        for (answer, error) in [
            (
                &b"HTTP/1.1 503 Service Unavailable\r\n\r\nlater"[..],
                "HTTP/1.1 503 Service Unavailable",
            ),
            (b"HTTP/1.1 200 OK\r\na: ", "HTTP/1.1 200 OK"),
            (b"", "no answer"),
        ] {
            assert_eq!(page(answer), Err(error.to_owned()));
        }
    }
}
