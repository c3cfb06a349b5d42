//! Makes the one routing table of a step: READY replicas of the versions that have traffic. A new
//! generation is made only when something in it changed.

use std::collections::BTreeSet;

use spec::Auth;

use crate::action::Action;
use crate::context::Context;
use crate::happening::HappeningKind;
use crate::replica::Routed;
use crate::rollout::canary;
use crate::routing::{ApiKeyHash, ReplicaId, RoutingTable, Upstream};
use crate::state::{ServicePhase, ServiceState};

pub(crate) fn route(context: &mut Context) {
    if matches!(
        context.state.phase,
        ServicePhase::Withdrawing | ServicePhase::Gone
    ) {
        return;
    }
    let Some(mut table) = wanted(&context.state) else {
        return;
    };
    if !context.reroute && context.state.table.as_ref() == Some(&table) {
        return;
    }
    let before = context.state.active_versions();
    table.generation += 1;
    let named: BTreeSet<ReplicaId> = table
        .upstreams
        .iter()
        .map(|upstream| upstream.replica_id)
        .collect();
    for replica in context.state.replicas.values_mut() {
        if named.contains(&replica.id) {
            replica.routed = Routed::InTable;
        } else if replica.routed == Routed::InTable {
            replica.routed = Routed::LeftIn(table.generation);
        }
    }
    context.state.table = Some(table.clone());
    context.actions.push(Action::Route { table });
    let after = context.state.active_versions();
    if before != after && !after.is_empty() {
        let names: Vec<String> = after.iter().map(ToString::to_string).collect();
        let message = format!("traffic goes to version {}", names.join(" and "));
        context.tell(HappeningKind::TrafficMoved, None, None, message);
    }
}

/// The table that the state asks for, with the generation of the newest one.
fn wanted(state: &ServiceState) -> Option<RoutingTable> {
    let spec = &state.version(state.desired)?.spec;
    let upstreams: Vec<Upstream> = state
        .replicas
        .values()
        .filter(|replica| {
            let serves = replica.is_ready() && replica.ending.is_none();
            (serves || bug!(RoutesToTheEnding))
                && replica.restart.is_none()
                && state.traffic.contains(&replica.version)
        })
        .filter_map(|replica| {
            Some(Upstream {
                replica_id: replica.id,
                version: replica.version,
                address: replica.endpoint?,
                weight: 1.0,
                ready_since: replica.ready_since,
            })
        })
        .collect();
    let canary = state.rollout.as_ref().map(|rollout| rollout.version);
    let new = upstreams
        .iter()
        .filter(|upstream| Some(upstream.version) == canary);
    let split = canary::split(state, new.count(), upstreams.len());
    Some(RoutingTable {
        service: state.name.clone(),
        generation: state.generation(),
        listen: state.listen,
        policy: spec.load_balancing_policy,
        load_balancer: spec.load_balancer.clone(),
        tls: spec.tls.clone(),
        api_keys: api_keys(state, spec.auth),
        upstreams,
        split,
    })
}

/// Whether keys are asked for, and which. A YAML that asks for them lets nobody in while there is none; keys that were
/// made stay asked for whatever the YAML says, also when all of them are revoked.
fn api_keys(state: &ServiceState, auth: Auth) -> Option<Vec<ApiKeyHash>> {
    match auth {
        Auth::None => state.api_keys.clone(),
        Auth::ApiKey => Some(state.api_keys.clone().unwrap_or_default()),
    }
}
