//! Network interfaces, addresses and routes (rtnetlink(7)).

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::netlink::{Message, NetlinkError, Socket, attribute, flags, u32_at};
use super::subnet::Prefix;

/// Numbers of linux/rtnetlink.h, linux/if_link.h and linux/if_addr.h.
mod number {
    pub(super) const NEW_LINK: u16 = 16;
    pub(super) const DELETE_LINK: u16 = 17;
    pub(super) const NEW_ADDRESS: u16 = 20;
    pub(super) const GET_ADDRESS: u16 = 22;
    pub(super) const NEW_ROUTE: u16 = 24;
    pub(super) const DELETE_ROUTE: u16 = 25;
    pub(super) const GET_ROUTE: u16 = 26;

    pub(super) const LINK_NAME: u16 = 3;
    pub(super) const LINK_MTU: u16 = 4;
    pub(super) const LINK_INFO: u16 = 18;
    pub(super) const LINK_ALIAS: u16 = 20;
    pub(super) const LINK_NAMESPACE_DESCRIPTOR: u16 = 28;
    pub(super) const LINK_INFO_KIND: u16 = 1;
    pub(super) const LINK_INFO_DATA: u16 = 2;
    pub(super) const VETH_PEER: u16 = 1;
    pub(super) const LINK_UP: u32 = 1;

    pub(super) const ADDRESS: u16 = 1;
    pub(super) const ADDRESS_LOCAL: u16 = 2;

    pub(super) const ROUTE_DESTINATION: u16 = 1;
    pub(super) const ROUTE_LINK: u16 = 4;
    pub(super) const ROUTE_GATEWAY: u16 = 5;
    pub(super) const ROUTE_METRIC: u16 = 6;
    pub(super) const ROUTE_TABLE_MAIN: u8 = 254;
    pub(super) const ROUTE_PROTOCOL_STATIC: u8 = 4;
    pub(super) const ROUTE_UNICAST: u8 = 1;
    pub(super) const ROUTE_UNREACHABLE: u8 = 7;
}

const FAMILY_INET: u8 = 2;

/// What a link gets where no default route tells better, in bytes.
const MTU_DEFAULT: u32 = 1500;

/// What the kernel keeps of a link's alias, in bytes.
const ALIAS_BYTES_MAX: usize = 255;

/// A socket to the routing part of the kernel, in the namespace it was opened in.
#[derive(Debug)]
pub(super) struct Links {
    socket: Socket,
    sequence: Cell<u32>,
}

impl Links {
    /// Opens the socket.
    pub(super) fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            socket: Socket::open(None)?,
            sequence: Cell::new(0),
        })
    }

    /// Makes a veth pair, one end here, the other in `namespace`.
    pub(super) fn make_pair(
        &self,
        name: &str,
        peer_name: &str,
        namespace: BorrowedFd<'_>,
        mtu: u32,
    ) -> Result<(), NetlinkError> {
        let mut message = self.message(number::NEW_LINK, flags::CREATE | flags::EXCLUSIVE);
        message.raw(&link_header(0, 0));
        message
            .text(number::LINK_NAME, name)
            .attribute(number::LINK_MTU, &mtu.to_ne_bytes());
        message.nested(number::LINK_INFO, |info| {
            info.attribute(number::LINK_INFO_KIND, b"veth");
            info.nested(number::LINK_INFO_DATA, |data| {
                data.nested(number::VETH_PEER, |peer| {
                    peer.raw(&link_header(0, 0));
                    peer.text(number::LINK_NAME, peer_name);
                    peer.attribute(number::LINK_MTU, &mtu.to_ne_bytes());
                    peer.attribute(
                        number::LINK_NAMESPACE_DESCRIPTOR,
                        &namespace.as_raw_fd().to_ne_bytes(),
                    );
                });
            });
        });
        self.send(message)
    }

    /// Switches a link on, and gives it a text that says whose it is.
    pub(super) fn bring_up(&self, name: &str, alias: Option<&str>) -> Result<(), NetlinkError> {
        let mut message = self.message(number::NEW_LINK, 0);
        message.raw(&link_header(number::LINK_UP, number::LINK_UP));
        message.text(number::LINK_NAME, name);
        if let Some(alias) = alias {
            let bytes = alias.as_bytes();
            message.attribute(
                number::LINK_ALIAS,
                &bytes[..bytes.len().min(ALIAS_BYTES_MAX)],
            );
        }
        self.send(message)
    }

    /// Removes a link, and with it its peer; no error where there is none.
    pub(super) fn delete(&self, name: &str) -> Result<(), NetlinkError> {
        let mut message = self.message(number::DELETE_LINK, 0);
        message.raw(&link_header(0, 0));
        message.text(number::LINK_NAME, name);
        match self.send(message) {
            Err(NetlinkError::Kernel(Errno::NODEV)) => Ok(()),
            result => result,
        }
    }

    /// Gives a link an address.
    pub(super) fn add_address(
        &self,
        name: &str,
        address: Ipv4Addr,
        prefix_bits: u8,
    ) -> Result<(), NetlinkError> {
        let mut message = self.message(number::NEW_ADDRESS, flags::CREATE | flags::EXCLUSIVE);
        let mut header = vec![FAMILY_INET, prefix_bits, 0, 0];
        header.extend(index(name)?.to_ne_bytes());
        message.raw(&header);
        message.attribute(number::ADDRESS_LOCAL, &address.octets());
        message.attribute(number::ADDRESS, &address.octets());
        self.send(message)
    }

    /// Sends everything without a better route to `gateway`.
    pub(super) fn add_default_route(
        &self,
        name: &str,
        gateway: Ipv4Addr,
    ) -> Result<(), NetlinkError> {
        let mut message = self.message(number::NEW_ROUTE, flags::CREATE | flags::EXCLUSIVE);
        let mut header = route_header();
        header[4] = number::ROUTE_TABLE_MAIN;
        header[5] = number::ROUTE_PROTOCOL_STATIC;
        header[7] = number::ROUTE_UNICAST;
        message.raw(&header);
        message.attribute(number::ROUTE_GATEWAY, &gateway.octets());
        message.attribute(number::ROUTE_LINK, &index(name)?.to_ne_bytes());
        self.send(message)
    }

    /// Makes a range unreachable wherever no route of a lower `metric` leads there.
    pub(super) fn add_guard(
        &self,
        base: Ipv4Addr,
        prefix_bits: u8,
        metric: u32,
    ) -> Result<(), NetlinkError> {
        let mut message = self.message(number::NEW_ROUTE, flags::CREATE | flags::EXCLUSIVE);
        message.raw(&guard_header(prefix_bits));
        message.attribute(number::ROUTE_DESTINATION, &base.octets());
        message.attribute(number::ROUTE_METRIC, &metric.to_ne_bytes());
        self.send(message)
    }

    /// Removes what [`add_guard`](Self::add_guard) made with this `metric`; no error where there is nothing.
    pub(super) fn remove_guards(&self, metric: u32) -> Result<(), NetlinkError> {
        for body in self.routes()? {
            let Some(attributes) = body.get(route_header().len()..) else {
                continue;
            };
            let is_guard = body.get(7) == Some(&number::ROUTE_UNREACHABLE)
                && attribute(attributes, number::ROUTE_METRIC) == Some(&metric.to_ne_bytes());
            let (true, Some(bits), Some(base)) = (
                is_guard,
                body.get(1),
                attribute(attributes, number::ROUTE_DESTINATION),
            ) else {
                continue;
            };
            let mut message = self.message(number::DELETE_ROUTE, 0);
            message.raw(&guard_header(*bits));
            message.attribute(number::ROUTE_DESTINATION, base);
            message.attribute(number::ROUTE_METRIC, &metric.to_ne_bytes());
            match self.send(message) {
                Ok(()) | Err(NetlinkError::Kernel(Errno::SRCH)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Every range that an address or a route of this namespace touches, save the default route.
    pub(super) fn occupied(&self) -> Result<Vec<Prefix>, NetlinkError> {
        let mut occupied = Vec::new();
        let mut message = self.message(number::GET_ADDRESS, flags::DUMP);
        message.raw(&[FAMILY_INET, 0, 0, 0, 0, 0, 0, 0]);
        for answer in self.socket.list(&message.finish())? {
            // family, prefix length, flags, scope, index of the link
            occupied.extend(prefix(&answer.body, 1, 8, number::ADDRESS));
        }
        for body in self.routes()? {
            occupied.extend(prefix(
                &body,
                1,
                route_header().len(),
                number::ROUTE_DESTINATION,
            ));
        }
        Ok(occupied)
    }

    /// The packet size of the link that leads outside, so that none of the replica's packets must
    /// be split, in bytes.
    pub(super) fn default_mtu(&self) -> u32 {
        let Ok(routes) = self.routes() else {
            return MTU_DEFAULT;
        };
        routes
            .iter()
            .filter(|body| {
                body.get(1) == Some(&0) && body.get(4) == Some(&number::ROUTE_TABLE_MAIN)
            })
            .filter_map(|body| attribute(body.get(route_header().len()..)?, number::ROUTE_LINK))
            .filter_map(|link| mtu_of(u32_at(link, 0).ok()?))
            .min()
            .unwrap_or(MTU_DEFAULT)
    }

    fn routes(&self) -> Result<Vec<Vec<u8>>, NetlinkError> {
        let mut message = self.message(number::GET_ROUTE, flags::DUMP);
        message.raw(&route_header());
        let answers = self.socket.list(&message.finish())?;
        Ok(answers.into_iter().map(|answer| answer.body).collect())
    }

    fn message(&self, kind: u16, extra_flags: u16) -> Message {
        self.sequence.set(self.sequence.get() + 1);
        let acknowledge = if extra_flags & flags::DUMP == flags::DUMP {
            0
        } else {
            flags::ACKNOWLEDGE
        };
        Message::new(
            kind,
            flags::REQUEST | acknowledge | extra_flags,
            self.sequence.get(),
        )
    }

    fn send(&self, message: Message) -> Result<(), NetlinkError> {
        self.socket.request(&message.finish(), self.sequence.get())
    }
}

/// `struct ifinfomsg` for a link that is named by an attribute.
fn link_header(link_flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[8..12].copy_from_slice(&link_flags.to_ne_bytes());
    header[12..].copy_from_slice(&change.to_ne_bytes());
    header
}

/// `struct rtmsg` of the IPv4 family: family, destination bits, source bits, service, table,
/// protocol, scope, type, flags.
fn route_header() -> [u8; 12] {
    let mut header = [0; 12];
    header[0] = FAMILY_INET;
    header
}

/// The same for a route that makes a range unreachable.
fn guard_header(prefix_bits: u8) -> [u8; 12] {
    let mut header = route_header();
    header[1] = prefix_bits;
    header[4] = number::ROUTE_TABLE_MAIN;
    header[5] = number::ROUTE_PROTOCOL_STATIC;
    header[7] = number::ROUTE_UNREACHABLE;
    header
}

/// The range that an address or a route tells of; `None` for what is no IPv4 range or is the
/// default route.
fn prefix(body: &[u8], bits_offset: usize, header_bytes: usize, kind: u16) -> Option<Prefix> {
    let bits = *body.get(bits_offset)?;
    let address: [u8; 4] = attribute(body.get(header_bytes..)?, kind)?
        .try_into()
        .ok()?;
    (body.first() == Some(&FAMILY_INET) && bits > 0).then(|| Prefix::new(address, bits))
}

/// The kernel's number of a link of the calling thread's network namespace.
fn index(name: &str) -> Result<u32, NetlinkError> {
    // Any socket of the namespace will do to ask.
    let socket = Socket::open(None)?;
    let index = rustix::net::netdevice::name_to_index(socket.descriptor(), name)?;
    Ok(index)
}

/// The packet size of the link with this number.
fn mtu_of(index: u32) -> Option<u32> {
    let links = std::fs::read_dir("/sys/class/net").ok()?;
    links.flatten().map(|entry| entry.path()).find_map(|link| {
        let read = |name| std::fs::read_to_string(link.join(name)).ok();
        (read("ifindex")?.trim().parse() == Ok(index)).then(|| read("mtu")?.trim().parse().ok())?
    })
}
