//! The split of a table: a share of the requests goes to one version, the rest to the others.
//!
//! A request first gets a [`Side`], once, however often it is sent; then the policy chooses among that side's replicas. Only
//! where the side has nobody to give it to does the other side serve it.

use balance::{Ring, Roster, Weight};
use plan::routing::{Split, Upstream, Version};
use spec::{CanaryMatch, LoadBalancingPolicy};

use crate::endpoint::Affinity;

/// Which replicas a request goes to first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Side {
    /// All alike: traffic is not split.
    #[default]
    Whole,
    /// Those of the version that has a share.
    New,
    /// The same, by the request's own wish: it would rather wait for them than go to others.
    Wished,
    /// The others.
    Old,
}

/// What a request asks of the choice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) side: Side,
    pub(crate) affinity: Affinity<'a>,
}

/// A split as selections use it.
#[derive(Debug)]
pub(crate) struct Groups {
    pub(crate) new: Group,
    pub(crate) old: Group,
    pub(crate) weight: Weight,
    version: Version,
    header: Option<CanaryMatch>,
    cookie: Option<CanaryMatch>,
    /// Since when the shares stand, in monotonic microseconds.
    pub(crate) since: u64,
}

/// The replicas of one side.
#[derive(Debug)]
pub(crate) struct Group {
    /// Where they stand in the table, in its order.
    pub(crate) indices: Vec<usize>,
    /// Of these, as [`Published`](crate::routing::Published) has them of all.
    pub(crate) ring: Option<Ring>,
    pub(crate) roster: Option<Roster>,
}

impl Groups {
    /// The sides of `split`, which stands since then.
    pub(crate) fn new(
        split: &Split,
        upstreams: &[Upstream],
        policy: LoadBalancingPolicy,
        since: u64,
    ) -> Self {
        let group = |is_new: bool| {
            let indices = (0..).zip(upstreams);
            let indices =
                indices.filter(|(_, upstream)| (upstream.version == split.version) == is_new);
            Group::new(indices.map(|(index, _)| index).collect(), upstreams, policy)
        };
        Self {
            new: group(true),
            old: group(false),
            weight: Weight::from_percent(split.weight_percent),
            version: split.version,
            header: split.header.clone(),
            cookie: split.cookie.clone(),
            since,
        }
    }

    /// Whether any request may wish for the new version.
    pub(crate) fn may_be_wished(&self) -> bool {
        self.header.is_some() || self.cookie.is_some()
    }

    /// Whether a request wishes for the new version. `has_header` and `has_cookie` look for a name and a value.
    pub(crate) fn is_wished(
        &self,
        has_header: impl FnOnce(&CanaryMatch) -> bool,
        has_cookie: impl FnOnce(&CanaryMatch) -> bool,
    ) -> bool {
        self.header.as_ref().is_some_and(has_header) || self.cookie.as_ref().is_some_and(has_cookie)
    }

    /// The side of a session or conversation of this hash.
    pub(crate) fn side_of_session(&self, hash: u64) -> Side {
        if self.weight.has_session(hash, u64::from(self.version)) {
            Side::New
        } else {
            Side::Old
        }
    }

    /// The groups in the order in which a request of this side goes to them.
    pub(crate) fn in_order(&self, side: Side) -> (&Group, &Group) {
        match side {
            Side::New | Side::Wished => (&self.new, &self.old),
            Side::Old | Side::Whole => (&self.old, &self.new),
        }
    }
}

impl Group {
    fn new(indices: Vec<usize>, upstreams: &[Upstream], policy: LoadBalancingPolicy) -> Self {
        let ids: Vec<_> = indices
            .iter()
            .filter_map(|index| upstreams.get(*index))
            .map(|upstream| upstream.replica_id)
            .collect();
        let ring = policy == LoadBalancingPolicy::SessionAffinity;
        let roster = policy == LoadBalancingPolicy::PrefixAffinity;
        Self {
            ring: ring.then(|| Ring::new(&ids)),
            roster: roster.then(|| Roster::new(&ids)),
            indices,
        }
    }
}

/// Whether two tables split the traffic alike, so that what is counted goes on.
pub(crate) fn is_same_share(one: Option<&Split>, other: Option<&Split>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            one.version == other.version && one.weight_percent == other.weight_percent
        }
        _ => false,
    }
}
