//! What differs between two versions of a service.

use std::sync::Arc;

use api::Diff;
use axum::Json;
use axum::extract::{Path, Query, State};
use controller::{ControllerError, View};
use plan::ServiceState;
use plan::routing::Version;
use serde::Deserialize;
use store::{HistoryRecord, VersionRecord};

use super::{Answer, Context, Shared, blocking};
use crate::diff;
use crate::error::Refusal;

#[derive(Deserialize)]
pub(super) struct Wanted {
    from: Option<Version>,
    to: Option<Version>,
}

pub(super) async fn versions(
    State(shared): Context,
    Path(name): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Answer<Diff> {
    let view = shared.controller.view(&name)?;
    let context = Arc::clone(&shared);
    let diff = blocking(move || {
        let history = context
            .store
            .history(&name)
            .map_err(ControllerError::from)?;
        let (from, to) = choose(&view.state, &history, &wanted)?;
        let (old, new) = (record(&context, &view, from)?, record(&context, &view, to)?);
        let hash = |version| view.state.version(version).map(|known| &known.task_hash);
        let same_content = from == to || hash(from).is_some() && hash(from) == hash(to);
        Ok(Diff {
            name,
            from,
            to,
            replaces_replicas: !same_content,
            changes: diff::compare(&old, &new, same_content),
        })
    })
    .await?;
    Ok(Json(diff))
}

/// Which versions: those asked for; by default the desired one and what was there before it. Where nothing was, the
/// desired one and the newest, which has failed then.
fn choose(
    state: &ServiceState,
    history: &[HistoryRecord],
    wanted: &Wanted,
) -> Result<(Version, Version), Refusal> {
    let desired = state.desired;
    if let Some(from) = wanted.from {
        return Ok((from, wanted.to.unwrap_or(desired)));
    }
    let to = wanted.to.unwrap_or(desired);
    let last = history.iter().rposition(|entry| entry.version == to);
    let earlier = history.get(..last.unwrap_or(0)).unwrap_or_default();
    let before = earlier.iter().rev().find(|entry| entry.version != to);
    match before {
        Some(before) => Ok((before.version, to)),
        None if state.newest() != to => Ok((to, state.newest())),
        None => Err(Refusal::invalid(format!(
            "Service '{}' has no version other than {to}: there is nothing to compare it with.",
            state.name
        ))),
    }
}

fn record(shared: &Shared, view: &View, version: Version) -> Result<VersionRecord, Refusal> {
    let state = &view.state;
    let stored = shared.store.version(&state.name, version);
    let stored = stored.map_err(ControllerError::from)?;
    stored.ok_or_else(|| Refusal::no_such_version(state, version))
}
