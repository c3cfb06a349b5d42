//! Outbound NAT of one replica: an nf_tables table of its own (linux/netfilter/nf_tables.h).
//!
//! What the table says, in the words of nft(8):
//!
//! ```text
//! table ip skyserve-<digits> {
//!     flags owner
//!     chain outbound { type nat hook postrouting priority srcnat; ip saddr <replica> masquerade }
//!     chain inbound {
//!         type filter hook forward priority filter
//!         ip daddr <replica> ct state established,related accept
//!         ip daddr <replica> drop
//!     }
//! }
//! ```
//!
//! `inbound` keeps the machine from turning into a router to the replica: only answers come in
//! through it. The proxy runs on the machine itself and is not forwarded. `flags owner` (Linux
//! 5.12) ties the table to our socket.

use std::net::Ipv4Addr;

use rustix::io::Errno;

use super::netlink::{Message, NetlinkError, Socket, attribute, flags};

/// Numbers of linux/netfilter/nfnetlink.h and linux/netfilter/nf_tables.h.
mod number {
    pub(super) const BATCH_BEGIN: u16 = 0x10;
    pub(super) const BATCH_END: u16 = 0x11;
    pub(super) const NF_TABLES: u16 = 10;
    pub(super) const NEW_TABLE: u16 = 0;
    pub(super) const DELETE_TABLE: u16 = 2;
    pub(super) const NEW_CHAIN: u16 = 3;
    pub(super) const GET_CHAIN: u16 = 4;
    pub(super) const NEW_RULE: u16 = 6;

    pub(super) const TABLE_NAME: u16 = 1;
    pub(super) const TABLE_FLAGS: u16 = 2;
    pub(super) const TABLE_OWNER: u32 = 2;

    pub(super) const CHAIN_TABLE: u16 = 1;
    pub(super) const CHAIN_NAME: u16 = 3;
    pub(super) const CHAIN_HOOK: u16 = 4;
    pub(super) const CHAIN_POLICY: u16 = 5;
    pub(super) const CHAIN_TYPE: u16 = 7;
    pub(super) const HOOK_NUMBER: u16 = 1;
    pub(super) const HOOK_PRIORITY: u16 = 2;
    pub(super) const HOOK_FORWARD: u32 = 2;
    pub(super) const HOOK_POSTROUTING: u32 = 4;
    pub(super) const PRIORITY_SOURCE_NAT: u32 = 100;
    pub(super) const PRIORITY_FILTER: u32 = 0;

    pub(super) const RULE_TABLE: u16 = 1;
    pub(super) const RULE_CHAIN: u16 = 2;
    pub(super) const RULE_EXPRESSIONS: u16 = 4;
    pub(super) const LIST_ELEMENT: u16 = 1;
    pub(super) const EXPRESSION_NAME: u16 = 1;
    pub(super) const EXPRESSION_DATA: u16 = 2;
    pub(super) const DATA_VALUE: u16 = 1;
    pub(super) const DATA_VERDICT: u16 = 2;
    pub(super) const VERDICT_CODE: u16 = 1;
    pub(super) const REGISTER_VERDICT: u32 = 0;
    pub(super) const REGISTER_1: u32 = 1;
    pub(super) const PAYLOAD_NETWORK_HEADER: u32 = 1;
    pub(super) const COMPARE_EQUAL: u32 = 0;
    pub(super) const COMPARE_UNEQUAL: u32 = 1;
    pub(super) const CONNECTION_STATE: u32 = 0;
    pub(super) const STATE_ESTABLISHED: u32 = 2;
    pub(super) const STATE_RELATED: u32 = 4;
    pub(super) const DROP: u32 = 0;
    pub(super) const ACCEPT: u32 = 1;
}

const FAMILY_UNSPECIFIED: u8 = 0;
const FAMILY_INET: u8 = 1;
const FAMILY_IPV4: u8 = 2;

/// Where an IPv4 header holds the sender and the receiver, in bytes.
const SOURCE_OFFSET: u32 = 12;
const DESTINATION_OFFSET: u32 = 16;

/// The table of one replica, for as long as this is held.
#[derive(Debug)]
pub(super) struct Nat {
    _socket: Socket,
}

impl Nat {
    /// Makes the table `name` for the replica at `address`.
    pub(super) fn make(name: &str, address: Ipv4Addr) -> Result<Self, NetlinkError> {
        remove(name)?;
        let socket = open()?;
        match make_table(&socket, name, address, true) {
            // Kernels before 5.12 know no owner; the table is then found by its name.
            Err(NetlinkError::Kernel(Errno::OPNOTSUPP | Errno::INVAL)) => {
                make_table(&socket, name, address, false)?;
            }
            result => result?,
        }
        Ok(Self { _socket: socket })
    }
}

/// Removes the table `name`; no error where there is none.
pub(super) fn remove(name: &str) -> Result<(), NetlinkError> {
    let mut batch = Batch::new();
    batch.add(number::DELETE_TABLE, 0, |message| {
        message.text(number::TABLE_NAME, name);
    });
    // A kernel without nf_tables holds no table of ours.
    let Ok(socket) = open() else { return Ok(()) };
    match batch.send(&socket) {
        // EPERM: its owner still lives and takes the table along when it ends, or we may make none
        // at all.
        Err(NetlinkError::Kernel(Errno::NOENT | Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP)) => {
            Ok(())
        }
        result => result,
    }
}

/// The chain of the machine's firewall that drops forwarded traffic by default, if there is one.
pub(super) fn forwarding_dropped() -> Result<Option<String>, NetlinkError> {
    let kind = (number::NF_TABLES << 8) | number::GET_CHAIN;
    let mut message = Message::new(kind, flags::REQUEST | flags::DUMP, 1);
    message.raw(&header(FAMILY_UNSPECIFIED, 0));
    let chains = open()?.list(&message.finish())?;
    Ok(chains.iter().find_map(|chain| dropping_chain(&chain.body)))
}

/// The name of a chain, if it drops what is forwarded.
fn dropping_chain(body: &[u8]) -> Option<String> {
    let rest = body.get(4..)?;
    let number_of = |bytes: &[u8]| Some(u32::from_be_bytes(bytes.try_into().ok()?));
    let policy = number_of(attribute(rest, number::CHAIN_POLICY)?)?;
    let hook = attribute(rest, number::CHAIN_HOOK)?;
    let hook = number_of(attribute(hook, number::HOOK_NUMBER)?)?;
    let family = *body.first()?;
    let concerns_us = hook == number::HOOK_FORWARD && matches!(family, FAMILY_INET | FAMILY_IPV4);
    let text = |kind| {
        let bytes = attribute(rest, kind).unwrap_or_default();
        String::from_utf8_lossy(bytes)
            .trim_end_matches('\0')
            .to_owned()
    };
    (concerns_us && policy == number::DROP).then(|| {
        format!(
            "chain {} of table {}",
            text(number::CHAIN_NAME),
            text(number::CHAIN_TABLE)
        )
    })
}

fn open() -> Result<Socket, NetlinkError> {
    Socket::open(Some(rustix::net::netlink::NETFILTER))
}

fn make_table(
    socket: &Socket,
    name: &str,
    address: Ipv4Addr,
    owned: bool,
) -> Result<(), NetlinkError> {
    let mut batch = Batch::new();
    batch.add(
        number::NEW_TABLE,
        flags::CREATE | flags::EXCLUSIVE,
        |message| {
            message.text(number::TABLE_NAME, name);
            if owned {
                message.attribute(number::TABLE_FLAGS, &number::TABLE_OWNER.to_be_bytes());
            }
        },
    );
    add_chain(
        &mut batch,
        name,
        "outbound",
        "nat",
        number::HOOK_POSTROUTING,
        number::PRIORITY_SOURCE_NAT,
    );
    add_chain(
        &mut batch,
        name,
        "inbound",
        "filter",
        number::HOOK_FORWARD,
        number::PRIORITY_FILTER,
    );
    add_rule(&mut batch, name, "outbound", |rule| {
        match_address(rule, SOURCE_OFFSET, address);
        expression(rule, "masq", |_| {});
    });
    add_rule(&mut batch, name, "inbound", |rule| {
        match_address(rule, DESTINATION_OFFSET, address);
        match_answers(rule);
        verdict(rule, number::ACCEPT);
    });
    add_rule(&mut batch, name, "inbound", |rule| {
        match_address(rule, DESTINATION_OFFSET, address);
        verdict(rule, number::DROP);
    });
    batch.send(socket)
}

fn add_chain(batch: &mut Batch, table: &str, name: &str, kind: &str, hook: u32, priority: u32) {
    batch.add(number::NEW_CHAIN, flags::CREATE, |message| {
        message
            .text(number::CHAIN_TABLE, table)
            .text(number::CHAIN_NAME, name);
        message.nested(number::CHAIN_HOOK, |inside| {
            inside.attribute(number::HOOK_NUMBER, &hook.to_be_bytes());
            inside.attribute(number::HOOK_PRIORITY, &priority.to_be_bytes());
        });
        message.text(number::CHAIN_TYPE, kind);
    });
}

fn add_rule(batch: &mut Batch, table: &str, chain: &str, expressions: impl FnOnce(&mut Message)) {
    batch.add(number::NEW_RULE, flags::CREATE | flags::APPEND, |message| {
        message
            .text(number::RULE_TABLE, table)
            .text(number::RULE_CHAIN, chain);
        message.nested(number::RULE_EXPRESSIONS, expressions);
    });
}

fn expression(rule: &mut Message, name: &str, data: impl FnOnce(&mut Message)) {
    rule.nested(number::LIST_ELEMENT, |element| {
        element.text(number::EXPRESSION_NAME, name);
        element.nested(number::EXPRESSION_DATA, data);
    });
}

/// Goes on if the four bytes at `offset` of the IPv4 header are `address`.
fn match_address(rule: &mut Message, offset: u32, address: Ipv4Addr) {
    expression(rule, "payload", |data| {
        let values = [
            number::REGISTER_1,
            number::PAYLOAD_NETWORK_HEADER,
            offset,
            4,
        ];
        for (kind, value) in (1_u16..).zip(values) {
            data.attribute(kind, &value.to_be_bytes());
        }
    });
    compare(rule, number::COMPARE_EQUAL, &address.octets());
}

/// Goes on if the packet belongs to a connection that was opened before.
fn match_answers(rule: &mut Message) {
    expression(rule, "ct", |data| {
        data.attribute(1, &number::REGISTER_1.to_be_bytes());
        data.attribute(2, &number::CONNECTION_STATE.to_be_bytes());
    });
    expression(rule, "bitwise", |data| {
        for (kind, value) in [(1, number::REGISTER_1), (2, number::REGISTER_1), (3, 4)] {
            data.attribute(kind, &value.to_be_bytes());
        }
        // The state is a number in the machine's byte order.
        let mask = number::STATE_ESTABLISHED | number::STATE_RELATED;
        for (kind, value) in [(4, mask), (5, 0)] {
            data.nested(kind, |inside| {
                inside.attribute(number::DATA_VALUE, &value.to_ne_bytes());
            });
        }
    });
    compare(rule, number::COMPARE_UNEQUAL, &[0; 4]);
}

/// Goes on if the register compares like this with `value`.
fn compare(rule: &mut Message, operation: u32, value: &[u8]) {
    expression(rule, "cmp", |data| {
        data.attribute(1, &number::REGISTER_1.to_be_bytes());
        data.attribute(2, &operation.to_be_bytes());
        data.nested(3, |inside| {
            inside.attribute(number::DATA_VALUE, value);
        });
    });
}

fn verdict(rule: &mut Message, code: u32) {
    expression(rule, "immediate", |data| {
        data.attribute(1, &number::REGISTER_VERDICT.to_be_bytes());
        data.nested(2, |inside| {
            inside.nested(number::DATA_VERDICT, |verdict| {
                verdict.attribute(number::VERDICT_CODE, &code.to_be_bytes());
            });
        });
    });
}

/// `struct nfgenmsg`: family, version, and a number in network byte order.
fn header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

/// Changes that happen all or not at all.
struct Batch {
    messages: Vec<Message>,
}

impl Batch {
    fn new() -> Self {
        let mut begin = Message::new(number::BATCH_BEGIN, flags::REQUEST, 0);
        begin.raw(&header(FAMILY_UNSPECIFIED, number::NF_TABLES));
        Self {
            messages: vec![begin],
        }
    }

    fn add(&mut self, kind: u16, extra_flags: u16, fill: impl FnOnce(&mut Message)) {
        let sequence = u32::try_from(self.messages.len()).unwrap_or(u32::MAX);
        let kind = (number::NF_TABLES << 8) | kind;
        let all_flags = flags::REQUEST | flags::ACKNOWLEDGE | extra_flags;
        let mut message = Message::new(kind, all_flags, sequence);
        message.raw(&header(FAMILY_IPV4, 0));
        fill(&mut message);
        self.messages.push(message);
    }

    fn send(mut self, socket: &Socket) -> Result<(), NetlinkError> {
        let last = u32::try_from(self.messages.len()).unwrap_or(u32::MAX) - 1;
        let mut end = Message::new(number::BATCH_END, flags::REQUEST, last + 1);
        end.raw(&header(FAMILY_UNSPECIFIED, number::NF_TABLES));
        self.messages.push(end);
        let bytes: Vec<u8> = self
            .messages
            .into_iter()
            .flat_map(Message::finish)
            .collect();
        socket.request(&bytes, last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(family: u8, hook: u32, policy: u32) -> Vec<u8> {
        let mut message = Message::new(0, 0, 0);
        message.raw(&header(family, 0));
        message
            .text(number::CHAIN_TABLE, "filter")
            .text(number::CHAIN_NAME, "FORWARD");
        message.nested(number::CHAIN_HOOK, |inside| {
            inside.attribute(number::HOOK_NUMBER, &hook.to_be_bytes());
        });
        message.attribute(number::CHAIN_POLICY, &policy.to_be_bytes());
        message.finish()[16..].to_vec()
    }

    #[test]
    fn only_a_forward_chain_that_drops_is_in_the_way() {
        let text = dropping_chain(&chain(FAMILY_IPV4, number::HOOK_FORWARD, number::DROP));
        assert_eq!(text.unwrap(), "chain FORWARD of table filter");
        assert!(dropping_chain(&chain(FAMILY_INET, number::HOOK_FORWARD, number::DROP)).is_some());
        assert!(dropping_chain(&chain(10, number::HOOK_FORWARD, number::DROP)).is_none());
        assert!(dropping_chain(&chain(FAMILY_IPV4, 1, number::DROP)).is_none());
        let accepting = chain(FAMILY_IPV4, number::HOOK_FORWARD, number::ACCEPT);
        assert!(dropping_chain(&accepting).is_none());
        assert!(dropping_chain(&[]).is_none());
    }
}
