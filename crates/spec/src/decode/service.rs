//! `service:` → [`ServiceSpec`], but for the port, which may have to be found in `resources`.

use super::probe::{Least, bounded};
use super::{Nulls, Section, Sink, count, load_balancer, probe, unknown_word, update, word};
use crate::node::{Node, Value};
use crate::service::{
    Auth, LoadBalancingPolicy, ReplicaPolicy, ServiceSpec, SpotPlacer, TargetQps, Tls,
};

/// Most replicas of a service. SkyServe has no bound, and fails on numbers that no machine could
/// serve.
pub const MAX_REPLICAS: u32 = 10_000;

/// A service and where the parts that the later rules need were written.
pub(crate) struct Decoded<'n> {
    pub(crate) spec: ServiceSpec,
    pub(crate) node: &'n Node,
    /// `service.ports`; the port in `spec` is 0 while there is none.
    pub(crate) port: Option<&'n Node>,
    /// Whether `service.ports` is absent or could be read.
    pub(crate) port_valid: bool,
    pub(crate) policy: Option<&'n Node>,
}

/// Reads the section.
pub(crate) fn decode<'n>(sink: &mut Sink<'_>, node: &'n Node) -> Option<Decoded<'n>> {
    let section = Section::open(sink, node, "service", Nulls::Absent)?;
    if let Some(pool) = section.get("pool") {
        refuse_pool(sink, pool, "service.pool");
    }
    // A null probe is not an absent one: the file says that there is a probe and not which.
    let probe = node.get("readiness_probe");
    let readiness_probe = probe::decode(sink, probe);
    let replica_policy = replicas(sink, &section);
    let load_balancing_policy = policy(sink, &section, &replica_policy);
    let load_balancer = load_balancer::decode(sink, section.get("load_balancer"));
    check_affinity(sink, &section, load_balancing_policy);
    let auth = auth(sink, &section);
    let tls = section.get("tls").and_then(|node| tls(sink, node));
    let update = update::decode(sink, section.get("update"));
    let port = section.get("ports");
    let number = port.map(|node| count(sink, node, "service.ports", 1, u32::from(u16::MAX)));
    let spec = ServiceSpec {
        readiness_probe,
        replica_policy,
        load_balancing_policy,
        load_balancer,
        port: number
            .flatten()
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(0),
        tls,
        auth,
        update,
    };
    let policy = section.get("replica_policy");
    Some(Decoded {
        spec,
        node,
        port,
        port_valid: number != Some(None),
        policy,
    })
}

/// Reports a pool.
pub(crate) fn refuse_pool(sink: &mut Sink<'_>, node: &Node, path: &str) {
    let message = "pools of batch workers are not part of this project";
    sink.error("pool-refused", node, path, message).help =
        Some("write a `service:` section for something that answers requests".to_owned());
}

fn replicas(sink: &mut Sink<'_>, section: &Section<'_>) -> ReplicaPolicy {
    let replicas = section.count(sink, "replicas", 0, MAX_REPLICAS);
    let workers = section.count(sink, "workers", 0, MAX_REPLICAS);
    let policy = section.get("replica_policy");
    if let (Some(_), Some(at)) = (
        section.node.get("replicas"),
        section.node.get("replica_policy"),
    ) {
        let message = "`replicas` and `replica_policy` cannot be written together";
        sink.error("conflict", at, "service.replica_policy", message)
            .help =
            Some("write `min_replicas` in `replica_policy` instead of `replicas`".to_owned());
    }
    if let (Some(_), Some(at)) = (section.get("replicas"), section.get("workers")) {
        let message = "`replicas` and `workers` are two names of one field; write one of them";
        sink.error("conflict", at, "service.workers", message);
    }
    let read = policy.and_then(|node| replica_policy(sink, node));
    match (replicas.or(workers), read) {
        (None, Some(policy)) => policy,
        (replicas, _) => ReplicaPolicy::fixed(replicas.unwrap_or(1)),
    }
}

fn replica_policy(sink: &mut Sink<'_>, node: &Node) -> Option<ReplicaPolicy> {
    let section = Section::open(sink, node, "service.replica_policy", Nulls::Values)?;
    let min = section.count(sink, "min_replicas", 0, MAX_REPLICAS);
    if section.get("min_replicas").is_none() {
        let message = "`replica_policy` needs `min_replicas`";
        sink.error(
            "missing-field",
            node,
            "service.replica_policy.min_replicas",
            message,
        );
    }
    let mut policy = ReplicaPolicy::fixed(min.unwrap_or(0));
    policy.max_replicas = section.count(sink, "max_replicas", 0, MAX_REPLICAS);
    policy.num_overprovision = section.count(sink, "num_overprovision", 0, MAX_REPLICAS);
    policy.upscale_delay_seconds = bounded(sink, &section, "upscale_delay_seconds", Least::Zero);
    policy.downscale_delay_seconds =
        bounded(sink, &section, "downscale_delay_seconds", Least::Zero);
    policy.base_ondemand_fallback_replicas =
        section.count(sink, "base_ondemand_fallback_replicas", 0, MAX_REPLICAS);
    policy.dynamic_ondemand_fallback = section.boolean(sink, "dynamic_ondemand_fallback");
    policy.spot_placer = spot_placer(sink, &section);
    if let Some(node) = section.get("target_qps_per_replica") {
        target_qps(sink, node, &mut policy);
    }
    replica_bounds(sink, &section, min, &policy);
    Some(policy)
}

fn spot_placer(sink: &mut Sink<'_>, section: &Section<'_>) -> Option<SpotPlacer> {
    const NAME: &str = "dynamic_fallback";
    let name = section.string(sink, "spot_placer")?;
    if name == NAME {
        return Some(SpotPlacer::DynamicFallback);
    }
    if let Some(node) = section.get("spot_placer") {
        unknown_word(sink, node, "service.replica_policy.spot_placer", &[NAME]);
    }
    None
}

/// The rules between `min_replicas`, `max_replicas` and `target_qps_per_replica`.
fn replica_bounds(
    sink: &mut Sink<'_>,
    section: &Section<'_>,
    min: Option<u32>,
    policy: &ReplicaPolicy,
) {
    let qps = section.get("target_qps_per_replica");
    if let (Some(at), None) = (qps, section.get("max_replicas")) {
        let message = "`target_qps_per_replica` needs `max_replicas`";
        sink.error(
            "missing-field",
            at,
            "service.replica_policy.target_qps_per_replica",
            message,
        )
        .help = Some("add `max_replicas` to say how far the service may scale up".to_owned());
    }
    let (Some(min), Some(max), Some(at)) = (min, policy.max_replicas, section.get("max_replicas"))
    else {
        return;
    };
    if max < min {
        let message = format!("`max_replicas` ({max}) is less than `min_replicas` ({min})");
        sink.error(
            "conflict",
            at,
            "service.replica_policy.max_replicas",
            message,
        );
    } else if max != min && qps.is_none() {
        let message = format!(
            "`max_replicas` ({max}) differs from `min_replicas` ({min}), but nothing says when to \
             scale"
        );
        sink.error(
            "missing-field",
            at,
            "service.replica_policy.target_qps_per_replica",
            message,
        )
        .help = Some("add `target_qps_per_replica` to scale with the load".to_owned());
    }
    if policy
        .base_ondemand_fallback_replicas
        .is_some_and(|base| base > max)
        && let Some(at) = section.get("base_ondemand_fallback_replicas")
    {
        let message = "`base_ondemand_fallback_replicas` is more than `max_replicas`";
        sink.warning(
            "conflict",
            at,
            "service.replica_policy.base_ondemand_fallback_replicas",
            message,
        );
    }
}

fn target_qps(sink: &mut Sink<'_>, node: &Node, policy: &mut ReplicaPolicy) {
    const PATH: &str = "service.replica_policy.target_qps_per_replica";
    let rate = |sink: &mut Sink<'_>, node: &Node| {
        let rate = super::number(sink, node, PATH)?;
        if rate > 0.0 {
            return Some((rate, node.python_str()?));
        }
        let message = format!("`target_qps_per_replica` must be greater than 0, not {rate}");
        sink.error("out-of-range", node, PATH, message);
        None
    };
    let Some(entries) = node.entries() else {
        if !matches!(node.value, Value::Int(_) | Value::Float(_)) {
            sink.wrong_type(
                node,
                PATH,
                "a number, or a mapping of accelerators to numbers",
            );
        } else if let Some((rate, spelling)) = rate(sink, node) {
            policy.target_qps_per_replica = Some(TargetQps::Uniform(rate));
            policy.target_qps_spelling = Some(spelling);
        }
        return;
    };
    if entries.is_empty() {
        let message = "`target_qps_per_replica` names no accelerator";
        sink.error("empty", node, PATH, message);
    }
    let mut rates = Vec::new();
    let mut spellings = Vec::new();
    for entry in entries {
        let Some(name) = entry.key.as_str().filter(|name| is_accelerator(name)) else {
            let message = "the keys of `target_qps_per_replica` are accelerators such as H100:8: \
                 capital letters and digits, and a count";
            sink.error("unknown-field", &entry.key, PATH, message);
            continue;
        };
        if let Some((rate, spelling)) = rate(sink, &entry.value) {
            rates.push((name.to_owned(), rate));
            spellings.push(format!("'{name}': {spelling}"));
        }
    }
    policy.target_qps_per_replica = Some(TargetQps::PerAccelerator(rates));
    policy.target_qps_spelling = Some(format!("{{{}}}", spellings.join(", ")));
}

/// `^[A-Z0-9]+(:[0-9]+)?$`
fn is_accelerator(name: &str) -> bool {
    let (name, count) = name.split_once(':').unwrap_or((name, "1"));
    let capital = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    !name.is_empty()
        && name.bytes().all(capital)
        && !count.is_empty()
        && count.bytes().all(|byte| byte.is_ascii_digit())
}

fn policy(
    sink: &mut Sink<'_>,
    section: &Section<'_>,
    replicas: &ReplicaPolicy,
) -> LoadBalancingPolicy {
    const PATH: &str = "service.load_balancing_policy";
    let by_accelerator = matches!(
        replicas.target_qps_per_replica,
        Some(TargetQps::PerAccelerator(_))
    );
    let name = section.string(sink, "load_balancing_policy");
    let policy = match name {
        None => LoadBalancingPolicy::default(),
        Some(name) => match policy_of(name) {
            Some(policy) => policy,
            None => {
                if let Some(node) = section.get("load_balancing_policy") {
                    let names = LoadBalancingPolicy::ALL.map(LoadBalancingPolicy::name);
                    unknown_word(sink, node, PATH, &names);
                }
                return LoadBalancingPolicy::default();
            }
        },
    };
    let instance_aware = policy == LoadBalancingPolicy::InstanceAwareLeastLoad;
    if instance_aware != by_accelerator {
        let (key, message) = if instance_aware {
            (
                "load_balancing_policy",
                "`instance_aware_least_load` needs a `target_qps_per_replica` for each accelerator",
            )
        } else {
            (
                "replica_policy",
                "a `target_qps_per_replica` for each accelerator needs \
                 `load_balancing_policy: instance_aware_least_load`",
            )
        };
        let at = section.get(key).unwrap_or(section.node);
        let at = at.get("target_qps_per_replica").unwrap_or(at);
        sink.error("conflict", at, PATH, message);
    }
    policy
}

fn policy_of(name: &str) -> Option<LoadBalancingPolicy> {
    let mut policies = LoadBalancingPolicy::ALL.into_iter();
    policies.find(|policy| policy.name() == name)
}

/// A setting that another one leaves without effect is surely not meant.
fn check_affinity(sink: &mut Sink<'_>, section: &Section<'_>, policy: LoadBalancingPolicy) {
    const PATH: &str = "service.load_balancer.session_affinity";
    let written = section
        .get("load_balancer")
        .and_then(|settings| settings.get("session_affinity"));
    if let Some(node) = written
        && policy != LoadBalancingPolicy::SessionAffinity
    {
        let message = format!(
            "`session_affinity` has no effect with `load_balancing_policy: {}`",
            policy.name()
        );
        sink.warning("no-effect", node, PATH, message).help =
            Some("write `load_balancing_policy: session_affinity`".to_owned());
    }
}

fn auth(sink: &mut Sink<'_>, section: &Section<'_>) -> Auth {
    let names = Auth::ALL.map(Auth::name);
    let name = section
        .get("auth")
        .and_then(|node| word(sink, node, "service.auth", &names));
    Auth::ALL
        .into_iter()
        .find(|auth| Some(auth.name()) == name)
        .unwrap_or_default()
}

fn tls(sink: &mut Sink<'_>, node: &Node) -> Option<Tls> {
    let section = Section::open(sink, node, "service.tls", Nulls::Values)?;
    let mut file = |key: &str| {
        if section.get(key).is_none() {
            let message = format!("`tls` needs `{key}`");
            sink.error("missing-field", node, &section.path_of(key), message);
        }
        section.string(sink, key).map(ToOwned::to_owned)
    };
    let (keyfile, certfile) = (file("keyfile"), file("certfile"));
    Some(Tls {
        keyfile: keyfile?,
        certfile: certfile?,
    })
}
