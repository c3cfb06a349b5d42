//! The project's own load generator: one thread, many connections, closed or open loop.
//!
//! *Closed*: each connection sends its next request when it has its answer; latency counts from sending. *Open*:
//! requests are due at fixed times whether or not answers come; latency counts from the time at which a request was
//! due, so that a proxy that stalls is charged for every request that it kept waiting (no coordinated omission).

mod response;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use self::response::{Progress, Response};
use crate::interrupt;
use crate::statistics::percentile;

const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// After the time is over, what is still in flight gets this long in an open loop.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// The longest that passes before the clock is looked at.
const LONGEST_WAIT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};
const READ_BYTES: usize = 128 * 1024;
const EVENTS: usize = 256;
/// Tells the timer from a connection.
const TIMER: u64 = u64::MAX;

/// What is sent, and how.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    /// Bytes of the body.
    pub(crate) body_bytes: usize,
    /// A new connection for each request.
    pub(crate) close: bool,
}

impl Request {
    fn bytes(&self, address: SocketAddr) -> Vec<u8> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {address}\r\n",
            self.method, self.path
        );
        if self.close {
            head.push_str("Connection: close\r\n");
        }
        if self.body_bytes > 0 {
            head.push_str("Content-Type: application/json\r\n");
            head.push_str(&format!("Content-Length: {}\r\n", self.body_bytes));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.resize(bytes.len() + self.body_bytes, b'x');
        bytes
    }
}

/// How much is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) connections: usize,
    pub(crate) duration: Duration,
    /// Requests per second of an open loop; `None` is a closed one.
    pub(crate) rate: Option<f64>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    /// Requests answered well.
    pub(crate) requests: u64,
    /// Requests that were not: connections that failed, answers other than 2xx, answers that did not come.
    pub(crate) errors: u64,
    pub(crate) elapsed: Duration,
    pub(crate) p50_ns: Option<u64>,
    pub(crate) p99_ns: Option<u64>,
}

/// Sends `request` to `address` as `plan` says.
///
/// # Errors
///
/// When no connection can be made at all, and when the run is interrupted.
pub(crate) fn run(address: SocketAddr, request: &Request, plan: Plan) -> anyhow::Result<Outcome> {
    let mut generator = Generator::new(address, request, plan)?;
    generator.run()?;
    Ok(generator.outcome())
}

struct Generator {
    address: SocketAddr,
    request: Vec<u8>,
    close: bool,
    plan: Plan,
    epoll: OwnedFd,
    timer: OwnedFd,
    connections: Vec<Connection>,
    /// Connections of an open loop that have nothing in flight.
    idle: VecDeque<usize>,
    /// Times at which requests of an open loop were due that no connection was free for.
    waiting: VecDeque<Instant>,
    started: Instant,
    due: u64,
    latencies_ns: Vec<u64>,
    errors: u64,
    scratch: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    /// When the request in flight was due.
    in_flight: Option<Instant>,
    response: Response,
}

impl Generator {
    fn new(address: SocketAddr, request: &Request, plan: Plan) -> anyhow::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        let mut generator = Self {
            address,
            request: request.bytes(address),
            close: request.close,
            plan,
            epoll,
            timer,
            connections: Vec::new(),
            idle: VecDeque::new(),
            waiting: VecDeque::new(),
            started: Instant::now(),
            due: 0,
            latencies_ns: Vec::new(),
            errors: 0,
            scratch: vec![0; READ_BYTES],
        };
        for index in 0..plan.connections {
            let stream = generator
                .connect(index)
                .with_context(|| format!("cannot connect to {address}"))?;
            generator.connections.push(Connection {
                stream,
                in_flight: None,
                response: Response::default(),
            });
        }
        generator.started = Instant::now();
        Ok(generator)
    }

    fn connect(&self, index: usize) -> anyhow::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, CONNECT_PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let data = EventData::new_u64(index as u64);
        epoll::add(&self.epoll, &stream, data, EventFlags::IN)?;
        Ok(stream)
    }

    fn run(&mut self) -> anyhow::Result<()> {
        if self.plan.rate.is_some() {
            self.idle = (0..self.connections.len()).collect();
            self.send_due()?;
        } else {
            for index in 0..self.connections.len() {
                self.send(index, Instant::now());
            }
        }
        let mut events = Vec::with_capacity(EVENTS);
        while !self.is_over() {
            interrupt::check()?;
            match epoll::wait(
                &self.epoll,
                spare_capacity(&mut events),
                Some(&LONGEST_WAIT),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    TIMER => {}
                    index => self.receive(usize::try_from(index)?),
                }
            }
            self.send_due()?;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let passed = self.started.elapsed();
        let all_answered = self.waiting.is_empty() && self.idle.len() == self.connections.len();
        match self.plan.rate {
            None => passed >= self.plan.duration,
            Some(_) if passed >= self.plan.duration + LAST_ANSWERS => true,
            Some(_) => passed >= self.plan.duration && all_answered,
        }
    }

    /// Open loop: sends what is due, as far as connections are free, and sets the timer for what comes next.
    fn send_due(&mut self) -> anyhow::Result<()> {
        let Some(rate) = self.plan.rate else {
            return Ok(());
        };
        let due_at = |number: u64| Duration::from_secs_f64(number as f64 / rate);
        let passed = self.started.elapsed();
        while due_at(self.due) <= passed && due_at(self.due) < self.plan.duration {
            self.waiting.push_back(self.started + due_at(self.due));
            self.due += 1;
        }
        while !self.waiting.is_empty() && !self.idle.is_empty() {
            if let (Some(due), Some(index)) = (self.waiting.pop_front(), self.idle.pop_front()) {
                self.send(index, due);
            }
        }
        // Zero, which disarms the timer, when nothing more will be due.
        let until = if due_at(self.due) < self.plan.duration {
            let until = due_at(self.due).saturating_sub(self.started.elapsed());
            until.max(Duration::from_nanos(1))
        } else {
            Duration::ZERO
        };
        let value = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: i64::try_from(until.as_secs())?,
                tv_nsec: until.subsec_nanos().into(),
            },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &value)?;
        Ok(())
    }

    fn send(&mut self, index: usize, due: Instant) {
        let connection = &mut self.connections[index];
        connection.in_flight = Some(due);
        connection.response = Response::default();
        // A connection that cannot be written to is reported by the epoll, and fails then.
        let _ = write_all(&mut connection.stream, &self.request);
    }

    /// Reads what has come; an answer that is complete makes room for the next request.
    fn receive(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let received = match connection.stream.read(&mut self.scratch) {
            Ok(count) => count,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return;
            }
            Err(_) => return self.failed(index),
        };
        if connection.in_flight.is_none() {
            // An unused connection may be closed; it is renewed and stays in its place.
            self.renew(index);
            return;
        }
        let progress = if received == 0 {
            connection.response.ended()
        } else {
            connection.response.received(&self.scratch[..received])
        };
        match progress {
            Progress::More => {}
            Progress::Complete {
                success: true,
                keep,
            } => self.answered(index, keep && !self.close),
            Progress::Complete { .. } | Progress::Broken => self.failed(index),
        }
    }

    fn answered(&mut self, index: usize, keep: bool) {
        if let Some(due) = self.connections[index].in_flight.take() {
            let latency = u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.latencies_ns.push(latency);
        }
        if keep || self.renew(index) {
            self.next(index);
        }
    }

    fn failed(&mut self, index: usize) {
        self.errors += 1;
        self.connections[index].in_flight = None;
        if self.renew(index) {
            self.next(index);
        }
    }

    /// A new connection in the place of this one. Without one, the place stays empty and counts as an error.
    fn renew(&mut self, index: usize) -> bool {
        // The old one leaves the epoll by being closed when it is replaced.
        match self.connect(index) {
            Ok(stream) => {
                self.connections[index].stream = stream;
                true
            }
            Err(_) => {
                let _ = epoll::delete(&self.epoll, &self.connections[index].stream);
                self.errors += 1;
                false
            }
        }
    }

    fn next(&mut self, index: usize) {
        if self.plan.rate.is_some() {
            self.idle.push_back(index);
        } else if self.started.elapsed() < self.plan.duration {
            self.send(index, Instant::now());
        }
    }

    fn outcome(mut self) -> Outcome {
        self.latencies_ns.sort_unstable();
        let unanswered = self.waiting.len()
            + match self.plan.rate {
                Some(_) => self
                    .connections
                    .iter()
                    .filter(|one| one.in_flight.is_some())
                    .count(),
                None => 0,
            };
        Outcome {
            requests: self.latencies_ns.len() as u64,
            errors: self.errors + unanswered as u64,
            elapsed: self.started.elapsed(),
            p50_ns: percentile(&self.latencies_ns, 50.0),
            p99_ns: percentile(&self.latencies_ns, 99.0),
        }
    }
}

fn write_all(stream: &mut TcpStream, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut wanted = [PollFd::new(stream, PollFlags::OUT)];
                poll(&mut wanted, Some(&LONGEST_WAIT))?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if interrupt::ended() {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
