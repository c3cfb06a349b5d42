//! Steering an update, and going back.

use api::{RollbackRequest, SteerRequest, Steered};
use axum::Json;
use axum::extract::{Path, State};
use plan::Steering;
use plan::steering::Answer as Told;

use super::{Answer, Context, Shared};
use crate::accept::user_name;
use crate::error::Refusal;

pub(super) async fn pause(
    context: Context,
    name: Path<String>,
    request: Json<SteerRequest>,
) -> Answer<Steered> {
    steer(context, name, request, Steering::Pause).await
}

pub(super) async fn resume(
    context: Context,
    name: Path<String>,
    request: Json<SteerRequest>,
) -> Answer<Steered> {
    steer(context, name, request, Steering::Resume).await
}

pub(super) async fn promote(
    context: Context,
    name: Path<String>,
    request: Json<SteerRequest>,
) -> Answer<Steered> {
    steer(context, name, request, Steering::Promote).await
}

pub(super) async fn abort(
    context: Context,
    name: Path<String>,
    request: Json<SteerRequest>,
) -> Answer<Steered> {
    steer(context, name, request, Steering::Abort).await
}

async fn steer(
    State(shared): Context,
    Path(name): Path<String>,
    Json(request): Json<SteerRequest>,
    what: Steering,
) -> Answer<Steered> {
    let requested_by = request.requested_by.as_deref().and_then(user_name);
    let told = shared.controller.steer(&name, what, requested_by).await?;
    answer(&shared, name, told)
}

pub(super) async fn rollback(
    State(shared): Context,
    Path(name): Path<String>,
    Json(request): Json<RollbackRequest>,
) -> Answer<Steered> {
    let state = shared.controller.view(&name)?.state;
    if let Some(to) = request.to.filter(|to| !state.versions.contains_key(to)) {
        return Err(Refusal::no_such_version(&state, to));
    }
    let requested_by = request.requested_by.as_deref().and_then(user_name);
    let told = shared
        .controller
        .rollback(&name, request.to, requested_by)
        .await?;
    answer(&shared, name, told)
}

fn answer(shared: &Shared, name: String, told: Told) -> Answer<Steered> {
    let view = shared.controller.view(&name)?;
    Ok(Json(Steered {
        changed: told.changed,
        message: told.message,
        desired_version: view.state.desired,
        name,
    }))
}
