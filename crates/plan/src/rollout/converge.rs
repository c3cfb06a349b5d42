//! One pass toward the desired version: sort live replicas into buckets, then let the mode act on
//! them.

use std::collections::BTreeSet;

use spec::update::DEFAULT_MIN_HEALTHY_SECONDS;

use crate::action::Action;
use crate::context::Context;
use crate::ending;
use crate::happening::HappeningKind;
use crate::replica::Replica;
use crate::rollout::limits::{Limits, limits, takes_room};
use crate::rollout::{
    Outcome, UpdateMode, blue_green, canary, failure, restart, rolling, room, warm,
};
use crate::routing::{ReplicaId, Version};
use crate::state::ServiceState;
use crate::status::ReplicaStatus;

/// What a pass works on. Counts are of the moment the pass began.
pub(super) struct Buckets {
    /// Replicas wanted.
    pub(super) target: u32,
    /// Those of them that may be of the desired version for now.
    pub(super) wanted_new: u32,
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
    /// Replicas that take up room.
    pub(super) room_taken: u32,
    /// What the update allows.
    pub(super) limits: Limits,
}

impl Buckets {
    /// The fewest replicas that are left when old ones go.
    pub(super) fn least(&self) -> u32 {
        self.target.saturating_sub(self.limits.unavailable)
    }

    /// The most replicas that there may be.
    pub(super) fn ceiling(&self) -> u32 {
        self.target.saturating_add(self.limits.surge)
    }

    /// Replicas that may be launched beside those that are there.
    pub(super) fn room(&self) -> u32 {
        if bug!(NoCeiling) {
            return self.target;
        }
        self.ceiling().saturating_sub(self.room_taken)
    }

    /// The fewest replicas that are owed.
    pub(super) fn least_owed(&self) -> u32 {
        self.floor.min(self.least())
    }

    /// What is missing to the floor beside so many live old replicas, as far as there is room.
    pub(super) fn owed(&self, old: u32) -> u32 {
        self.owed_beside(self.settled_new.saturating_add(old))
            .min(self.room())
    }

    /// What is missing to the floor beside so many replicas.
    pub(super) fn owed_beside(&self, held: u32) -> u32 {
        self.least_owed().saturating_sub(held)
    }
}

pub(crate) fn converge(context: &mut Context) {
    failure::fall_back(context);
    note_available(context);
    restart::call_off(context);
    drop_unrouted_old(context);
    let Some(buckets) = sort(context) else { return };
    drop_surplus_new(context, &buckets);
    let Some(buckets) = sort(context) else { return };
    note_progress(context, &buckets);
    room::notice_standstill(context, &buckets);
    let Some(buckets) = sort(context) else { return };
    match mode(context) {
        UpdateMode::BlueGreen => blue_green::converge(context, &buckets),
        UpdateMode::Canary => canary::converge(context, &buckets),
        UpdateMode::InPlace => restart::converge(context, &buckets),
        UpdateMode::Rolling => rolling::converge(context, &buckets),
    }
    warm::advance(context);
    drop_unrouted_old(context);
    // Last, when what has gone has made room.
    let Some(buckets) = sort(context) else { return };
    launch_new(context, &buckets);
    complete(context);
}

/// How old gives way to new now. A blue-green update that failed after its traffic had moved is
/// also undone in one move.
fn mode(context: &Context) -> UpdateMode {
    let Some(rollout) = &context.state.rollout else {
        return UpdateMode::Rolling;
    };
    let moves_back = (rollout.is_undone() || rollout.has_stopped())
        && !context.state.traffic.contains(&context.state.desired);
    let returns =
        (moves_back && rollout.mode == UpdateMode::BlueGreen) || restart::is_mode(&context.state);
    if rollout.is_in_progress() || returns {
        rollout.mode
    } else {
        UpdateMode::Rolling
    }
}

/// Old replicas that no request can reach are of no use to anybody.
fn drop_unrouted_old(context: &mut Context) {
    let (desired, traffic) = (context.state.desired, context.state.traffic.clone());
    let useless = context.live_where(|replica| {
        let is_warm = warm::is_warm(&context.state, replica);
        replica.version != desired && !traffic.contains(&replica.version) && !is_warm
    });
    for id in useless {
        end_replica(context, id, "its version has no traffic");
    }
}

fn sort(context: &Context) -> Option<Buckets> {
    let (now, desired) = (context.now, context.state.desired);
    let state = &context.state;
    state.version(desired)?;
    let adopting = context
        .state
        .rollout_in_progress()
        .map_or(0, |rollout| rollout.adopting.len());
    let target = state.target();
    let limits = limits(state, target);
    // One failed probe is no loss; one that goes on failing is.
    let grace = state
        .min_healthy_seconds(desired)
        .max(DEFAULT_MIN_HEALTHY_SECONDS);
    // Those without traffic, of a canary that has not begun, make up for nobody.
    let has_traffic = state.traffic.contains(&desired);
    let of_desired = |wanted: &dyn Fn(&Replica) -> bool| {
        count(&context.live_where(|replica| replica.version == desired && wanted(replica)))
    };
    let old =
        context.live_where(|replica| replica.version != desired && !warm::is_warm(state, replica));
    Some(Buckets {
        target,
        wanted_new: match canary::current(state) {
            Some((_, step, _)) if canary::is_stepping(state) => canary::wanted(step, target),
            // The old ones become new ones where they are.
            _ if restart::is_mode(state) => target.saturating_sub(count(&old)),
            _ => target,
        },
        new: context.live_where(|replica| replica.version == desired),
        available_new: of_desired(&|replica| state.is_available(replica, now)),
        settled_new: of_desired(&|replica| {
            has_traffic && replica.first_available_at.is_some() && replica.is_answering(now, grace)
        }),
        old,
        adopting: u32::try_from(adopting).unwrap_or(u32::MAX),
        floor: floor(context, target),
        room_taken: room_taken(state, limits),
        limits,
    })
}

/// The target, but no more than the trusted version's own limits allow: an update from 2 to 3
/// replicas owes no third old one, while an autoscaled old version goes on growing with its
/// traffic.
pub(super) fn floor(context: &Context, target: u32) -> u32 {
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

fn room_taken(state: &ServiceState, limits: Limits) -> u32 {
    let replicas = state.replicas.values();
    let there =
        replicas.filter(|replica| takes_room(replica, limits) && !warm::is_warm(state, replica));
    u32::try_from(there.count()).unwrap_or(u32::MAX)
}

/// Notes which replicas have become available, each under the settings of its own version.
fn note_available(context: &mut Context) {
    let (now, state) = (context.now, &context.state);
    let replicas = state.replicas.values();
    let fresh: Vec<ReplicaId> = replicas
        .filter(|replica| replica.first_available_at.is_none() && state.is_available(replica, now))
        .map(|replica| replica.id)
        .collect();
    for id in fresh {
        if let Some(replica) = context.state.replicas.get_mut(&id) {
            replica.first_available_at = Some(now);
        }
    }
}

/// Notes how far the update is.
pub(crate) fn note(context: &mut Context) {
    if let Some(buckets) = sort(context) {
        note_progress(context, &buckets);
    }
}

/// Progress is to be further than ever before; what fails and is launched again stands still.
fn note_progress(context: &mut Context, buckets: &Buckets) {
    let (now, state) = (context.now, &mut context.state);
    if state.is_frozen() {
        return;
    }
    let min_healthy = state.min_healthy_seconds(state.desired);
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
    let wanted = match context.state.is_frozen() && !bug!(LaunchesWhilePaused) {
        true => wanted_meanwhile(context).min(buckets.wanted_new),
        false => buckets.wanted_new,
    };
    let there = count(&buckets.new).saturating_add(buckets.adopting);
    let missing = wanted.saturating_sub(there);
    // What must be made up for of the old version goes first.
    let room = buckets
        .room()
        .saturating_sub(buckets.owed(count(&buckets.old)));
    launch(context, desired, missing.min(room));
}

/// Replicas of the desired version that are wanted while the update stands still: none, unless it only changes the number
/// of a good version's replicas. Then as many as before.
fn wanted_meanwhile(context: &Context) -> u32 {
    let state = &context.state;
    if state.trusted != Some(state.desired) {
        return 0;
    }
    let from = state.rollout.as_ref().and_then(|rollout| rollout.from);
    let before = from.and_then(|from| state.version(from));
    before.map_or(0, |before| {
        let policy = &before.spec.replica_policy;
        policy
            .max()
            .saturating_add(policy.num_overprovision.unwrap_or(0))
    })
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
        let mut id = context.state.next_replica_id;
        if bug!(ReusesNumbers) {
            id = context
                .state
                .replicas
                .keys()
                .next_back()
                .map_or(1, |last| last + 1);
        }
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
    let owes = context.state.rollout_in_progress().is_some() || context.state.is_frozen();
    if allowed && missing > 0 && owes && !bug!(NoRepair) {
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
    let available = |replica: &Replica| state.is_available(replica, context.now);
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
    if context.state.is_frozen() {
        return;
    }
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
