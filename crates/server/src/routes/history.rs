//! What a service was brought to, by whom, and how that ended.

use std::sync::Arc;

use api::{History, HistoryEntry};
use axum::Json;
use axum::extract::{Path, State};
use controller::ControllerError;
use plan::Timestamp;
use store::HistoryRecord;

use super::{Answer, Context, blocking};

pub(super) async fn list(State(shared): Context, Path(name): Path<String>) -> Answer<History> {
    let view = shared.controller.view(&name)?;
    let (store, service) = (Arc::clone(&shared.store), name.clone());
    let entries = blocking(move || {
        store
            .history(&service)
            .map_err(|error| ControllerError::from(error).into())
    })
    .await?;
    Ok(Json(History {
        name,
        desired_version: view.state.desired,
        entries: entries.into_iter().map(entry).collect(),
    }))
}

fn entry(record: HistoryRecord) -> HistoryEntry {
    HistoryEntry {
        kind: record.kind,
        version: record.version,
        started_at: record.started_at.as_seconds(),
        requested_by: record.requested_by,
        task_hash: record.task_hash,
        mode: record.mode,
        outcome: record.outcome,
        reason: record.reason,
        ended_at: record.ended_at.map(Timestamp::as_seconds),
    }
}
