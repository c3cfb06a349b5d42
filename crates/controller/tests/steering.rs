//! Users steer updates, verify replicas and restart them in place: from the call to what the machines saw, and across
//! a restart of the controller.

mod support;

use std::sync::Arc;
use std::time::Duration;

use controller::{Controller, ControllerError, View};
use plan::Steering;
use plan::rollout::{Outcome, UpdateMode};
use spec::{Secret, Verify};
use store::Store;
use support::{Death, MortalStore, World, version};

/// Far more than anything here takes; only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(60);

async fn until(controller: &Controller, wanted: impl Fn(&View) -> bool) -> View {
    let work = async {
        loop {
            let view = controller.view("web").unwrap();
            if wanted(&view) {
                return view;
            }
            let _ = controller
                .changed("web", view.revision, Duration::from_millis(200))
                .await;
        }
    };
    tokio::time::timeout(DEADLINE, work).await.unwrap()
}

fn outcome(view: &View) -> Option<&Outcome> {
    view.state.rollout.as_ref()?.outcome.as_ref()
}

/// A service whose first version serves with two replicas.
async fn up(world: &World, store: &Arc<MortalStore>) -> Controller {
    let controller = world.controller(Arc::clone(store) as Arc<dyn Store>).await;
    let listen = "127.0.0.1:30001".parse().unwrap();
    let first = version("one", 2, UpdateMode::Rolling);
    controller
        .create("web", "00000000000000ac".to_owned(), listen, first)
        .await
        .unwrap();
    until(&controller, |view| view.state.trusted == Some(1)).await;
    controller
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steering_says_what_it_does_does_it_once_and_survives_a_restart() {
    let world = World::new().await;
    let store = MortalStore::open(&world.database(), Death::Never);
    let controller = up(&world, &store).await;
    let steer =
        |controller: Controller, what| async move { controller.steer("web", what, None).await };
    let refused = steer(controller.clone(), Steering::Pause).await;
    assert!(matches!(refused, Err(ControllerError::Conflict(_))));

    let mut next = version("two", 2, UpdateMode::Rolling);
    // It waits for this for as long as the test takes.
    next.settings.verify = Some(Verify {
        run: "sleep 1000".to_owned(),
        timeout_seconds: 1000.0,
    });
    controller.update("web", next).await.unwrap();
    for changed in [true, false] {
        let answer = steer(controller.clone(), Steering::Pause).await.unwrap();
        assert_eq!(answer.changed, changed, "{}", answer.message);
    }
    controller.shutdown().await;

    let controller = world.controller(Arc::clone(&store) as Arc<dyn Store>).await;
    let answer = steer(controller.clone(), Steering::Pause).await.unwrap();
    assert!(!answer.changed, "{}", answer.message);
    for changed in [true, false] {
        let answer = steer(controller.clone(), Steering::Abort).await.unwrap();
        assert_eq!(answer.changed, changed, "{}", answer.message);
    }
    let view = until(&controller, |view| view.state.replicas.len() == 2).await;
    assert_eq!(view.state.desired, 1);
    assert!(matches!(
        outcome(&view),
        Some(Outcome::Aborted { back_to: 1, .. })
    ));
    assert_eq!(view.state.active_versions(), vec![1]);
    controller.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_does_not_verify_fails_and_its_secrets_stay_secret() {
    let world = World::new().await;
    let store = MortalStore::open(&world.database(), Death::Never);
    let controller = up(&world, &store).await;
    let mut next = version("two", 2, UpdateMode::Rolling);
    let secret = Secret::new("hunter2-hunter2".to_owned());
    next.task.secrets.insert("TOKEN".to_owned(), secret);
    next.settings.verify = Some(Verify {
        run: "echo asked $REPLICA_URL with hunter2-hunter2; exit 4".to_owned(),
        timeout_seconds: 60.0,
    });
    controller.update("web", next).await.unwrap();
    let view = until(&controller, |view| outcome(view).is_some()).await;
    let Some(Outcome::Failed { reason, .. }) = outcome(&view) else {
        panic!("{:?}", outcome(&view));
    };
    let url = format!("http://{}", world.app);
    let expected = format!("it exited with code 4; the end of its output: asked {url} with ***");
    assert!(reason.ends_with(&expected), "{reason}");
    assert_eq!(view.state.active_versions(), vec![1]);
    controller.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_place_restarts_each_replica_once_and_rolls_back_the_same_way() {
    let world = World::new().await;
    let store = MortalStore::open(&world.database(), Death::Never);
    let controller = up(&world, &store).await;
    let next = version("two", 2, UpdateMode::InPlace);
    controller.update("web", next).await.unwrap();
    let view = until(&controller, |view| outcome(view).is_some()).await;
    assert!(matches!(outcome(&view), Some(Outcome::Succeeded { .. })));
    let answer = controller.rollback("web", None, None).await.unwrap();
    assert!(answer.changed, "{}", answer.message);
    let view = until(&controller, |view| outcome(view).is_some()).await;
    assert_eq!(view.state.active_versions(), vec![1]);
    assert_eq!(view.state.newest(), 2, "versions are not renumbered");
    let replicas: Vec<u32> = view.state.replicas.keys().copied().collect();
    assert_eq!(replicas, vec![1, 2], "no machine more");
    controller.shutdown().await;
    let machines = world.machines();
    let runs: Vec<&str> = machines
        .restarted
        .iter()
        .map(|(_, run)| run.as_str())
        .collect();
    assert_eq!(runs, ["two", "two", "one", "one"]);
    assert!(machines.ended_while_routed.is_empty());
    assert_eq!(machines.started.len(), 2);
}
