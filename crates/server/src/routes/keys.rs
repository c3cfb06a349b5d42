//! API keys of an endpoint. A change is answered once the proxy acts upon it, or after a few seconds without that.

use std::sync::Arc;
use std::time::Duration;

use api::{CreateKeyRequest, CreatedKey, ErrorCode, KeyList, KeyRecord, KeysChanged};
use axum::Json;
use axum::extract::{Path, State};
use controller::{ControllerError, now};
use plan::Timestamp;
use store::KeyChange;

use super::{Answer, Context, Shared};
use crate::api_key;
use crate::error::Refusal;

/// How long an answer waits for the proxy.
const IN_FORCE_LIMIT: Duration = Duration::from_secs(5);
/// Ids are drawn from sixteen million; so many draws that are all taken mean that something else is wrong.
const DRAWS: usize = 8;

pub(super) async fn create(
    State(shared): Context,
    Path(name): Path<String>,
    Json(request): Json<CreateKeyRequest>,
) -> Answer<CreatedKey> {
    api_key::check_name(&request.name).map_err(Refusal::invalid)?;
    let first = !are_required(&shared, &name)?;
    let mut taken = None;
    for _ in 0..DRAWS {
        let made = api_key::make(&request.name, now()).map_err(|error| {
            let message = format!("no randomness from /dev/urandom: {error}");
            Refusal::new(ErrorCode::Internal, message)
        })?;
        let id = made.record.id.clone();
        let change = KeyChange::Added(made.record);
        match shared.controller.change_keys(&name, change).await {
            Err(error @ ControllerError::KeyIdTaken(_)) => taken = Some(error),
            Err(error) => return Err(error.into()),
            Ok(()) => {
                return Ok(Json(CreatedKey {
                    id,
                    key: made.key,
                    first,
                    in_force: is_in_force(&shared, &name).await,
                }));
            }
        }
    }
    let message = taken.map_or_else(String::new, |error| error.to_string());
    Err(Refusal::new(ErrorCode::Internal, message))
}

pub(super) async fn list(State(shared): Context, Path(name): Path<String>) -> Answer<KeyList> {
    let keys = shared.controller.keys(&name).await?;
    let keys = keys.into_iter().map(|key| KeyRecord {
        id: key.id,
        name: key.name,
        created_at: key.created_at.as_seconds(),
        revoked_at: key.revoked_at.map(Timestamp::as_seconds),
    });
    Ok(Json(KeyList {
        required: are_required(&shared, &name)?,
        keys: keys.collect(),
    }))
}

pub(super) async fn revoke(
    State(shared): Context,
    Path((name, id)): Path<(String, String)>,
) -> Answer<KeysChanged> {
    let message = format!("API key {id} of service '{name}' is revoked.");
    let change = KeyChange::Revoked { id, at: now() };
    shared.controller.change_keys(&name, change).await?;
    Ok(Json(KeysChanged {
        message,
        in_force: is_in_force(&shared, &name).await,
    }))
}

pub(super) async fn disable(
    State(shared): Context,
    Path(name): Path<String>,
) -> Answer<KeysChanged> {
    let change = KeyChange::Forgotten;
    shared.controller.change_keys(&name, change).await?;
    Ok(Json(KeysChanged {
        message: format!(
            "All API keys of service '{name}' are forgotten. Whoever reaches its endpoint may use it."
        ),
        in_force: is_in_force(&shared, &name).await,
    }))
}

/// Whether the newest routing table asks for keys.
fn are_required(shared: &Shared, name: &str) -> Result<bool, ControllerError> {
    let view = shared.controller.view(name)?;
    let table = view.state.table.as_ref();
    Ok(table.is_some_and(|table| table.api_keys.is_some()))
}

/// Waits until the proxy has the newest routing table in force. It will have it later if it does not now.
async fn is_in_force(shared: &Shared, name: &str) -> bool {
    let Ok(mut view) = shared.controller.view(name) else {
        return false;
    };
    let wanted = view.state.generation();
    let wait = async {
        while view.state.live.acknowledged < wanted {
            if view.state.endpoint_error.is_some() {
                return false;
            }
            let seen = Arc::clone(&view.state);
            match shared.controller.moved(name, &seen).await {
                Ok(moved) => view = moved,
                Err(_) => return false,
            }
        }
        true
    };
    tokio::select! {
        done = tokio::time::timeout(IN_FORCE_LIMIT, wait) => done.unwrap_or(false),
        () = shared.stop.cancelled() => false,
    }
}
