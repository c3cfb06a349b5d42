//! Sockets on io_uring.
//!
//! # Problem
//!
//! A small request costs a proxy four system calls on sockets, and most of what it costs at all is spent in the system.
//! With io_uring many such requests to the system are handed over in one call: what all tasks of a thread have to send and
//! want to receive is collected while they run and goes to the system when none of them has anything left to do.
//!
//! # Rules
//!
//! - A [`Driver`] belongs to one thread; so do its [`Socket`]s. The task [`drive`] takes a [`turn`] when the tasks before it
//!   have asked for something; what then completes wakes its tasks, and it takes another after them.
//! - What is small is received, by one standing request per socket, into buffers that the system chooses from, and
//!   copied; who waits holds none. Once a message has filled one of them, or another comes before the first is read, the
//!   request ends: the socket is asked directly for the rest, and until small messages come again it is only watched until it is
//!   readable. So large messages are not copied twice, and the system reads no more than somebody takes.
//! - What is small is copied and sent in the next turn; the sender goes on at once. Until it has been taken, nothing else is
//!   (so a slow reader slows its sender down), and a failure shows in the next thing that is asked of the socket. What is large is
//!   sent directly.
//! - Dropping a socket ends what it waits for, lets what was given to it be sent within a time, and closes it after that.
//!
//! # Cold start and recovery
//!
//! [`Driver::start`] fails where the system has no io_uring, an old one, or forbids it (containers often do): the caller
//! then does without. Nothing outlives the thread.

mod driver;
mod queue;
mod socket;
mod state;

pub use self::driver::{Driver, drive, has_driver, is_settled, sweep, turn};
pub use self::socket::Socket;
