//! After `101 Switching Protocols`: two connections become one, until both ends have closed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::connection::Client;
use super::flow::Flow;
use crate::buffer::Input;
use crate::plain::Plain;
use crate::stream::Stream;

/// Bytes carried each way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Carried {
    pub(super) from_client: u64,
    pub(super) from_replica: u64,
}

/// Moves bytes both ways. There is no limit on silence: what is silence in a protocol is that protocol's business.
pub(super) struct Tunnel<'a, S> {
    client: &'a mut Client<S>,
    stream: Plain,
    input: Input,
    to_client: Direction,
    to_replica: Direction,
    pub(super) carried: Carried,
}

#[derive(Debug, Default)]
struct Direction {
    flow: Flow,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The end has come and is to be passed on.
    Ending,
    Ended,
}

impl<'a, S: Stream> Tunnel<'a, S> {
    /// `head` is still to be written to the client; `input` was read from the replica already.
    pub(super) fn new(client: &'a mut Client<S>, stream: Plain, input: Input, head: Flow) -> Self {
        let to_client = Direction {
            flow: head,
            state: State::Open,
        };
        Self {
            client,
            stream,
            input,
            to_client,
            to_replica: Direction::default(),
            carried: Carried::default(),
        }
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // It wakes nobody, but the connections of a thread are woken together when an endpoint closes.
        self.client.deadline.clear();
        let carried = &mut self.carried;
        let down = self.to_client.poll(
            &mut self.input,
            &mut self.stream,
            &mut self.client.stream,
            &mut carried.from_replica,
            context,
        )?;
        let up = self.to_replica.poll(
            &mut self.client.input,
            &mut self.client.stream,
            &mut self.stream,
            &mut carried.from_client,
            context,
        )?;
        if down.is_ready() && up.is_ready() {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }
}

impl Direction {
    fn poll<F: Stream, T: Stream>(
        &mut self,
        input: &mut Input,
        from: &mut F,
        to: &mut T,
        carried: &mut u64,
        context: &mut Context<'_>,
    ) -> io::Result<Poll<()>> {
        loop {
            if self.flow.ready == 0 && !input.is_empty() {
                self.flow.ready = input.len();
                *carried += input.len() as u64;
            }
            if self.flow.is_pending() {
                match self.flow.poll_write(input, to, context) {
                    Poll::Ready(written) => written.map(|_| ())?,
                    Poll::Pending => return Ok(Poll::Pending),
                }
                continue;
            }
            match self.state {
                State::Open => match input.poll_fill(from, context) {
                    Poll::Ready(Ok(0)) => self.state = State::Ending,
                    Poll::Ready(read) => read.map(|_| ())?,
                    Poll::Pending => return Ok(Poll::Pending),
                },
                State::Ending => match Pin::new(&mut *to).poll_shutdown(context) {
                    Poll::Ready(ended) => {
                        ended?;
                        self.state = State::Ended;
                    }
                    Poll::Pending => return Ok(Poll::Pending),
                },
                State::Ended => return Ok(Poll::Ready(())),
            }
        }
    }
}
