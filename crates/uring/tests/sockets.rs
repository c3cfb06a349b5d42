//! Sockets on the ring against sockets of tokio. Where the system has no io_uring, there is nothing to test.

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::task::Poll;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalOptions;
use tokio::task::spawn_local;
use tokio::time::{Duration, timeout};
use uring::{Driver, Socket};

/// Nothing here takes long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test on a thread with a driver.
fn with_driver<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        let _driver = match Driver::start() {
            Ok(driver) => driver,
            Err(error) => {
                eprintln!("skipped: no io_uring here: {error}");
                return;
            }
        };
        let turns = spawn_local(uring::drive());
        timeout(PATIENCE, test()).await.expect("it hangs");
        turns.abort();
    });
}

/// A connection: our end, the other one.
async fn pair() -> (Socket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = TcpStream::connect(listener.local_addr().unwrap());
    let (other, accepted) = tokio::join!(other, listener.accept());
    let accepted = accepted.unwrap().0;
    accepted.set_nodelay(true).unwrap();
    let socket = Socket::new(accepted.into_std().unwrap().into()).unwrap();
    (socket, other.unwrap())
}

async fn readable(socket: &Socket) {
    poll_fn(|context| socket.poll_readable(context)).await;
}

async fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    poll_fn(|context| socket.poll_receive(context, buffer)).await
}

async fn send(socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    poll_fn(|context| socket.poll_send(context, bytes)).await
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("never: {what}"));
}

/// Bytes that tell when any is missing, twice there or in another place.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(next).collect()
}

#[test]
fn small_messages_go_both_ways() {
    with_driver(|| async {
        let (socket, mut other) = pair().await;
        for round in 0..100_u32 {
            other.write_all(&round.to_le_bytes()).await.unwrap();
            let mut buffer = [0; 64];
            assert_eq!(receive(&socket, &mut buffer).await.unwrap(), 4);
            assert_eq!(buffer[..4], round.to_le_bytes());
            assert_eq!(send(&socket, b"answer").await.unwrap(), 6);
            let mut answer = [0; 6];
            other.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"answer");
        }
    });
}

#[test]
fn what_has_come_can_be_read_in_parts() {
    with_driver(|| async {
        let (socket, mut other) = pair().await;
        other.write_all(b"abcdef").await.unwrap();
        let mut part = [0; 4];
        assert_eq!(receive(&socket, &mut part).await.unwrap(), 4);
        assert_eq!(&part, b"abcd");
        assert_eq!(receive(&socket, &mut part).await.unwrap(), 2);
        assert_eq!(&part[..2], b"ef");
    });
}

/// Every size around those at which the way changes, and large ones, in both directions at once, with a reader
/// that is slow to begin.
#[test]
fn messages_of_every_size_arrive_whole_and_in_order() {
    with_driver(|| async {
        let sizes = [
            1, 100, 4095, 4096, 4097, 8192, 70_000, 5_000_000, 3, 4096, 4096,
        ];
        let sent: Vec<u8> = pattern(sizes.iter().sum());
        let (socket, other) = pair().await;
        let (mut from, mut to) = other.into_split();
        let (expected, echoed) = (sent.clone(), sent.clone());
        let reader = spawn_local(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let mut got = vec![0; expected.len()];
            from.read_exact(&mut got).await.unwrap();
            assert!(got == expected);
        });
        let writer = spawn_local(async move {
            to.write_all(&echoed).await.unwrap();
            to
        });
        let upload = async {
            let mut rest = sent.as_slice();
            for size in sizes {
                let (mut message, after) = rest.split_at(size);
                while !message.is_empty() {
                    let taken = send(&socket, message).await.unwrap();
                    message = &message[taken..];
                }
                rest = after;
            }
        };
        let download = async {
            let (mut got, mut buffer) = (Vec::new(), vec![0; 9000]);
            while got.len() < sent.len() {
                readable(&socket).await;
                let length = receive(&socket, &mut buffer).await.unwrap();
                got.extend_from_slice(&buffer[..length]);
            }
            assert!(got == sent);
        };
        tokio::join!(upload, download);
        reader.await.unwrap();
        drop(writer.await.unwrap());
        let mut buffer = [0; 10];
        assert_eq!(receive(&socket, &mut buffer).await.unwrap(), 0);
        assert!(socket.has_ended());
    });
}

/// A small message is taken at once, the next only when that is on its way: what is held here is bounded.
#[test]
fn a_slow_reader_slows_its_sender_down() {
    with_driver(|| async {
        let (socket, mut other) = pair().await;
        let mut taken = 0;
        let is_full = poll_fn(|context| {
            loop {
                match socket.poll_send(context, &[7; 4096]) {
                    Poll::Ready(sent) => taken += sent.unwrap(),
                    // One turn is not enough to know that it stays so.
                    Poll::Pending if taken < 64 * 1024 => return Poll::Pending,
                    Poll::Pending => return Poll::Ready(true),
                }
            }
        });
        assert!(is_full.await);
        // Nobody reads, so that this ends.
        let stalled = timeout(Duration::from_millis(200), async {
            loop {
                taken += send(&socket, &[7; 4096]).await.unwrap();
            }
        });
        assert!(stalled.await.is_err());
        let mut got = vec![0; taken];
        other.read_exact(&mut got).await.unwrap();
        assert!(got.iter().all(|byte| *byte == 7));
        assert_eq!(send(&socket, b"on").await.unwrap(), 2);
    });
}

#[test]
fn a_dropped_socket_sends_what_it_was_given_and_closes() {
    with_driver(|| async {
        let (socket, mut other) = pair().await;
        // Asked for something, too, so that there is something to cancel.
        let asked = timeout(Duration::from_millis(5), readable(&socket)).await;
        assert!(asked.is_err());
        send(&socket, b"farewell").await.unwrap();
        drop(socket);
        let mut all = Vec::new();
        other.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"farewell");
        eventually("all is sent", uring::is_settled).await;
    });
}

#[test]
fn a_half_closed_socket_still_receives() {
    with_driver(|| async {
        let (socket, mut other) = pair().await;
        send(&socket, b"last words").await.unwrap();
        poll_fn(|context| socket.poll_end(context)).await.unwrap();
        let mut all = Vec::new();
        other.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"last words");
        other.write_all(b"heard").await.unwrap();
        let mut buffer = [0; 16];
        assert_eq!(receive(&socket, &mut buffer).await.unwrap(), 5);
    });
}

#[test]
fn a_socket_at_rest_is_quiet_until_something_comes() {
    with_driver(|| async {
        let (socket, mut other) = pair().await;
        socket.rest();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(socket.is_quiet());
        other.write_all(b"x").await.unwrap();
        eventually("a byte is seen", || !socket.is_quiet()).await;

        let (socket, other) = pair().await;
        socket.rest();
        assert!(socket.is_quiet());
        drop(other);
        eventually("the end is seen", || !socket.is_quiet()).await;
        assert!(socket.has_ended());
    });
}

/// Messages that fill one buffer, some, or none; the connection is as good as before.
#[test]
fn a_socket_is_quiet_after_messages_of_any_size() {
    with_driver(|| async {
        for size in [1, 4095, 4096, 4097, 5000, 8192, 40_000, 65_536] {
            let (socket, mut other) = pair().await;
            for _ in 0..3 {
                socket.mark();
                other.write_all(&pattern(size)).await.unwrap();
                let (mut got, mut buffer) = (0, vec![0; 65_536]);
                while got < size {
                    got += receive(&socket, &mut buffer[got..]).await.unwrap();
                }
                assert!(buffer[..size] == pattern(size));
                socket.rest();
                // What was asked before may still be coming to its end.
                tokio::time::sleep(Duration::from_millis(2)).await;
                assert!(socket.is_quiet(), "{size}");
            }
            other.write_all(b"!").await.unwrap();
            eventually("a byte is seen", || !socket.is_quiet()).await;
        }
    });
}

/// What is taken at once and refused after all was not sent, and whoever hears of the end can know.
#[test]
fn what_the_system_refuses_counts_as_unsent() {
    with_driver(|| async {
        let (socket, other) = pair().await;
        send(&socket, b"before").await.unwrap();
        eventually("it is there", || {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            matches!(
                other.poll_peek(&mut context, &mut tokio::io::ReadBuf::new(&mut [0; 6])),
                Poll::Ready(Ok(6))
            )
        })
        .await;
        // Closing with something unread resets the connection.
        drop(other);
        tokio::time::sleep(Duration::from_millis(50)).await;
        socket.mark();
        // The failure is told once: to the sender, so that the reader may only hear of the end.
        let refused = send(&socket, b"after").await.is_err();
        let heard = receive(&socket, &mut [0; 10]).await;
        assert!(refused || matches!(heard, Ok(0) | Err(_)));
        assert!(socket.is_unsent());
    });
}

#[test]
fn what_was_sent_counts_as_sent_though_the_end_follows() {
    with_driver(|| async {
        let (socket, mut other) = pair().await;
        socket.mark();
        send(&socket, b"request").await.unwrap();
        let mut request = [0; 7];
        other.read_exact(&mut request).await.unwrap();
        drop(other);
        assert_eq!(receive(&socket, &mut [0; 10]).await.unwrap(), 0);
        assert!(!socket.is_unsent());
    });
}

/// More sockets with something to read than there are buffers for.
#[test]
fn many_sockets_share_the_buffers() {
    with_driver(|| async {
        let mut pairs = Vec::new();
        for _ in 0..300 {
            pairs.push(pair().await);
        }
        pairs.iter().for_each(|(socket, _)| socket.rest());
        for (number, (_, other)) in pairs.iter_mut().enumerate() {
            other.write_all(&number.to_le_bytes()).await.unwrap();
        }
        // Nobody reads until all of it is there.
        eventually("all have something", || {
            pairs.iter().all(|(socket, _)| !socket.is_quiet())
        })
        .await;
        for (number, (socket, _)) in pairs.iter().enumerate() {
            let mut buffer = [0; 16];
            assert_eq!(receive(socket, &mut buffer).await.unwrap(), 8);
            assert_eq!(buffer[..8], number.to_le_bytes());
        }
    });
}

/// Who holds buffers without reading does not keep others from waiting in peace, nor from being served.
#[test]
fn waiting_costs_nothing_while_others_hold_the_buffers() {
    with_driver(|| async {
        let mut holders = Vec::new();
        for _ in 0..200 {
            let (socket, mut other) = pair().await;
            let nothing_yet = timeout(Duration::ZERO, readable(&socket)).await;
            assert!(nothing_yet.is_err());
            other.write_all(b"unread").await.unwrap();
            holders.push((socket, other));
        }
        for (socket, _) in &holders {
            readable(socket).await;
        }
        let (waiting, mut other) = pair().await;
        let mut polls = 0;
        let patience = timeout(
            Duration::from_millis(100),
            poll_fn(|context| {
                polls += 1;
                waiting.poll_receive(context, &mut [0; 10]).map(drop)
            }),
        );
        assert!(patience.await.is_err());
        assert!(polls < 20, "{polls}");
        other.write_all(b"served").await.unwrap();
        assert_eq!(receive(&waiting, &mut [0; 10]).await.unwrap(), 6);
        for (socket, _) in &holders {
            assert_eq!(receive(socket, &mut [0; 10]).await.unwrap(), 6);
        }
    });
}

#[test]
fn a_reset_looks_like_one() {
    with_driver(|| async {
        let (socket, mut other) = pair().await;
        socket.reset_on_close();
        drop(socket);
        let error = other.read(&mut [0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

/// A thread may end in the middle of everything.
#[test]
fn a_driver_ends_with_requests_in_flight() {
    for _ in 0..20 {
        with_driver(|| async {
            let (waiting, _other) = pair().await;
            waiting.rest();
            let (sending, _unread) = pair().await;
            send(&sending, &[1; 4096]).await.unwrap();
        });
    }
}

#[test]
fn without_a_driver_a_socket_is_given_back() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let given_back = Socket::new(stream.into()).unwrap_err();
    let stream = std::net::TcpStream::from(given_back);
    stream.shutdown(Shutdown::Both).unwrap();
    // And a turn does nothing.
    assert!(!uring::turn());
    assert!(uring::is_settled());
}
