//! What happened to a service.

use std::sync::Arc;
use std::time::Duration;

use api::client::FOLLOW_WAIT;
use api::{ErrorCode, EventList, EventRecord};
use axum::Json;
use axum::extract::{Path, Query, State};
use controller::ControllerError;
use serde::Deserialize;
use store::StoredEvent;
use tokio::time::Instant;

use super::{Answer, Context, Shared, blocking};
use crate::error::Refusal;

const EVENTS_PER_ANSWER: u32 = 1000;

#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    after: i64,
    #[serde(default)]
    follow: bool,
}

pub(super) async fn list(
    State(shared): Context,
    Path(name): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Answer<EventList> {
    let deadline = Instant::now() + FOLLOW_WAIT;
    loop {
        // Looked at before the events are read, so that none that comes meanwhile is missed.
        let revision = shared.controller.view(&name).ok().map(|view| view.revision);
        let events = read(&shared, &name, wanted.after).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        match revision {
            Some(revision) if wanted.follow && events.is_empty() && left > Duration::ZERO => {
                tokio::select! {
                    // That it has gone shows in the next round, with its last words.
                    _ = shared.controller.changed(&name, revision, left) => {}
                    () = shared.stop.cancelled() => return answer(events, false),
                }
            }
            Some(_) => return answer(events, false),
            None if events.is_empty() && wanted.after == 0 => {
                return Err(Refusal::new(
                    ErrorCode::NotFound,
                    ControllerError::NoSuchService(name).to_string(),
                ));
            }
            None => {
                let gone = events.is_empty();
                return answer(events, gone);
            }
        }
    }
}

async fn read(shared: &Arc<Shared>, name: &str, after: i64) -> Result<Vec<StoredEvent>, Refusal> {
    let (store, name) = (Arc::clone(&shared.store), name.to_owned());
    blocking(move || {
        store
            .events(&name, after, EVENTS_PER_ANSWER)
            .map_err(|error| ControllerError::from(error).into())
    })
    .await
}

fn answer(events: Vec<StoredEvent>, gone: bool) -> Answer<EventList> {
    let events = events.into_iter().map(|event| EventRecord {
        sequence: event.sequence,
        at: plan::Timestamp(event.at).as_seconds(),
        replica_id: event.replica,
        version: event.version,
        kind: event.kind,
        message: event.message,
    });
    Ok(Json(EventList {
        events: events.collect(),
        gone,
    }))
}
