//! API keys are one commit with the routing table that names them: after a crash both are there or neither is, and the
//! proxy is told.

mod support;

use std::sync::Arc;
use std::time::Duration;

use controller::{Controller, ControllerError, now};
use plan::Timestamp;
use plan::rollout::UpdateMode;
use plan::routing::ApiKeyHash;
use spec::Auth;
use store::{KeyChange, KeyRecord, Store};
use support::{Death, MortalStore, World, version};

const DEADLINE: Duration = Duration::from_secs(60);

fn key(id: &str) -> KeyRecord {
    KeyRecord {
        id: id.to_owned(),
        name: "ci".to_owned(),
        hash: ApiKeyHash(format!("hash of {id}")),
        created_at: Timestamp(now().0),
        revoked_at: None,
    }
}

fn revoked(id: &str) -> KeyChange {
    KeyChange::Revoked {
        id: id.to_owned(),
        at: now(),
    }
}

fn hashes(ids: &[&str]) -> Option<Vec<ApiKeyHash>> {
    let hash = |id: &&str| ApiKeyHash(format!("hash of {id}"));
    Some(ids.iter().map(hash).collect())
}

async fn up(world: &World, store: &Arc<MortalStore>) -> Controller {
    let controller = world.controller(Arc::clone(store) as Arc<dyn Store>).await;
    let listen = "127.0.0.1:30001".parse().unwrap();
    let first = version("one", 1, UpdateMode::Rolling);
    let incarnation = "00000000000000aa".to_owned();
    let _ = controller.create("web", incarnation, listen, first).await;
    controller
}

/// What the proxy has in force once it has acknowledged the newest table.
async fn in_force(world: &World, controller: &Controller) -> Option<Vec<ApiKeyHash>> {
    let wait = async {
        let mut view = controller.view("web").unwrap();
        while view.state.live.acknowledged < view.state.generation() {
            view = controller.moved("web", &view.state).await.unwrap();
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap();
    world.tables.lock().unwrap()["web"].api_keys.clone()
}

async fn ids(controller: &Controller) -> Vec<String> {
    let keys = controller.keys("web").await.unwrap();
    keys.into_iter().map(|key| key.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_reach_the_proxy_and_outlive_the_controller() {
    let world = World::new().await;
    let store = MortalStore::open(&world.database(), Death::Never);
    let controller = up(&world, &store).await;
    assert_eq!(in_force(&world, &controller).await, None);
    for id in ["k-1", "k-2"] {
        let change = KeyChange::Added(key(id));
        controller.change_keys("web", change).await.unwrap();
    }
    assert_eq!(in_force(&world, &controller).await, hashes(&["k-1", "k-2"]));
    controller.change_keys("web", revoked("k-1")).await.unwrap();
    assert_eq!(in_force(&world, &controller).await, hashes(&["k-2"]));
    controller.shutdown().await;
    // Another process, and a proxy that has forgotten everything.
    world.tables.lock().unwrap().clear();
    let store = MortalStore::open(&world.database(), Death::Never);
    let controller = up(&world, &store).await;
    assert_eq!(in_force(&world, &controller).await, hashes(&["k-2"]));
    assert_eq!(ids(&controller).await, ["k-1", "k-2"]);
    controller.change_keys("web", revoked("k-2")).await.unwrap();
    assert_eq!(in_force(&world, &controller).await, hashes(&[]));
    controller
        .change_keys("web", KeyChange::Forgotten)
        .await
        .unwrap();
    assert_eq!(in_force(&world, &controller).await, None);
    controller.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_stored_is_not_told_to_the_proxy() {
    let world = World::new().await;
    let store = MortalStore::open(&world.database(), Death::Never);
    let controller = up(&world, &store).await;
    let _ = in_force(&world, &controller).await;
    controller.shutdown().await;
    // Every write is refused from here on.
    let full = Death::DiskFull {
        from: 1,
        refused: u32::MAX - 1,
    };
    let store = MortalStore::open(&world.database(), full);
    let controller = up(&world, &store).await;
    let refused = controller
        .change_keys("web", KeyChange::Added(key("k-1")))
        .await;
    assert!(
        matches!(refused, Err(ControllerError::Store(_))),
        "{refused:?}"
    );
    assert_eq!(controller.view("web").unwrap().state.api_keys, None);
    assert!(ids(&controller).await.is_empty());
    assert_eq!(world.tables.lock().unwrap()["web"].api_keys, None);
    controller.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_does_not_allow_is_refused() {
    let world = World::new().await;
    let store = MortalStore::open(&world.database(), Death::Never);
    let controller = up(&world, &store).await;
    let unknown = controller.change_keys("web", revoked("k-1")).await;
    assert!(matches!(unknown, Err(ControllerError::NoSuchKey { .. })));
    let unknown = controller.change_keys("no", revoked("k-1")).await;
    assert!(matches!(unknown, Err(ControllerError::NoSuchService(_))));
    assert!(controller.keys("no").await.is_err());
    let add = || KeyChange::Added(key("k-1"));
    controller.change_keys("web", add()).await.unwrap();
    let twice = controller.change_keys("web", add()).await;
    assert!(matches!(twice, Err(ControllerError::KeyIdTaken(_))));
    // The YAML asks for keys: nobody may take that back but another YAML.
    let mut asking = version("one", 1, UpdateMode::Rolling);
    asking.service.auth = Auth::ApiKey;
    controller.update("web", asking).await.unwrap();
    let forgotten = controller.change_keys("web", KeyChange::Forgotten).await;
    let error = forgotten.unwrap_err().to_string();
    assert!(error.contains("service.auth: api_key"), "{error}");
    assert_eq!(ids(&controller).await, ["k-1"]);
    assert_eq!(in_force(&world, &controller).await, hashes(&["k-1"]));
    controller.down("web", true, false).await.unwrap();
    let late = controller.change_keys("web", revoked("k-1")).await;
    assert!(
        matches!(
            late,
            Err(ControllerError::Conflict(_) | ControllerError::NoSuchService(_))
                | Err(ControllerError::Ending)
        ),
        "{late:?}"
    );
    controller.shutdown().await;
}
