//! What the proxy says: tables in force, tables refused, requests in flight.

use crate::context::Context;
use crate::happening::HappeningKind;
use crate::routing::{Generation, ReplicaId};

pub(super) fn acknowledged(
    context: &mut Context,
    generation: Generation,
    in_flight: &[(ReplicaId, u32)],
) {
    if generation > context.state.generation() {
        // The proxy is ahead: the store lost its last commits, or was brought back from a copy.
        return context.outrun(generation);
    }
    let generation = if bug!(BelievesAnyAcknowledgement) {
        context.state.generation()
    } else {
        generation
    };
    let live = &mut context.state.live;
    live.acknowledged = live.acknowledged.max(generation);
    counted(context, generation, in_flight);
    if generation == context.state.generation() {
        context.state.endpoint_error = None;
    }
}

pub(super) fn counted(
    context: &mut Context,
    generation: Generation,
    in_flight: &[(ReplicaId, u32)],
) {
    let newest = context.state.generation();
    let live = &mut context.state.live;
    if generation >= live.counted_at && generation <= newest {
        live.counted_at = generation;
        live.in_flight = in_flight
            .iter()
            .copied()
            .filter(|(_, count)| *count > 0)
            .collect();
    }
}

pub(super) fn table_refused(context: &mut Context, generation: Generation, reason: &str) {
    if generation != context.state.generation() {
        return;
    }
    if context.state.endpoint_error.as_deref() != Some(reason) {
        context.state.endpoint_error = Some(reason.to_owned());
        let message = format!("the endpoint cannot be had: {reason}");
        context.tell(HappeningKind::EndpointRefused, None, None, message);
    }
}
