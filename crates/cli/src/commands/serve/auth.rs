//! `sky serve auth …`: API keys of an endpoint.

pub(crate) mod create;
pub(crate) mod disable;
pub(crate) mod list;
pub(crate) mod revoke;

use api::{Client, ServiceRecord};

use crate::failure::Failure;
use crate::output;
use crate::server_process;

/// A client for a service that may be there: where no server was ever used there is none.
async fn connect(service: &str) -> Result<Client, Failure> {
    let client = server_process::connect_if_used().await?;
    client.ok_or_else(|| Failure::Refused(format!("Service '{service}' does not exist.")))
}

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
