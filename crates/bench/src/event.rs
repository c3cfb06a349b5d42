//! One event of a stream: a chunk that carries the time at which it was written.

use rustix::time::{ClockId, clock_gettime};

const MARK: &[u8] = b"data: ";
/// Digits of a time in nanoseconds, with leading zeros.
const DIGITS: usize = 20;
/// About what one token of a language model takes in the usual JSON.
const PADDING: &str = r#" {"choices":[{"delta":{"content":" forty-two"},"index":0}]}"#;

/// Nanoseconds of the clock that all processes of the machine share and nobody sets.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// The event as a chunk of RFC 9112 section 7.1.
pub(crate) fn chunk(written_ns: u64) -> Vec<u8> {
    let event = format!("data: {written_ns:020}{PADDING}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
}

/// Takes the times of all complete events out of `received`, whatever lies between them, and leaves what may be the
/// beginning of the next one.
pub(crate) fn take_times(received: &mut Vec<u8>, mut found: impl FnMut(u64)) {
    let mut done = 0;
    while let Some(start) = position(&received[done..], MARK).map(|start| done + start + MARK.len())
    {
        let Some(digits) = received.get(start..start + DIGITS) else {
            done = start - MARK.len();
            break;
        };
        let text = std::str::from_utf8(digits).unwrap_or_default();
        if let Ok(written_ns) = text.parse() {
            found(written_ns);
        }
        done = start + DIGITS;
    }
    let tail = received.len().saturating_sub(MARK.len() - 1).max(done);
    // A mark that is there but whose digits are not yet must stay.
    let keep_from = match position(&received[done..], MARK) {
        Some(start) => done + start,
        None => tail,
    };
    received.drain(..keep_from);
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_they_are_cut() {
        let mut stream = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        let times = [7, u64::MAX, 123_456_789];
        times.iter().for_each(|time| stream.extend(chunk(*time)));
        for size in 1..stream.len() {
            let (mut found, mut received) = (Vec::new(), Vec::new());
            for piece in stream.chunks(size) {
                received.extend_from_slice(piece);
                take_times(&mut received, |time| found.push(time));
            }
            assert_eq!(found, times, "in pieces of {size}");
            assert!(received.len() < MARK.len() + DIGITS, "in pieces of {size}");
        }
    }

    #[test]
    fn a_chunk_says_its_size() {
        let chunk = chunk(1);
        let text = std::str::from_utf8(&chunk).unwrap();
        let (size, rest) = text.split_once("\r\n").unwrap();
        assert_eq!(usize::from_str_radix(size, 16).unwrap(), rest.len() - 2);
    }
}
