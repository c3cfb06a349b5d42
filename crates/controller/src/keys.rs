//! API keys of an endpoint. The actor of the service changes them, so that the keys kept and the routing table that
//! names them are one commit.

use std::sync::Arc;

use plan::Event;
use plan::routing::ApiKeyHash;
use spec::Auth;
use store::{KeyChange, KeyRecord, StoreError};
use tokio::task::spawn_blocking;

use crate::actor::{Actor, Message};
use crate::controller::{Controller, ControllerError, is_running};

/// Keys of one service that may be in use at a time: each is in the routing table.
pub const MAX_KEYS: usize = 1000;

impl Controller {
    /// Every API key of a service, revoked ones too, oldest first.
    ///
    /// # Errors
    /// No such service, or the store cannot be read.
    pub async fn keys(&self, name: &str) -> Result<Vec<KeyRecord>, ControllerError> {
        self.view(name)?;
        Ok(read(Arc::clone(&self.shared.store), name).await?)
    }

    /// Makes, revokes or forgets API keys. The routing table that says so has been sent to the proxy, and may not be in
    /// force yet, when this returns.
    ///
    /// # Errors
    /// No such service or key, the service or its YAML does not allow it, or the store cannot be used; nothing has
    /// changed then.
    pub async fn change_keys(&self, name: &str, change: KeyChange) -> Result<(), ControllerError> {
        self.ask(name, |reply| Message::Keys { change, reply })
            .await?
    }
}

impl Actor {
    pub(crate) async fn change_keys(&mut self, change: &KeyChange) -> Result<(), ControllerError> {
        let name = self.state.name.clone();
        if !is_running(&self.state) {
            return Err(ControllerError::Conflict(format!(
                "Service '{name}' is shutting down."
            )));
        }
        let asked_for = self
            .state
            .version(self.state.desired)
            .is_some_and(|version| version.spec.auth == Auth::ApiKey);
        if asked_for && *change == KeyChange::Forgotten {
            return Err(ControllerError::Conflict(format!(
                "The YAML of service '{name}' asks for API keys (service.auth: api_key). To let everyone in, \
                 update it without that first: sky serve update {name} <YAML>"
            )));
        }
        self.catch_up().await?;
        let kept = read(Arc::clone(&self.shared.store), &name).await?;
        let keys = usable(&name, kept, change)?;
        let event = Event::ApiKeys { keys };
        self.step(&event, &[], None, Some(change)).await?;
        Ok(())
    }
}

async fn read(store: Arc<dyn store::Store>, name: &str) -> Result<Vec<KeyRecord>, StoreError> {
    let name = name.to_owned();
    spawn_blocking(move || store.keys(&name))
        .await
        .unwrap_or_else(|panic| {
            Err(StoreError::File {
                path: "keys".to_owned(),
                error: std::io::Error::other(panic.to_string()),
            })
        })
}

/// The keys that may be used after a change; `None` when there is not even a revoked one left.
fn usable(
    service: &str,
    mut kept: Vec<KeyRecord>,
    change: &KeyChange,
) -> Result<Option<Vec<ApiKeyHash>>, ControllerError> {
    match change {
        KeyChange::Added(key) => {
            if kept.iter().any(|known| known.id == key.id) {
                return Err(ControllerError::KeyIdTaken(key.id.clone()));
            }
            let in_use = kept.iter().filter(|key| key.revoked_at.is_none()).count();
            if in_use >= MAX_KEYS {
                return Err(ControllerError::Conflict(format!(
                    "Service '{service}' has {MAX_KEYS} API keys, which is the most it may have. Revoke one first: \
                     sky serve auth revoke {service} KEY_ID"
                )));
            }
            kept.push(key.clone());
        }
        KeyChange::Revoked { id, at } => {
            let Some(key) = kept.iter_mut().find(|known| known.id == *id) else {
                return Err(ControllerError::NoSuchKey {
                    service: service.to_owned(),
                    id: id.clone(),
                });
            };
            key.revoked_at = key.revoked_at.or(Some(*at));
        }
        KeyChange::Forgotten => return Ok(None),
    }
    let usable = kept.into_iter().filter(|key| key.revoked_at.is_none());
    Ok(Some(usable.map(|key| key.hash).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use plan::Timestamp;

    fn key(id: &str, revoked: bool) -> KeyRecord {
        KeyRecord {
            id: id.to_owned(),
            name: String::new(),
            hash: ApiKeyHash(format!("hash of {id}")),
            created_at: Timestamp(0),
            revoked_at: revoked.then_some(Timestamp(1)),
        }
    }

    fn hashes(ids: &[&str]) -> Option<Vec<ApiKeyHash>> {
        let hash = |id: &&str| ApiKeyHash(format!("hash of {id}"));
        Some(ids.iter().map(hash).collect())
    }

    fn revoked(id: &str) -> KeyChange {
        KeyChange::Revoked {
            id: id.to_owned(),
            at: Timestamp(9),
        }
    }

    #[test]
    fn a_revoked_key_is_of_no_use_and_keeps_authentication_on() {
        let kept = || vec![key("a", false), key("b", true)];
        let added = KeyChange::Added(key("c", false));
        assert_eq!(usable("web", kept(), &added).unwrap(), hashes(&["a", "c"]));
        assert_eq!(usable("web", kept(), &revoked("a")).unwrap(), hashes(&[]));
        assert_eq!(
            usable("web", kept(), &revoked("b")).unwrap(),
            hashes(&["a"])
        );
        assert_eq!(usable("web", kept(), &KeyChange::Forgotten).unwrap(), None);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let kept = || vec![key("a", false)];
        let twice = usable("web", kept(), &KeyChange::Added(key("a", false)));
        assert!(matches!(twice, Err(ControllerError::KeyIdTaken(_))));
        let unknown = usable("web", kept(), &revoked("x")).unwrap_err();
        assert_eq!(unknown.to_string(), "Service 'web' has no API key 'x'.");
        let many = (0..MAX_KEYS).map(|n| key(&n.to_string(), false)).collect();
        let more = usable("web", many, &KeyChange::Added(key("a", false)));
        assert!(matches!(more, Err(ControllerError::Conflict(_))));
    }
}
