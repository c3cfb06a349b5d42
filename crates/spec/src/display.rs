//! How a service is shown to people: SkyServe's wording, byte for byte.

use crate::decode::json_number;
use crate::service::{LoadBalancingPolicy, ServiceSpec, SpotPlacer, TargetQps};

impl LoadBalancingPolicy {
    /// The name that files use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastLoad => "least_load",
            Self::InstanceAwareLeastLoad => "instance_aware_least_load",
            Self::SessionAffinity => "session_affinity",
            Self::PrefixAffinity => "prefix_affinity",
        }
    }
}

impl SpotPlacer {
    /// The name that files use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DynamicFallback => "dynamic_fallback",
        }
    }
}

impl ServiceSpec {
    /// `GET /health`, or `POST /path {"body": 1}`, with a word about headers but never their
    /// values. The body may hold secrets that were filled in: show it through
    /// [`Task::masked`](crate::Task::masked).
    #[must_use]
    pub fn probe_string(&self) -> String {
        let probe = &self.readiness_probe;
        let mut text = match &probe.post_data {
            None => format!("GET {}", probe.path),
            Some(data) => {
                let body = probe
                    .post_data_json
                    .clone()
                    .unwrap_or_else(|| data.to_string());
                format!("POST {} {body}", probe.path)
            }
        };
        if !probe.headers.is_empty() {
            text.push_str(" with custom headers");
        }
        text
    }

    /// `Fixed 2 replicas`, or `Autoscaling from 1 to 3 replicas (target QPS per replica: 2.5)`.
    #[must_use]
    pub fn autoscaling_policy_string(&self) -> String {
        let policy = &self.replica_policy;
        let min = policy.min_replicas;
        let Some(max) = policy.max_replicas.filter(|max| *max != min) else {
            return format!("Fixed {min} replica{}", plural(min));
        };
        let beyond = policy
            .num_overprovision
            .map(|beyond| format!(" with {beyond} overprovisioned replicas"))
            .unwrap_or_default();
        let rate = policy.target_qps_spelling.clone().unwrap_or_else(|| {
            policy
                .target_qps_per_replica
                .as_ref()
                .map_or_else(String::new, rate_string)
        });
        format!(
            "Autoscaling from {min} to {max} replica{}{beyond} (target QPS per replica: {rate})",
            plural(max)
        )
    }

    /// `No spot policy`, `SpotHedge`, `Static spot mixture with 1 base on-demand replica` and so
    /// on.
    #[must_use]
    pub fn spot_policy_string(&self) -> String {
        let policy = &self.replica_policy;
        let base = policy.base_ondemand_fallback_replicas;
        let mut parts: Vec<String> = Vec::new();
        if policy.dynamic_ondemand_fallback == Some(true) {
            if policy.spot_placer == Some(SpotPlacer::DynamicFallback) {
                return "SpotHedge".to_owned();
            }
            parts.push("Dynamic on-demand fallback".to_owned());
            // SkyServe forgets the space before `base`.
            parts.extend(base.map(|base| format!("with {base} base on-demand replicas")));
        } else if let Some(base) = base {
            parts.push(format!(
                "Static spot mixture with {base} base on-demand replica{}",
                plural(base)
            ));
        }
        if let Some(placer) = policy.spot_placer {
            if parts.is_empty() {
                parts.push("Spot placement".to_owned());
            }
            parts.push(format!("with {} placer", placer.name()));
        }
        if parts.is_empty() {
            "No spot policy".to_owned()
        } else {
            parts.join(" ")
        }
    }

    /// `No TLS Enabled`, or the two paths.
    #[must_use]
    pub fn tls_string(&self) -> String {
        match &self.tls {
            None => "No TLS Enabled".to_owned(),
            Some(tls) => format!("Keyfile: {}, Certfile: {}", tls.keyfile, tls.certfile),
        }
    }

    /// The aligned rows that `up` and `update` print, each ended by a line break.
    #[must_use]
    pub fn summary(&self) -> String {
        let probe = &self.readiness_probe;
        let rows = [
            ("Readiness probe method", self.probe_string()),
            (
                "Readiness initial delay seconds",
                json_number(probe.initial_delay_seconds).to_string(),
            ),
            (
                "Readiness probe timeout seconds",
                json_number(probe.timeout_seconds).to_string(),
            ),
            (
                "Replica autoscaling policy",
                self.autoscaling_policy_string(),
            ),
            ("TLS Certificates", self.tls_string()),
            ("Spot Policy", self.spot_policy_string()),
            (
                "Load Balancing Policy",
                self.load_balancing_policy.name().to_owned(),
            ),
        ];
        rows.into_iter()
            .map(|(name, value)| format!("{:<34}{value}\n", format!("{name}:")))
            .collect()
    }
}

fn plural(number: u32) -> &'static str {
    if number == 1 { "" } else { "s" }
}

fn rate_string(rate: &TargetQps) -> String {
    match rate {
        TargetQps::Uniform(rate) => json_number(*rate).to_string(),
        TargetQps::PerAccelerator(rates) => {
            let pairs: Vec<String> = rates
                .iter()
                .map(|(name, rate)| format!("'{name}': {}", json_number(*rate)))
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::ReplicaPolicy;
    use crate::{Overrides, Purpose, SourceText, parse_task};

    fn service(section: &str) -> ServiceSpec {
        let text = format!("service: {section}\nresources: {{ports: 80, use_spot: true}}\n");
        let source = SourceText::new("t", text);
        let task = parse_task(&source, &Overrides::default(), Purpose::Service).expect("accepted");
        task.service.expect("a service")
    }

    #[test]
    fn the_summary_has_aligned_rows() {
        let spec =
            service("{readiness_probe: {path: /x, post_data: {b: 1, a: é}, headers: {h: v}}}");
        assert_eq!(
            spec.summary(),
            "Readiness probe method:           POST /x {\"b\": 1, \"a\": \"\\u00e9\"} \
             with custom headers\n\
             Readiness initial delay seconds:  1200\n\
             Readiness probe timeout seconds:  15\n\
             Replica autoscaling policy:       Fixed 1 replica\n\
             TLS Certificates:                 No TLS Enabled\n\
             Spot Policy:                      No spot policy\n\
             Load Balancing Policy:            least_load\n"
        );
    }

    #[test]
    fn policies_are_described() {
        let policy = |policy: &str| service(&format!("{{replica_policy: {{{policy}}}}}"));
        let scaled =
            "min_replicas: 0, max_replicas: 1, target_qps_per_replica: 5.0, num_overprovision: 2";
        assert_eq!(
            policy(scaled).autoscaling_policy_string(),
            "Autoscaling from 0 to 1 replica with 2 overprovisioned replicas \
             (target QPS per replica: 5.0)"
        );
        for (written, expected) in [
            (
                "dynamic_ondemand_fallback: true, spot_placer: dynamic_fallback",
                "SpotHedge",
            ),
            (
                "dynamic_ondemand_fallback: true",
                "Dynamic on-demand fallback",
            ),
            (
                "spot_placer: dynamic_fallback",
                "Spot placement with dynamic_fallback placer",
            ),
            (
                "base_ondemand_fallback_replicas: 1",
                "Static spot mixture with 1 base on-demand replica",
            ),
        ] {
            let spec = policy(&format!("min_replicas: 2, {written}"));
            assert_eq!(spec.spot_policy_string(), expected);
        }
        let mut spec = service("{}");
        spec.replica_policy = ReplicaPolicy::fixed(2);
        assert_eq!(spec.autoscaling_policy_string(), "Fixed 2 replicas");
    }
}
