//! What lasts: event streams, WebSockets and gRPC streams, each numbered so that nothing can be missing unnoticed.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::channel_body::Writer;
use crate::replica_app::{CLIENT_FRAME, EVENT_INTERVAL, SERVER_FRAME};

/// Messages in a second.
const RATE: u64 = 10;

/// A gRPC message: not compressed, its length, itself.
pub(super) fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("a short message");
    [&[0], &length.to_be_bytes()[..], message].concat().into()
}

/// The gRPC message of this number.
pub(super) fn message(number: u64) -> Bytes {
    framed(&number.to_be_bytes())
}

/// Reads the events of `seconds` seconds.
pub(super) async fn events(mut body: Incoming, seconds: u32) -> Result<(), String> {
    let numbers = u64::from(seconds) * RATE;
    let expected = (0..numbers).map(|number| format!("data: {number}\n\n"));
    let mut got = BytesMut::new();
    for (number, event) in expected.chain(["data: [DONE]\n\n".to_owned()]).enumerate() {
        while got.len() < event.len() {
            let Some(data) = next(&mut body).await? else {
                return Err(format!("the stream ended before event {number}"));
            };
            got.extend_from_slice(&data);
        }
        if got.split_to(event.len()) != event.as_bytes() {
            return Err(format!("event {number} is another one"));
        }
    }
    match next(&mut body).await? {
        None if got.is_empty() => Ok(()),
        _ => Err("more events than there should be".to_owned()),
    }
}

/// Sends a message at a time and waits for it to come back; then ends and waits for the end.
pub(super) async fn web_socket(response: Response<Incoming>, seconds: u32) -> Result<(), String> {
    let upgraded = hyper::upgrade::on(response).await;
    let mut io = TokioIo::new(upgraded.map_err(|error| format!("not upgraded: {error:?}"))?);
    for number in 0..u64::from(seconds) * RATE {
        let broken = |error: std::io::Error| format!("broken at message {number}: {error}");
        let number_bytes = number.to_be_bytes();
        let sent = [&CLIENT_FRAME[..], &number_bytes].concat();
        io.write_all(&sent).await.map_err(broken)?;
        let mut got = [0; SERVER_FRAME.len() + 8];
        io.read_exact(&mut got).await.map_err(broken)?;
        if got[..SERVER_FRAME.len()] != SERVER_FRAME || got[SERVER_FRAME.len()..] != number_bytes {
            return Err(format!("message {number} came back as another one"));
        }
        tokio::time::sleep(EVENT_INTERVAL).await;
    }
    io.shutdown()
        .await
        .map_err(|error| format!("at the end: {error}"))?;
    let mut rest = Vec::new();
    match io.read_to_end(&mut rest).await {
        Ok(0) => Ok(()),
        Ok(more) => Err(format!("{more} bytes too many")),
        Err(error) => Err(format!("at the end: {error}")),
    }
}

/// The same with gRPC messages, the first of which is sent already.
pub(super) async fn grpc(mut body: Incoming, writer: Writer, seconds: u32) -> Result<(), String> {
    let mut got = BytesMut::new();
    for number in 0..u64::from(seconds) * RATE {
        if number > 0 && !writer.data(message(number)).await {
            return Err(format!("message {number} could not be sent"));
        }
        let expected = message(number);
        while got.len() < expected.len() {
            let Some(data) = next(&mut body).await? else {
                return Err(format!("the stream ended before message {number}"));
            };
            got.extend_from_slice(&data);
        }
        if got.split_to(expected.len()) != expected {
            return Err(format!("message {number} came back as another one"));
        }
        tokio::time::sleep(EVENT_INTERVAL).await;
    }
    drop(writer);
    let end = body.collect().await;
    let end = end.map_err(|error| format!("cut at the end: {error:?}"))?;
    check_trailers(end.trailers())
}

/// A gRPC call has ended well only if it says so.
pub(super) fn check_trailers(trailers: Option<&HeaderMap>) -> Result<(), String> {
    match trailers.and_then(|trailers| trailers.get("grpc-status")) {
        Some(status) if status == "0" => Ok(()),
        Some(_) => Err(format!("ended with {trailers:?}")),
        None => Err("no grpc-status".to_owned()),
    }
}

/// The next piece of a body; `None` at its end.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, String> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("cut: {error:?}"))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}
