//! The API's routes; see the table in the `api` crate.

mod diff;
mod events;
mod history;
mod keys;
mod steer;
mod update;
mod why;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::{
    Accepted, DownRequest, ErrorCode, Health, ServiceList, ServiceRecord, UpRequest, UpResponse,
};
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::response::Response;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use controller::{Controller, Snapshots, View, now};
use provider::ReplicaKey;
use serde::Deserialize;
use store::Store;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::accept::{Files, Submission};
use crate::error::Refusal;
use crate::home::Home;
use crate::{accept, logs, names, record};

/// The largest request: a task with its YAML, with room to spare.
const BODY_LIMIT_BYTES: usize = 8 * 1024 * 1024;
/// The longest a request may wait for a change.
const LONGEST_WAIT_SECONDS: f64 = 60.0;
/// How long `up` waits for the proxy.
const LISTENING_LIMIT: Duration = Duration::from_secs(10);

/// What every route needs.
pub(crate) struct Shared {
    pub(crate) home: Home,
    pub(crate) controller: Controller,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) started_at: f64,
    pub(crate) stop: CancellationToken,
    /// One acceptance at a time: it gives away ports and names.
    pub(crate) accepting: Mutex<()>,
}

type Context = State<Arc<Shared>>;
type Answer<T> = Result<Json<T>, Refusal>;

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/health", get(health))
        .route("/v1/services", get(list).post(up))
        .route("/v1/services/{name}", get(service))
        .route("/v1/services/{name}/versions", post(update::version))
        .route("/v1/services/{name}/pause", post(steer::pause))
        .route("/v1/services/{name}/resume", post(steer::resume))
        .route("/v1/services/{name}/promote", post(steer::promote))
        .route("/v1/services/{name}/abort", post(steer::abort))
        .route("/v1/services/{name}/rollback", post(steer::rollback))
        .route("/v1/services/{name}/down", post(down))
        .route(
            "/v1/services/{name}/replicas/{id}/terminate",
            post(terminate),
        )
        .route(
            "/v1/services/{name}/keys",
            get(keys::list).post(keys::create).delete(keys::disable),
        )
        .route("/v1/services/{name}/keys/{id}", delete(keys::revoke))
        .route("/v1/services/{name}/logs", get(service_logs))
        .route("/v1/services/{name}/events", get(events::list))
        .route("/v1/services/{name}/history", get(history::list))
        .route("/v1/services/{name}/why", get(why::service))
        .route("/v1/services/{name}/diff", get(diff::versions))
        .route("/v1/shutdown", post(shutdown))
        .fallback(|| async { Refusal::new(ErrorCode::NotFound, "there is no such route") })
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .with_state(shared)
}

async fn health(State(shared): Context) -> Json<Health> {
    Json(Health {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_at: shared.started_at,
        home: shared.home.path().to_owned(),
        proxy_pid: shared.controller.proxy_pid(),
        services: shared.controller.views().len(),
    })
}

impl Shared {
    fn record(&self, view: &View) -> ServiceRecord {
        let state = &view.state;
        let version = self
            .store
            .version(&state.name, state.newest())
            .ok()
            .flatten();
        let resources = version.map(|version| accept::requested_resources(&version.task));
        record::service(
            state,
            view.revision,
            resources.unwrap_or_else(|| "-".to_owned()),
            now(),
        )
    }
}

async fn list(
    State(shared): Context,
    Query(query): Query<Vec<(String, String)>>,
) -> Answer<ServiceList> {
    let names: Vec<String> = query
        .into_iter()
        .filter(|(key, _)| key == "name")
        .map(|(_, name)| name)
        .collect();
    let views = shared.controller.views();
    let mut services: BTreeMap<String, ServiceRecord> = BTreeMap::new();
    for view in &views {
        if names.is_empty() || names.contains(&view.state.name) {
            services.insert(view.state.name.clone(), shared.record(view));
        }
    }
    let mut not_found = names;
    not_found.retain(|name| !services.contains_key(name));
    not_found.dedup();
    Ok(Json(ServiceList {
        services: services.into_values().collect(),
        not_found,
    }))
}

#[derive(Deserialize)]
struct Wait {
    after: Option<u64>,
    timeout_seconds: Option<f64>,
}

async fn service(
    State(shared): Context,
    Path(name): Path<String>,
    Query(wait): Query<Wait>,
) -> Answer<ServiceRecord> {
    let view = match wait.after {
        None => shared.controller.view(&name)?,
        Some(after) => {
            let seconds = wait.timeout_seconds.unwrap_or(LONGEST_WAIT_SECONDS);
            let seconds = seconds.clamp(0.0, LONGEST_WAIT_SECONDS);
            let timeout = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            tokio::select! {
                view = shared.controller.changed(&name, after, timeout) => view?,
                () = shared.stop.cancelled() => shared.controller.view(&name)?,
            }
        }
    };
    Ok(Json(shared.record(&view)))
}

async fn up(State(shared): Context, Json(request): Json<UpRequest>) -> Answer<UpResponse> {
    let UpRequest {
        name,
        task,
        yaml,
        base_dir,
        yaml_path,
        requested_by,
    } = request;
    names::check(&name).map_err(Refusal::invalid)?;
    let _accepting = shared.accepting.lock().await;
    let views = shared.controller.views();
    if let Some(view) = views.iter().find(|view| view.state.name == name) {
        return Err(taken(view));
    }
    let ports: Vec<u16> = views.iter().map(|view| view.state.listen.port()).collect();
    let context = Arc::clone(&shared);
    let (view, port_lock) = blocking(move || {
        let held = context.snapshots.hold();
        let mode = None;
        let submission = Submission {
            task,
            yaml,
            base_dir,
            yaml_path,
            requested_by,
            mode,
        };
        let version = accept::version(submission, Files::Copied(&context.snapshots))?;
        let port_lock = accept::port_lock();
        let listen = accept::endpoint(&ports)?;
        let create = context
            .controller
            .create(&name, incarnation()?, listen, version);
        let view = tokio::runtime::Handle::current().block_on(create)?;
        drop(held);
        Ok((view, port_lock))
    })
    .await?;
    let refused = listening(&shared, &view).await;
    drop(port_lock);
    if let Some(reason) = refused {
        return Err(give_up(&shared, &view, &reason).await);
    }
    Ok(Json(UpResponse {
        name: view.state.name.clone(),
        endpoint: record::endpoint(&view.state),
        version: view.state.newest(),
    }))
}

/// Waits until the endpoint listens, so that a request sent right after `up` is answered, if only with 503. Says why,
/// if the proxy refuses it.
async fn listening(shared: &Shared, view: &View) -> Option<String> {
    let name = view.state.name.clone();
    let mut view = view.clone();
    let wait = async {
        while view.state.live.acknowledged == 0 && view.state.endpoint_error.is_none() {
            let seen = Arc::clone(&view.state);
            view = shared.controller.moved(&name, &seen).await.ok()?;
        }
        view.state.endpoint_error.clone()
    };
    // A proxy that does not answer yet will: `status` tells how it stands.
    tokio::time::timeout(LISTENING_LIMIT, wait)
        .await
        .ok()
        .flatten()
}

/// A service whose endpoint cannot be had is of no use: nothing of it stays.
async fn give_up(shared: &Shared, view: &View, reason: &str) -> Refusal {
    let name = &view.state.name;
    let mut outcome = shared
        .controller
        .down(name, true, true)
        .await
        .map(|()| view.clone());
    while let Ok(view) = outcome {
        outcome = shared.controller.moved(name, &view.state).await;
    }
    Refusal::new(
        ErrorCode::Conflict,
        format!("The endpoint cannot be had: {reason}. Try again."),
    )
}

fn taken(view: &View) -> Refusal {
    let name = &view.state.name;
    if view.state.phase == plan::ServicePhase::Running {
        return controller::ControllerError::Store(store::StoreError::NameTaken(name.clone()))
            .into();
    }
    Refusal::new(
        ErrorCode::Conflict,
        format!(
            "Service '{name}' is still shutting down. Wait for its end, or run: sky serve down {name} --now"
        ),
    )
}

async fn down(
    State(shared): Context,
    Path(name): Path<String>,
    Json(request): Json<DownRequest>,
) -> Answer<Accepted> {
    shared
        .controller
        .down(&name, request.now, request.purge)
        .await?;
    Ok(Json(Accepted {
        message: format!("Service '{name}' is scheduled to be terminated."),
    }))
}

async fn terminate(
    State(shared): Context,
    Path((name, id)): Path<(String, u32)>,
    Json(request): Json<DownRequest>,
) -> Answer<Accepted> {
    let DownRequest { purge, now } = request;
    shared
        .controller
        .terminate_replica(&name, id, now, purge)
        .await?;
    let what = if purge { "purged" } else { "terminated" };
    let message = format!("Replica {id} of service '{name}' is scheduled to be {what}.");
    Ok(Json(Accepted { message }))
}

#[derive(Deserialize)]
struct LogQuery {
    target: LogTarget,
    replica_id: Option<u32>,
    #[serde(default)]
    follow: bool,
    tail: Option<usize>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LogTarget {
    Replica,
    Controller,
    LoadBalancer,
}

async fn service_logs(
    State(shared): Context,
    Path(name): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Refusal> {
    let path = log_path(&shared, &name, &query)?;
    let (stop, controller) = (shared.stop.clone(), shared.controller.clone());
    let (service, replica) = (name.clone(), query.replica_id);
    let follow = query.follow;
    let follow_while = move || {
        let there = controller.view(&service).is_ok_and(|view| match replica {
            None => true,
            Some(id) => view.state.replicas.get(&id).is_some_and(|replica| {
                replica
                    .ending
                    .as_ref()
                    .is_none_or(|ending| !ending.released)
            }),
        });
        follow && !stop.is_cancelled() && there
    };
    let body: Body = logs::stream(path.clone(), query.tail, follow_while)
        .await
        .map_err(|error| {
            let message = match error.kind() {
                std::io::ErrorKind::NotFound => "there is no log yet".to_owned(),
                _ => format!("the log cannot be read: {}: {error}", path.display()),
            };
            Refusal::new(ErrorCode::NotFound, message)
        })?;
    Ok(Response::new(body))
}

fn log_path(shared: &Shared, name: &str, query: &LogQuery) -> Result<PathBuf, Refusal> {
    let view = shared.controller.view(name)?;
    match query.target {
        LogTarget::Controller => Ok(shared.home.server_log()),
        LogTarget::LoadBalancer => Ok(proxy::ProxyPaths {
            home: shared.home.path().to_owned(),
        }
        .access_log(name)),
        LogTarget::Replica => {
            let replica_id = query
                .replica_id
                .ok_or_else(|| Refusal::invalid("say which replica: replica_id is missing"))?;
            let key = ReplicaKey {
                service: name.to_owned(),
                incarnation: view.state.incarnation.clone(),
                replica_id,
            };
            shared.controller.log_path(&key).ok_or_else(|| {
                let message = format!("Service '{name}' has no replica {replica_id} with a log.");
                Refusal::new(ErrorCode::NotFound, message)
            })
        }
    }
}

async fn shutdown(State(shared): Context) -> Json<Accepted> {
    shared.stop.cancel();
    Json(Accepted {
        message: "the server is shutting down".to_owned(),
    })
}

/// Runs work that reads or writes files beside the tasks that must not wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| {
            Err(Refusal::new(
                ErrorCode::Internal,
                format!("the request failed: {panic}"),
            ))
        })
}

/// Sixteen random hex digits.
fn incarnation() -> Result<String, Refusal> {
    let mut bytes = [0_u8; 8];
    let filled = std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    filled.map_err(|error| {
        Refusal::new(
            ErrorCode::Internal,
            format!("no randomness from /dev/urandom: {error}"),
        )
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
