//! A replica that does exactly what a test says.

use std::io::{BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::message::{Body, Head};

/// Between two chunks of a stream.
const TICK: Duration = Duration::from_millis(5);

/// Whether a connection serves another request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Keep,
    Close,
}

/// One request at a replica, its body unread.
pub(crate) struct Exchange {
    pub(crate) head: Head,
    /// Number of the request on this connection, from 0.
    pub(crate) number: usize,
    pub(crate) reader: BufReader<TcpStream>,
}

impl Exchange {
    pub(crate) fn method(&self) -> &str {
        self.head.first_line.split(' ').next().unwrap()
    }

    pub(crate) fn target(&self) -> &str {
        self.head.first_line.split(' ').nth(1).unwrap()
    }

    pub(crate) fn body(&mut self) -> Body {
        Body::read(&mut self.reader, &self.head, false)
    }

    /// Writes bytes; a proxy that has gone away is no error.
    pub(crate) fn send(&mut self, text: &str) -> bool {
        self.reader.get_mut().write_all(text.as_bytes()).is_ok()
    }

    pub(crate) fn answer(&mut self, text: &str) -> Then {
        self.send(&format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        ));
        Then::Keep
    }

    pub(crate) fn send_chunk(&mut self, text: &str) -> bool {
        self.send(&format!("{:x}\r\n{text}\r\n", text.len()))
    }

    /// Begins an answer of unknown length.
    pub(crate) fn begin_chunks(&mut self) {
        self.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    }

    /// Waits until the proxy has closed its side.
    pub(crate) fn wait_for_end(&mut self) {
        let _ = std::io::Read::read_to_end(&mut self.reader, &mut Vec::new());
    }
}

/// A listening replica; ends when dropped.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    connections: AtomicUsize,
    heads: Mutex<Vec<Head>>,
    open: Mutex<Vec<TcpStream>>,
}

impl Replica {
    /// Runs `handler` for each request, in a thread per connection.
    pub(crate) fn start(handler: impl Fn(&mut Exchange) -> Then + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), handler)
    }

    /// Answers at once, but for `/stream`, whose answer goes on until `stop` is set.
    pub(crate) fn streaming(stop: &Arc<AtomicBool>) -> Self {
        let stop = Arc::clone(stop);
        Self::start(move |exchange| {
            if exchange.target() != "/stream" {
                return exchange.answer("r");
            }
            exchange.begin_chunks();
            while !stop.load(Ordering::SeqCst) {
                exchange.send_chunk("tick");
                thread::sleep(TICK);
            }
            exchange.send("0\r\n\r\n");
            Then::Close
        })
    }

    pub(crate) fn start_at(
        address: SocketAddr,
        handler: impl Fn(&mut Exchange) -> Then + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            heads: Mutex::default(),
            open: Mutex::default(),
        });
        let thread = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || accept(&listener, &shared, &Arc::new(handler)))
        };
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// Answers every request with `name`.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::start(move |exchange| {
            exchange.body();
            exchange.answer(name)
        })
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<Head> {
        self.shared.heads.lock().unwrap().clone()
    }

    pub(crate) fn requests(&self) -> usize {
        self.shared.heads.lock().unwrap().len()
    }
}

impl Drop for Replica {
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

fn accept(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    handler: &Arc<impl Fn(&mut Exchange) -> Then + Send + Sync + 'static>,
) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        stream.set_nodelay(true).unwrap();
        shared.connections.fetch_add(1, Ordering::SeqCst);
        shared
            .open
            .lock()
            .unwrap()
            .push(stream.try_clone().unwrap());
        let (shared, handler) = (Arc::clone(shared), Arc::clone(handler));
        thread::spawn(move || serve(stream, &shared, &*handler));
    }
}

fn serve(stream: TcpStream, shared: &Shared, handler: &impl Fn(&mut Exchange) -> Then) {
    let mut reader = BufReader::new(stream);
    for number in 0.. {
        let Ok(Some(head)) = Head::read(&mut reader) else {
            break;
        };
        shared.heads.lock().unwrap().push(head.clone());
        let mut exchange = Exchange {
            head,
            number,
            reader,
        };
        let then = handler(&mut exchange);
        reader = exchange.reader;
        if then == Then::Close {
            break;
        }
    }
    // The list of open connections holds a copy, so dropping alone would not close it.
    let _ = reader.get_ref().shutdown(Shutdown::Both);
}
