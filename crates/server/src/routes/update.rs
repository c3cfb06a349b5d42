//! A new version of a service, made or only looked at.

use std::sync::Arc;

use api::{DryRun, ErrorCode, UpdateRequest, UpdateResponse};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use controller::now;
use plan::ServicePhase;
use serde::Deserialize;

use super::{Context, Shared, blocking};
use crate::accept::{self, Files, Submission};
use crate::error::Refusal;
use crate::forecast;

#[derive(Deserialize)]
pub(super) struct Mode {
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn version(
    State(shared): Context,
    Path(name): Path<String>,
    Query(mode): Query<Mode>,
    Json(request): Json<UpdateRequest>,
) -> Result<Response, Refusal> {
    shared.controller.view(&name)?;
    let context = Arc::clone(&shared);
    let submission = submission(request);
    if mode.dry_run {
        let run = blocking(move || look(&context, &name, submission)).await?;
        return Ok(Json(run).into_response());
    }
    let made = blocking(move || make(&context, &name, submission)).await?;
    Ok(Json(made).into_response())
}

fn submission(request: UpdateRequest) -> Submission {
    let UpdateRequest {
        task,
        yaml,
        base_dir,
        yaml_path,
        requested_by,
        mode,
    } = request;
    Submission {
        task,
        yaml,
        base_dir,
        yaml_path,
        requested_by,
        mode,
    }
}

fn make(shared: &Shared, name: &str, submission: Submission) -> Result<UpdateResponse, Refusal> {
    let held = shared.snapshots.hold();
    let version = accept::version(submission, Files::Copied(&shared.snapshots))?;
    let update = shared.controller.update(name, version);
    let updated = tokio::runtime::Handle::current().block_on(update)?;
    drop(held);
    Ok(UpdateResponse {
        version: updated.version,
        reused_replicas: updated.reused,
    })
}

/// What the update would do. The user's files are read, and not even copied.
fn look(shared: &Shared, name: &str, submission: Submission) -> Result<DryRun, Refusal> {
    let version = accept::version(submission, Files::Read)?;
    let state = shared.controller.view(name)?.state;
    if state.phase != ServicePhase::Running {
        return Err(Refusal::new(
            ErrorCode::Conflict,
            format!("Service '{name}' is shutting down and cannot be updated."),
        ));
    }
    let at = now();
    let (version, _record) = version.numbered(state.newest() + 1, at);
    Ok(forecast::update(&state, version, at))
}
