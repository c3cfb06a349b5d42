//! Which tables cannot be served, and why.

use std::collections::HashSet;

use plan::routing::RoutingTable;

use super::Registry;

/// Longest name of a service in bytes: it is part of a file's name.
const MAX_NAME_BYTES: usize = 200;
/// Replicas in one table at most.
const MAX_UPSTREAMS: usize = 10_000;

impl Registry {
    /// What makes a table one that cannot be served.
    pub(super) fn check(&self, table: &RoutingTable) -> Result<(), String> {
        let name = &table.service;
        let is_file_name = !name.is_empty()
            && name.len() <= MAX_NAME_BYTES
            && !name.starts_with('.')
            && !name.contains(['/', '\0']);
        if !is_file_name {
            return Err(format!("{name:?} cannot be the name of a service"));
        }
        if table.listen.port() == 0 {
            return Err("the endpoint has no port".to_owned());
        }
        if table.load_balancer.stream_timeout_seconds.is_nan()
            || table.load_balancer.stream_timeout_seconds <= 0.0
        {
            let seconds = table.load_balancer.stream_timeout_seconds;
            return Err(format!(
                "stream_timeout_seconds must be above 0, not {seconds}"
            ));
        }
        if table.upstreams.len() > MAX_UPSTREAMS {
            let count = table.upstreams.len();
            return Err(format!(
                "{count} replicas are more than the {MAX_UPSTREAMS} allowed"
            ));
        }
        let mut seen = HashSet::new();
        if let Some(twice) = table
            .upstreams
            .iter()
            .find(|up| !seen.insert(up.replica_id))
        {
            return Err(format!(
                "replica {} stands in the table twice",
                twice.replica_id
            ));
        }
        let other = self
            .entries
            .iter()
            .find(|(other, entry)| *other != name && entry.listen == table.listen);
        match other {
            Some((other, _)) => Err(format!(
                "{} is the endpoint of service {other} already",
                table.listen
            )),
            None => Ok(()),
        }
    }
}
