//! One pass toward the desired version: sort live replicas into buckets, then let the mode act on
//! them.

use std::collections::BTreeSet;

use crate::action::Action;
use crate::context::Context;
use crate::ending;
use crate::happening::HappeningKind;
use crate::replica::Replica;
use crate::rollout::{Outcome, UpdateMode, blue_green, failure, rolling};
use crate::routing::{ReplicaId, Version};
use crate::status::ReplicaStatus;

/// What a pass works on. Counts are of the moment the pass began.
pub(super) struct Buckets {
    /// Replicas wanted.
    pub(super) target: u32,
    /// Live replicas of the desired version.
    pub(super) new: Vec<ReplicaId>,
    /// Those of them that are available.
    pub(super) available_new: u32,
    /// Those of them that were available at least once: a failed probe of theirs calls for no
    /// repair.
    pub(super) settled_new: u32,
    /// Live replicas of other versions.
    pub(super) old: Vec<ReplicaId>,
    /// Old replicas that are about to take the desired version's number.
    pub(super) adopting: u32,
    /// The capacity that is owed whatever the new version does.
    pub(super) floor: u32,
}

pub(crate) fn converge(context: &mut Context) {
    failure::fall_back(context);
    note_available(context);
    drop_unrouted_old(context);
    let Some(buckets) = sort(context) else { return };
    launch_new(context, &buckets);
    drop_surplus_new(context, &buckets);
    let Some(buckets) = sort(context) else { return };
    note_progress(context, &buckets);
    match mode(context) {
        UpdateMode::BlueGreen => blue_green::converge(context, &buckets),
        UpdateMode::Rolling | UpdateMode::Canary | UpdateMode::InPlace => {
            rolling::converge(context, &buckets);
        }
    }
    drop_unrouted_old(context);
    complete(context);
}

/// How old gives way to new now. A blue-green update that failed after its traffic had moved is
/// also undone in one move.
fn mode(context: &Context) -> UpdateMode {
    let Some(rollout) = &context.state.rollout else {
        return UpdateMode::Rolling;
    };
    let moves_back = matches!(rollout.outcome, Some(Outcome::Failed { .. }))
        && !context.state.traffic.contains(&context.state.desired);
    if rollout.is_in_progress() || moves_back {
        rollout.mode
    } else {
        UpdateMode::Rolling
    }
}

/// Old replicas that no request can reach are of no use to anybody.
fn drop_unrouted_old(context: &mut Context) {
    let (desired, traffic) = (context.state.desired, context.state.traffic.clone());
    let useless = context
        .live_where(|replica| replica.version != desired && !traffic.contains(&replica.version));
    for id in useless {
        end_replica(context, id, "its version has no traffic");
    }
}

fn sort(context: &Context) -> Option<Buckets> {
    let (now, desired) = (context.now, context.state.desired);
    let version = context.state.version(desired)?;
    let min_healthy = version.settings.min_healthy_seconds;
    let adopting = context
        .state
        .rollout_in_progress()
        .map_or(0, |rollout| rollout.adopting.len());
    let target = context.state.target();
    let of_desired = |wanted: &dyn Fn(&Replica) -> bool| {
        count(&context.live_where(|replica| replica.version == desired && wanted(replica)))
    };
    Some(Buckets {
        target,
        new: context.live_where(|replica| replica.version == desired),
        available_new: of_desired(&|replica| replica.is_available(now, min_healthy)),
        settled_new: of_desired(&|replica| replica.first_available_at.is_some()),
        old: context.live_where(|replica| replica.version != desired),
        adopting: u32::try_from(adopting).unwrap_or(u32::MAX),
        floor: floor(context, target),
    })
}

/// The target, but no more than the trusted version's own limits allow: an update from 2 to 3
/// replicas owes no third old one, while an autoscaled old version goes on growing with its
/// traffic.
fn floor(context: &Context, target: u32) -> u32 {
    let trusted = context
        .state
        .trusted
        .and_then(|version| context.state.version(version));
    trusted.map_or(0, |trusted| {
        let policy = &trusted.spec.replica_policy;
        let limit = policy
            .max()
            .saturating_add(policy.num_overprovision.unwrap_or(0));
        target.min(limit)
    })
}

/// Notes which replicas have become available, each under the settings of its own version.
fn note_available(context: &mut Context) {
    let (now, versions) = (context.now, &context.state.versions);
    for replica in context.state.replicas.values_mut() {
        if replica.first_available_at.is_none()
            && versions.get(&replica.version).is_some_and(|version| {
                replica.is_available(now, version.settings.min_healthy_seconds)
            })
        {
            replica.first_available_at = Some(now);
        }
    }
}

/// Progress is to be further than ever before; what fails and is launched again stands still.
fn note_progress(context: &mut Context, buckets: &Buckets) {
    let (now, state) = (context.now, &mut context.state);
    let Some(version) = state.versions.get(&state.desired) else {
        return;
    };
    let min_healthy = version.settings.min_healthy_seconds;
    let rank = |id: &ReplicaId| {
        let replica = state.replicas.get(id);
        replica.map_or(0, |replica| replica.progress_rank(now, min_healthy))
    };
    let reached = buckets.new.iter().map(rank).fold(0, u32::saturating_add);
    let Some(rollout) = state.rollout.as_mut().filter(|r| r.is_in_progress()) else {
        return;
    };
    rollout.most_available = rollout.most_available.max(buckets.available_new);
    if reached > rollout.furthest {
        rollout.furthest = reached;
        rollout.progress_at = now;
    }
}

fn launch_new(context: &mut Context, buckets: &Buckets) {
    let desired = context.state.desired;
    let Some(version) = context.state.version(desired) else {
        return;
    };
    if version.failure.is_some() || !version.backoff.allows(context.now) {
        return;
    }
    let there = count(&buckets.new).saturating_add(buckets.adopting);
    launch(context, desired, buckets.target.saturating_sub(there));
}

fn drop_surplus_new(context: &mut Context, buckets: &Buckets) {
    let surplus = count(&buckets.new).saturating_sub(buckets.target);
    for id in scale_down_order(context, &buckets.new)
        .into_iter()
        .take(surplus as usize)
    {
        end_replica(context, id, "fewer replicas are wanted");
    }
}

/// Wants `count` more replicas of a version.
pub(super) fn launch(context: &mut Context, version: Version, count: u32) {
    for _ in 0..count {
        let id = context.state.next_replica_id;
        let Some(next) = id.checked_add(1) else {
            return;
        };
        context.state.next_replica_id = next;
        context
            .state
            .replicas
            .insert(id, Replica::new(id, version, context.now));
        context.actions.push(Action::Launch {
            replica: id,
            version,
        });
        let message = format!("replica {id} of version {version} is wanted");
        context.tell(
            HappeningKind::ReplicaWanted,
            Some(id),
            Some(version),
            message,
        );
    }
}

/// Launches of one version what is missing to the floor, unless its back-off says to wait. Only an
/// update owes this: without one, the desired version itself is launched.
pub(super) fn repair(context: &mut Context, version: Option<Version>, missing: u32) {
    let Some(version) = version.filter(|version| *version != context.state.desired) else {
        return;
    };
    let known = context.state.version(version);
    let allowed = known.is_some_and(|version| version.backoff.allows(context.now));
    if allowed && missing > 0 && context.state.rollout_in_progress().is_some() {
        context.state.traffic.insert(version);
        launch(context, version, missing);
    }
}

/// Ends a replica: it leaves the routing table now and stops once nothing can reach it.
pub(crate) fn end_replica(context: &mut Context, id: ReplicaId, why: &str) {
    let Some(replica) = context.state.replicas.get(&id) else {
        return;
    };
    if !replica.is_live() {
        return;
    }
    let version = replica.version;
    // A replica that failed a probe may still be answering somebody.
    let may_serve = matches!(
        replica.status,
        ReplicaStatus::Ready | ReplicaStatus::NotReady
    );
    if may_serve {
        ending::begin_draining(context, id);
    } else {
        ending::begin_now(context, id);
    }
    context.set_status(id, ReplicaStatus::ShuttingDown, Some(why));
    let how = if may_serve { "drains" } else { "ends" };
    let message = format!("replica {id} {how}: {why}");
    context.tell(
        HappeningKind::ReplicaEnding,
        Some(id),
        Some(version),
        message,
    );
}

/// Who goes first when there are too many: the least trusted status, then what is not available,
/// then the lowest version, then the fewest requests in flight, then the youngest.
pub(super) fn scale_down_order(context: &Context, ids: &[ReplicaId]) -> Vec<ReplicaId> {
    let state = &context.state;
    let available = |replica: &Replica| {
        let version = state.version(replica.version);
        version.is_some_and(|version| {
            replica.is_available(context.now, version.settings.min_healthy_seconds)
        })
    };
    let replicas = ids.iter().filter_map(|id| state.replicas.get(id));
    let mut replicas: Vec<&Replica> = replicas.filter(|replica| replica.is_live()).collect();
    replicas.sort_by_key(|replica| {
        let in_flight = state.live.in_flight.get(&replica.id).copied().unwrap_or(0);
        let youngest_first = std::cmp::Reverse(replica.id);
        (
            replica.status.scale_down_rank(),
            available(replica),
            replica.version,
            in_flight,
            youngest_first,
        )
    });
    replicas.into_iter().map(|replica| replica.id).collect()
}

/// Notices that every replica is of the desired version and enough of them are available.
fn complete(context: &mut Context) {
    let Some(buckets) = sort(context) else { return };
    let desired = context.state.desired;
    let Some(version) = context.state.version(desired) else {
        return;
    };
    let (proven, failed) = (version.ever_ready, version.failure.is_some());
    if !buckets.old.is_empty() || buckets.available_new < buckets.target {
        return;
    }
    let now = context.now;
    context.state.traffic = BTreeSet::from([desired]);
    // At a target of zero nothing was shown.
    if proven && (buckets.target > 0 || !failed) {
        failure::trust(context, desired);
    }
    let Some(rollout) = &mut context.state.rollout else {
        return;
    };
    if !rollout.is_in_progress() || rollout.version != desired {
        return;
    }
    rollout.outcome = Some(Outcome::Succeeded { at: now });
    let message = format!("every replica is of version {desired}");
    context.tell(
        HappeningKind::RolloutSucceeded,
        None,
        Some(desired),
        message,
    );
}

pub(super) fn count(ids: &[ReplicaId]) -> u32 {
    u32::try_from(ids.len()).unwrap_or(u32::MAX)
}
