//! `sky serve auth …`: API keys of an endpoint.

pub(crate) mod create;
pub(crate) mod disable;
pub(crate) mod list;
pub(crate) mod revoke;

use api::ServiceRecord;

use crate::output;

/// Where users reach the service, with its scheme.
fn url(service: &ServiceRecord) -> String {
    let scheme = if service.tls_encrypted {
        "https"
    } else {
        "http"
    };
    let endpoint = service.endpoint.as_deref().unwrap_or("ENDPOINT");
    format!("{scheme}://{endpoint}")
}

/// Says so, if the load balancer does not act upon a change yet.
fn tell_delay(in_force: bool) {
    if !in_force {
        output::warn(
            "the load balancer has not confirmed it yet. The change is kept and takes effect as soon as it does.",
        );
    }
}
