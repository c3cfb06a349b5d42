//! How many connections clients hold at an endpoint.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::routing::Service;
use crate::settings::Settings;

/// The connections of one endpoint, counted for all threads together.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    all: AtomicU32,
    /// Counted only while there is a limit for each client.
    by_client: Mutex<HashMap<IpAddr, u32>>,
}

/// Why a connection is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowded {
    /// The endpoint has as many as it may.
    Endpoint(u32),
    /// The client has as many as it may.
    Client(u32),
}

/// A connection that is counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    service: Arc<Service>,
    client: Option<IpAddr>,
}

impl Connections {
    /// Counts a connection of `client`, if the limits allow one more.
    pub(crate) fn enter(
        service: &Arc<Service>,
        settings: &Settings,
        client: IpAddr,
    ) -> Result<Counted, Crowded> {
        let connections = &service.connections;
        let mut counted = Counted {
            service: Arc::clone(service),
            client: None,
        };
        // Counted off again when it is dropped.
        if connections.all.fetch_add(1, Ordering::Relaxed) >= settings.max_connections {
            return Err(Crowded::Endpoint(settings.max_connections));
        }
        if let Some(limit) = settings.max_connections_per_client {
            let client = client.to_canonical();
            let mut by_client = connections.by_client();
            let count = by_client.entry(client).or_default();
            if *count >= limit {
                return Err(Crowded::Client(limit));
            }
            *count += 1;
            counted.client = Some(client);
        }
        Ok(counted)
    }

    fn by_client(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.by_client
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let connections = &self.service.connections;
        connections.all.fetch_sub(1, Ordering::Relaxed);
        if let Some(client) = self.client {
            let mut by_client = connections.by_client();
            if let Some(count) = by_client.get_mut(&client) {
                *count -= 1;
                if *count == 0 {
                    by_client.remove(&client);
                }
            }
        }
    }
}
