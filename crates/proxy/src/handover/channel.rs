//! A socket pair that carries JSON messages with file descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram as StdUnixDatagram;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// Sockets that fit one message; the system allows 253.
pub(crate) const MAX_SOCKETS_PER_MESSAGE: usize = 64;
/// Longest message in bytes; most are a few hundred, but one may name thousands of replicas. The system allows some 200 KiB.
const MAX_MESSAGE_BYTES: usize = 128 * 1024;

/// One end of the channel between holder and worker.
#[derive(Debug)]
pub(crate) struct Channel {
    /// Of type `SEQPACKET` in truth: datagrams that arrive in order and end when the other side
    /// does. To the runtime any socket that carries whole messages is the same.
    socket: UnixDatagram,
}

impl Channel {
    /// Both ends; neither is inherited by processes that are started.
    pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let kind = SocketType::SEQPACKET;
        Ok(rustix::net::socketpair(
            AddressFamily::UNIX,
            kind,
            flags,
            None,
        )?)
    }

    /// Uses `socket` within the current runtime.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = StdUnixDatagram::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: UnixDatagram::from_std(socket)?,
        })
    }

    /// The same end once more.
    pub(crate) fn try_clone(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// Sends one message with at most [`MAX_SOCKETS_PER_MESSAGE`] descriptors.
    pub(crate) async fn send(
        &self,
        message: &impl Serialize,
        sockets: &[OwnedFd],
    ) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
        self.socket
            .async_io(Interest::WRITABLE, || {
                send_now(&self.socket, &text, &sockets)
            })
            .await
    }

    /// The next message and its descriptors; `None` when the other side is gone.
    pub(crate) async fn receive<M: DeserializeOwned>(
        &self,
    ) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
        let (text, sockets) = self
            .socket
            .async_io(Interest::READABLE, || receive_now(&self.socket))
            .await?;
        if text.is_empty() {
            return Ok(None);
        }
        Ok(Some((serde_json::from_slice(&text)?, sockets)))
    }
}

fn send_now(socket: &UnixDatagram, text: &[u8], sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space =
        [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS_PER_MESSAGE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too many sockets in a message",
        ));
    }
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(text)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

fn receive_now(socket: &UnixDatagram) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut text = vec![0; MAX_MESSAGE_BYTES];
    let mut space =
        [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS_PER_MESSAGE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut text)];
    let received = rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(attached) = message {
            sockets.extend(attached);
        }
    }
    text.truncate(received.bytes);
    Ok((text, sockets))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn messages_keep_their_boundaries_and_their_sockets() {
        let (ours, theirs) = Channel::pair().unwrap();
        let (ours, theirs) = (Channel::new(ours).unwrap(), Channel::new(theirs).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        ours.send(&"first", &[OwnedFd::from(listener)])
            .await
            .unwrap();
        ours.send(&"second", &[]).await.unwrap();
        drop(ours);

        let (text, sockets) = theirs.receive::<String>().await.unwrap().unwrap();
        assert_eq!((text.as_str(), sockets.len()), ("first", 1));
        for socket in sockets {
            assert_eq!(TcpListener::from(socket).local_addr().unwrap(), address);
        }
        let (text, sockets) = theirs.receive::<String>().await.unwrap().unwrap();
        assert_eq!((text.as_str(), sockets.len()), ("second", 0));
        assert!(theirs.receive::<String>().await.unwrap().is_none());
    }
}
