//! Why a service, or one of its replicas, is as it is: the planner's view of it, with the last lines of the log.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::why::{Deadline, Exit, Why};
use axum::Json;
use axum::extract::{Path, Query, State};
use controller::{ControllerError, View, now};
use plan::observation::{self, Stage};
use plan::report;
use plan::routing::ReplicaId;
use provider::ReplicaKey;
use serde::Deserialize;
use spec::Masks;

use super::{Answer, Context, Shared, blocking};
use crate::error::Refusal;
use crate::log_tail;

/// Lines of a replica's log that are shown.
const LOG_LINES: usize = 5;

#[derive(Deserialize)]
pub(super) struct About {
    replica: Option<ReplicaId>,
}

pub(super) async fn service(
    State(shared): Context,
    Path(name): Path<String>,
    Query(about): Query<About>,
) -> Answer<Why> {
    let view = shared.controller.view(&name)?;
    let (state, now) = (&view.state, now());
    let (status, why) = match about.replica {
        None => (
            report::service_status(state).to_string(),
            report::why(state, now),
        ),
        Some(id) => {
            let replica = state.replicas.get(&id);
            let why = report::why_replica(state, id, now);
            let missing = || ControllerError::NoSuchReplica {
                service: name,
                replica: id,
            };
            let (replica, why) = replica.zip(why).ok_or_else(missing)?;
            (replica.status.to_string(), why)
        }
    };
    let (context, service) = (Arc::clone(&shared), view.clone());
    let replica = why.replica;
    let (masks, log_lines) = blocking(move || {
        let masks = masks(&context, &service)?;
        let lines = replica.map(|id| log_lines(&context, &service, id, &masks));
        Ok((masks, lines.unwrap_or_default()))
    })
    .await?;
    let mask = |text: &str| masks.text(text);
    Ok(Json(Why {
        name: state.name.clone(),
        status,
        sentence: mask(&why.sentence),
        also: why.also.iter().map(|text| mask(text)).collect(),
        version: why.version,
        replica_id: why.replica,
        waiting_on: why
            .waiting_on
            .iter()
            .filter_map(|wait| serde_json::to_value(wait).ok())
            .map(|mut wait| {
                masks.json(&mut wait);
                wait
            })
            .collect(),
        deadlines: why.deadlines.into_iter().map(deadline).collect(),
        last_probe_failure: why.last_probe_failure.as_deref().map(mask),
        exit: why.exit.map(|end| exit(end, &mask)),
        log_lines,
    }))
}

/// The secrets of every version that the service knows: a replica may show those of any.
fn masks(shared: &Shared, view: &View) -> Result<Masks, Refusal> {
    let state = &view.state;
    let running = state
        .replicas
        .values()
        .map(|replica| replica.launched_version);
    let versions: BTreeSet<u32> = state.versions.keys().copied().chain(running).collect();
    let mut masks = Masks::default();
    for version in versions {
        let record = shared.store.version(&state.name, version);
        if let Some(record) = record.map_err(ControllerError::from)? {
            masks.add(&record.task);
        }
    }
    Ok(masks)
}

/// No log, or one that cannot be read, is no reason to say nothing.
fn log_lines(shared: &Shared, view: &View, replica_id: ReplicaId, masks: &Masks) -> Vec<String> {
    let key = ReplicaKey {
        service: view.state.name.clone(),
        incarnation: view.state.incarnation.clone(),
        replica_id,
    };
    let path = shared.controller.log_path(&key);
    let lines = path.map(|path| log_tail::last_lines(&path, LOG_LINES, |text| masks.text(text)));
    lines.and_then(Result::ok).unwrap_or_default()
}

fn deadline(deadline: report::Deadline) -> Deadline {
    Deadline {
        what: deadline.what,
        at: deadline.at.as_seconds(),
        remaining_seconds: deadline.remaining_seconds,
    }
}

fn exit(exit: observation::Exit, mask: &impl Fn(&str) -> String) -> Exit {
    let stage = match exit.stage {
        Stage::Setup => "setup",
        Stage::Run => "run",
    };
    Exit {
        stage: stage.to_owned(),
        code: exit.code,
        signal: exit.signal,
        at: exit.at.as_seconds(),
        hint: exit.hint.as_deref().map(mask),
    }
}
