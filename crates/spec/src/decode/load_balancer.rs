//! `service.load_balancer` → [`LoadBalancer`]: names and ranges as in its documentation.

use super::probe::{Least, bounded};
use super::{Nulls, Section, Sink, is_token, string, whole, word};
use crate::load_balancer::{LoadBalancer, Queue, ReplicaProtocol, SessionAffinity};
use crate::node::Node;

/// The largest number of bytes: what JSON and SQL readers hold without loss.
const MOST_BYTES: u64 = (1 << 53) - 1;

/// Reads the section; what is not written, or is wrong and was reported, has its default.
pub(super) fn decode(sink: &mut Sink<'_>, node: Option<&Node>) -> LoadBalancer {
    let mut settings = LoadBalancer::default();
    let Some(section) =
        node.and_then(|node| Section::open(sink, node, "service.load_balancer", Nulls::Values))
    else {
        return settings;
    };
    seconds(sink, &section, &mut settings);
    limits(sink, &section, &mut settings);
    if let Some(node) = section.get("queue") {
        settings.queue = queue(sink, node);
    }
    if let Some(node) = section.get("replica_protocol")
        && let Some(protocol) = protocol(sink, node)
    {
        settings.replica_protocol = protocol;
    }
    if let Some(node) = section.get("session_affinity")
        && let Some(affinity) = session_affinity(sink, node)
    {
        settings.session_affinity = affinity;
    }
    if let Some(flag) = section.boolean(sink, "access_log") {
        settings.access_log = flag;
    }
    settings
}

fn seconds(sink: &mut Sink<'_>, section: &Section<'_>, settings: &mut LoadBalancer) {
    let LoadBalancer {
        stream_timeout_seconds,
        connect_timeout_seconds,
        head_timeout_seconds,
        idle_timeout_seconds,
        slow_start_seconds,
        ..
    } = settings;
    for (key, least, into) in [
        (
            "stream_timeout_seconds",
            Least::AboveZero,
            stream_timeout_seconds,
        ),
        (
            "connect_timeout_seconds",
            Least::AboveZero,
            connect_timeout_seconds,
        ),
        (
            "head_timeout_seconds",
            Least::AboveZero,
            head_timeout_seconds,
        ),
        (
            "idle_timeout_seconds",
            Least::AboveZero,
            idle_timeout_seconds,
        ),
        ("slow_start_seconds", Least::Zero, slow_start_seconds),
    ] {
        if let Some(number) = bounded(sink, section, key, least) {
            *into = number;
        }
    }
}

fn limits(sink: &mut Sink<'_>, section: &Section<'_>, settings: &mut LoadBalancer) {
    settings.max_request_body_bytes = limit(sink, section, "max_request_body_bytes", MOST_BYTES);
    if let Some(node) = section.get("min_upload_bytes_per_second") {
        let path = section.path_of("min_upload_bytes_per_second");
        if let Some(rate) = whole(sink, node, &path, 0, MOST_BYTES) {
            settings.min_upload_bytes_per_second = rate;
        }
    }
    if let Some(count) = section.count(sink, "max_connections", 1, u32::MAX) {
        settings.max_connections = count;
    }
    settings.max_connections_per_client = small_limit(sink, section, "max_connections_per_client");
    settings.max_requests_per_replica = small_limit(sink, section, "max_requests_per_replica");
    if let Some(percent) = percent(sink, section, "retry_budget_percent") {
        settings.retry_budget_percent = percent;
    }
}

/// A limit that may be left out, or be null, for none.
fn limit(sink: &mut Sink<'_>, section: &Section<'_>, key: &str, most: u64) -> Option<u64> {
    let node = section.get(key).filter(|node| !node.is_null())?;
    whole(sink, node, &section.path_of(key), 1, most)
}

fn small_limit(sink: &mut Sink<'_>, section: &Section<'_>, key: &str) -> Option<u32> {
    let limit = limit(sink, section, key, u64::from(u32::MAX))?;
    u32::try_from(limit).ok()
}

fn percent(sink: &mut Sink<'_>, section: &Section<'_>, key: &str) -> Option<f64> {
    let number = section.number(sink, key)?;
    if (0.0..=100.0).contains(&number) {
        return Some(number);
    }
    let at = section.get(key).unwrap_or(section.node);
    let message = format!("`{key}` must be between 0 and 100, not {number}");
    sink.error("out-of-range", at, &section.path_of(key), message);
    None
}

fn queue(sink: &mut Sink<'_>, node: &Node) -> Queue {
    let mut queue = Queue::default();
    let Some(section) = Section::open(sink, node, "service.load_balancer.queue", Nulls::Values)
    else {
        return queue;
    };
    if let Some(count) = section.count(sink, "max_requests", 0, u32::MAX) {
        queue.max_requests = count;
    }
    if let Some(number) = bounded(sink, &section, "timeout_seconds", Least::AboveZero) {
        queue.timeout_seconds = number;
    }
    queue
}

fn protocol(sink: &mut Sink<'_>, node: &Node) -> Option<ReplicaProtocol> {
    const PATH: &str = "service.load_balancer.replica_protocol";
    let names = ReplicaProtocol::ALL.map(ReplicaProtocol::name);
    let name = word(sink, node, PATH, &names)?;
    ReplicaProtocol::ALL
        .into_iter()
        .find(|protocol| protocol.name() == name)
}

fn session_affinity(sink: &mut Sink<'_>, node: &Node) -> Option<SessionAffinity> {
    const PATH: &str = "service.load_balancer.session_affinity";
    let section = Section::open(sink, node, PATH, Nulls::Values)?;
    match (section.get("header"), section.get("cookie")) {
        (Some(header), None) => {
            let name = name(sink, header, &section.path_of("header"), "an HTTP header")?;
            Some(SessionAffinity::Header(name.to_ascii_lowercase()))
        }
        (None, Some(cookie)) => {
            let name = name(sink, cookie, &section.path_of("cookie"), "a cookie")?;
            Some(SessionAffinity::Cookie(name.to_owned()))
        }
        (Some(_), Some(cookie)) => {
            let message = "`session_affinity` takes either `header` or `cookie`, not both";
            sink.error("conflict", cookie, PATH, message);
            None
        }
        // A misspelt one was reported.
        (None, None) if !section.entries().is_empty() => None,
        (None, None) => {
            let message = "`session_affinity` needs `header` or `cookie`";
            sink.error("missing-field", node, PATH, message);
            None
        }
    }
}

/// The name of a header (RFC 9110 section 5.1) or of a cookie (RFC 6265 section 4.1.1): a token.
fn name<'n>(sink: &mut Sink<'_>, node: &'n Node, path: &str, what: &str) -> Option<&'n str> {
    let text = string(sink, node, path)?;
    if is_token(text) {
        return Some(text);
    }
    let shown = node.shown().unwrap_or_else(|| "this".to_owned());
    let message = format!("{shown} cannot be the name of {what}");
    sink.error("invalid-header", node, path, message).help =
        Some("use letters, digits and hyphens, such as `x-session-id`".to_owned());
    None
}
