//! Messages to the kernel's networking, as bytes: no more of netlink(7) than is needed here.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send,
    socket_with,
};

/// The kernel answers at once; a lost answer must not hang an agent.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Large enough for any answer of the kernel, which splits longer ones.
const BUFFER_BYTES: usize = 64 * 1024;

const HEADER_BYTES: usize = 16;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
const NESTED: u16 = 0x8000;

const MESSAGE_ERROR: u16 = 2;
const MESSAGE_DONE: u16 = 3;

/// Flags of a message.
pub(super) mod flags {
    /// It is a request.
    pub(in crate::network) const REQUEST: u16 = 0x1;
    /// Success is to be told too.
    pub(in crate::network) const ACKNOWLEDGE: u16 = 0x4;
    /// List everything.
    pub(in crate::network) const DUMP: u16 = 0x300;
    /// Fail if it exists.
    pub(in crate::network) const EXCLUSIVE: u16 = 0x200;
    /// Make it.
    pub(in crate::network) const CREATE: u16 = 0x400;
    /// Add it at the end.
    pub(in crate::network) const APPEND: u16 = 0x800;
}

/// What the kernel or its answer was wrong about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel's error.
    #[error("{0}")]
    Kernel(#[from] Errno),
    /// An answer that cannot be read.
    #[error("its answer makes no sense")]
    Malformed,
}

/// A message in the making. Numbers are in the machine's byte order unless said otherwise.
#[derive(Clone, Debug)]
pub(super) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A message of the given kind and flags.
    pub(super) fn new(kind: u16, flags: u16, sequence: u32) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        Self { bytes }
    }

    /// Adds raw bytes.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self.pad()
    }

    /// Adds an attribute.
    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(ATTRIBUTE_HEADER_BYTES + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.raw(value)
    }

    /// Adds an attribute that holds a text, with the NUL the kernel wants.
    pub(super) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// Adds an attribute that holds what `fill` adds.
    pub(super) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend(0_u16.to_ne_bytes());
        self.bytes.extend((kind | NESTED).to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// The finished message.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes
    }

    fn pad(&mut self) -> &mut Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }
}

/// A netlink socket.
#[derive(Debug)]
pub(super) struct Socket {
    descriptor: OwnedFd,
}

/// One message of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its body, behind the header.
    pub(super) body: Vec<u8>,
}

impl Socket {
    /// Opens a socket to one part of the kernel; `None` for routing.
    pub(super) fn open(protocol: Option<Protocol>) -> Result<Self, NetlinkError> {
        let descriptor = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        bind(&descriptor, &SocketAddrNetlink::new(0, 0))?;
        set_socket_timeout(&descriptor, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        Ok(Self { descriptor })
    }

    /// Sends messages and waits for what the kernel says to the one numbered `last`. The first
    /// error counts.
    pub(super) fn request(&self, messages: &[u8], last: u32) -> Result<(), NetlinkError> {
        send(&self.descriptor, messages, SendFlags::empty())?;
        let mut result = Ok(());
        loop {
            for (header, body) in split(&self.receive()?)? {
                if header.kind != MESSAGE_ERROR {
                    continue;
                }
                result = result.and(error_of(&body));
                if header.sequence == last {
                    return result;
                }
            }
        }
    }

    /// Sends a request to list something and collects the answers.
    pub(super) fn list(&self, message: &[u8]) -> Result<Vec<Answer>, NetlinkError> {
        send(&self.descriptor, message, SendFlags::empty())?;
        let mut answers = Vec::new();
        loop {
            for (header, body) in split(&self.receive()?)? {
                match header.kind {
                    MESSAGE_DONE => return Ok(answers),
                    MESSAGE_ERROR => error_of(&body)?,
                    _ => answers.push(Answer { body }),
                }
            }
        }
    }

    /// The socket itself.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    fn receive(&self) -> Result<Vec<u8>, NetlinkError> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let (_, length) = recv(&self.descriptor, &mut buffer[..], RecvFlags::empty())?;
        buffer.truncate(length);
        Ok(buffer)
    }
}

struct Header {
    kind: u16,
    sequence: u32,
}

/// Takes the messages of one datagram apart.
fn split(mut bytes: &[u8]) -> Result<Vec<(Header, Vec<u8>)>, NetlinkError> {
    let mut messages = Vec::new();
    while bytes.len() >= HEADER_BYTES {
        let length = usize::try_from(u32_at(bytes, 0)?).map_err(|_| NetlinkError::Malformed)?;
        let body = bytes
            .get(HEADER_BYTES..length)
            .ok_or(NetlinkError::Malformed)?;
        let header = Header {
            kind: u16_at(bytes, 4)?,
            sequence: u32_at(bytes, 8)?,
        };
        messages.push((header, body.to_vec()));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(messages)
}

/// The error that an error message holds; zero is an acknowledgement.
fn error_of(body: &[u8]) -> Result<(), NetlinkError> {
    match u32_at(body, 0)?.cast_signed() {
        0 => Ok(()),
        negative => Err(NetlinkError::Kernel(Errno::from_raw_os_error(
            negative.saturating_neg(),
        ))),
    }
}

/// The attributes in `bytes`: kind (without its flags) and value.
pub(super) fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let (Ok(length), Ok(kind)) = (u16_at(bytes, 0), u16_at(bytes, 2)) {
        let length = usize::from(length);
        let Some(value) = bytes.get(ATTRIBUTE_HEADER_BYTES..length) else {
            break;
        };
        found.push((kind & 0x3fff, value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// The value of the first attribute of this kind.
pub(super) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes)
        .into_iter()
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

fn u16_at(bytes: &[u8], offset: usize) -> Result<u16, NetlinkError> {
    let bytes = bytes
        .get(offset..)
        .and_then(<[u8]>::first_chunk)
        .ok_or(NetlinkError::Malformed)?;
    Ok(u16::from_ne_bytes(*bytes))
}

/// The number at `offset`.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Result<u32, NetlinkError> {
    let bytes = bytes
        .get(offset..)
        .and_then(<[u8]>::first_chunk)
        .ok_or(NetlinkError::Malformed)?;
    Ok(u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_can_be_taken_apart() {
        let mut message = Message::new(16, flags::REQUEST, 7);
        message.raw(&[1, 2, 3, 4]);
        message.text(3, "eth0").nested(18, |inside| {
            inside.text(1, "veth");
        });
        let bytes = message.finish();
        let messages = split(&bytes).unwrap();
        assert_eq!(messages.len(), 1);
        let (header, body) = &messages[0];
        assert_eq!((header.kind, header.sequence), (16, 7));
        let body = &body[4..];
        assert_eq!(attribute(body, 3), Some(&b"eth0\0"[..]));
        assert_eq!(
            attribute(attribute(body, 18).unwrap(), 1),
            Some(&b"veth\0"[..])
        );
        assert_eq!(attribute(body, 99), None);
    }

    #[test]
    fn cut_and_hostile_bytes_are_refused_quietly() {
        let mut message = Message::new(2, 0, 1);
        message.raw(&[0; 8]);
        let bytes = message.finish();
        for length in 0..bytes.len() {
            let _ = split(&bytes[..length]);
            let _ = attributes(&bytes[..length]);
        }
        assert!(split(&[255; 32]).is_err());
        // A length of zero must not loop for ever.
        assert!(attributes(&[0; 64]).is_empty());
        assert!(split(&[0; 64]).is_err());
    }
}
