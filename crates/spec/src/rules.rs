//! Rules between `service` and `resources`: which port a replica listens on, and what spot settings
//! need.
//!
//! They are those of `sky serve up`, its client's and its server's together.

use crate::decode::resources::{self, Written};
use crate::decode::service::Decoded;
use crate::decode::{Sink, ports};
use crate::node::Node;
use crate::task::ResourceCandidate;

/// Checks a service against its resources, and settles its port.
pub(crate) fn check(
    sink: &mut Sink<'_>,
    service: &mut Decoded<'_>,
    resources: &resources::Decoded<'_>,
) {
    let alternatives: Vec<(&ResourceCandidate, Written<'_>)> = resources
        .resources
        .candidates
        .iter()
        .zip(resources.places.iter().copied())
        .collect();
    spot(sink, service, &alternatives);
    placer(sink, service, &alternatives);
    port(sink, service, &alternatives);
}

type Alternative<'a, 'n> = (&'a ResourceCandidate, Written<'n>);

fn spot(sink: &mut Sink<'_>, service: &Decoded<'_>, alternatives: &[Alternative<'_, '_>]) {
    let on_spot = alternatives
        .iter()
        .filter(|(candidate, _)| candidate.use_spot)
        .count();
    if on_spot != 0 && on_spot != alternatives.len() {
        let odd = alternatives
            .iter()
            .find(|(candidate, _)| candidate.use_spot);
        let at = odd.and_then(|(_, written)| written.use_spot.or(written.at));
        let message = "alternatives must use spot instances all, or none";
        sink.error(
            "spot-mixture",
            at.unwrap_or(service.node),
            "resources.use_spot",
            message,
        )
        .help = Some(
            "to use both kinds set `use_spot: true` and `dynamic_ondemand_fallback` or \
                  `base_ondemand_fallback_replicas`"
                .to_owned(),
        );
        return;
    }
    if on_spot != 0 || alternatives.is_empty() {
        return;
    }
    let policy = &service.spec.replica_policy;
    let settings = [
        (
            "dynamic_ondemand_fallback",
            policy.dynamic_ondemand_fallback == Some(true),
        ),
        (
            "base_ondemand_fallback_replicas",
            policy.base_ondemand_fallback_replicas > Some(0),
        ),
        ("spot_placer", policy.spot_placer.is_some()),
    ];
    for (key, set) in settings {
        if set {
            let at = service
                .policy
                .and_then(|policy| policy.get(key))
                .unwrap_or(service.node);
            let message = format!("`{key}` is for spot instances, which this task does not use");
            let path = format!("service.replica_policy.{key}");
            sink.error("needs-spot", at, &path, message).help =
                Some("add `use_spot: true` to `resources`, or remove it".to_owned());
        }
    }
}

/// The spot placer chooses among places, so alternatives may differ in nothing else.
fn placer(sink: &mut Sink<'_>, service: &Decoded<'_>, alternatives: &[Alternative<'_, '_>]) {
    if service.spec.replica_policy.spot_placer.is_none() {
        return;
    }
    let anywhere = |candidate: &ResourceCandidate| ResourceCandidate {
        infra: None,
        cloud: None,
        region: None,
        zone: None,
        ..candidate.clone()
    };
    let Some((first, rest)) = alternatives.split_first() else {
        return;
    };
    let odd = rest
        .iter()
        .find(|(candidate, _)| anywhere(candidate) != anywhere(first.0));
    if let Some((_, written)) = odd {
        let message = "with `spot_placer` the alternatives of `resources` may differ only in place";
        let at = written.at.unwrap_or(service.node);
        sink.error(
            "spot-placer",
            at,
            "service.replica_policy.spot_placer",
            message,
        );
    }
}

fn port(sink: &mut Sink<'_>, service: &mut Decoded<'_>, alternatives: &[Alternative<'_, '_>]) {
    if !service.port_valid || alternatives.iter().any(|(_, written)| !written.ports_valid) {
        return;
    }
    if let Some(node) = service.port {
        declared_port(sink, service, node, alternatives);
    } else {
        inferred_port(sink, service, alternatives);
    }
}

/// `service.ports` must be opened by every alternative.
fn declared_port(
    sink: &mut Sink<'_>,
    service: &Decoded<'_>,
    node: &Node,
    alternatives: &[Alternative<'_, '_>],
) {
    let port = service.spec.port;
    for (candidate, written) in alternatives {
        if ports::contains(&candidate.ports, port) {
            continue;
        }
        let (at, message) = if candidate.ports.is_empty() {
            (
                written.at.unwrap_or(node),
                format!("`resources` opens no port, but `service.ports` is {port}"),
            )
        } else {
            (
                written.ports.unwrap_or(node),
                format!(
                    "`resources.ports` ({}) lacks {port}, the port of the service",
                    candidate.ports.join(", ")
                ),
            )
        };
        let help = format!("add {port} to `ports` in `resources`");
        sink.error("port-not-open", at, "service.ports", message)
            .help = Some(help);
    }
}

/// Without `service.ports` there must be exactly one port, the same in every alternative.
fn inferred_port(
    sink: &mut Sink<'_>,
    service: &mut Decoded<'_>,
    alternatives: &[Alternative<'_, '_>],
) {
    let mut settled: Option<u16> = None;
    for (candidate, written) in alternatives {
        let mut open = ports::expand(&candidate.ports);
        let (first, second) = (open.next(), open.next());
        let at = written.ports.or(written.at);
        match (first, second, settled) {
            (None, ..) => {
                let at = written.at.unwrap_or(service.node);
                let message = "nothing says which port a replica listens on";
                sink.error("port-missing", at, "resources.ports", message)
                    .help = Some("add `ports` to `resources`".to_owned());
                return;
            }
            (_, Some(_), _) => {
                let message =
                    "`resources` opens several ports, and nothing says which one the service uses";
                sink.error(
                    "port-ambiguous",
                    at.unwrap_or(service.node),
                    "service.ports",
                    message,
                )
                .help = Some("set `service.ports` to one of them".to_owned());
                return;
            }
            (Some(port), None, Some(other)) if port != other => {
                let message = format!("alternatives open different ports ({other} and {port})");
                sink.error(
                    "port-ambiguous",
                    at.unwrap_or(service.node),
                    "service.ports",
                    message,
                )
                .help = Some("open the same port everywhere, or set `service.ports`".to_owned());
                return;
            }
            (Some(port), ..) => settled = Some(port),
        }
    }
    service.spec.port = settled.unwrap_or(0);
}
