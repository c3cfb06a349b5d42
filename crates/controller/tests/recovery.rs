//! Promise 3: the controller is killed at every commit of a service's life, just before and just after it, and the
//! next one resumes: no replica leaked, started twice or forgotten, no version lost, no rollout reset, nothing ended
//! while traffic could reach it.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use controller::{Controller, View};
use plan::rollout::{Outcome, UpdateMode};
use plan::status::ReplicaStatus;
use support::{Death, MortalStore, World, version};

/// Far more than a run takes; only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(60);

async fn until(
    controller: &Controller,
    store: &MortalStore,
    wanted: impl Fn(&View) -> bool,
) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE {
        if store.is_dead() {
            return false;
        }
        match controller.view("web") {
            Ok(view) if wanted(&view) => return true,
            Ok(view) => {
                let _ = controller
                    .changed("web", view.revision, Duration::from_millis(200))
                    .await;
            }
            Err(_) => return false,
        }
    }
    let view = controller.view("web").unwrap();
    panic!("no progress: {:#?}", view.state);
}

fn ready(view: &View, version: u32) -> usize {
    let replicas = view.state.replicas.values();
    replicas
        .filter(|r| r.version == version && r.status == ReplicaStatus::Ready)
        .count()
}

/// A life from up over one update to the end, as far as it gets before the store dies.
async fn live(world: &World, store: &Arc<MortalStore>, mode: UpdateMode) {
    let controller = world
        .controller(Arc::clone(store) as Arc<dyn store::Store>)
        .await;
    resume(&controller, store, mode).await;
    // As abrupt as can be had within one process: a dead store lets nothing more through.
    controller.shutdown().await;
}

async fn resume(controller: &Controller, store: &MortalStore, mode: UpdateMode) {
    let listen = "127.0.0.1:30001".parse().unwrap();
    if controller.view("web").is_err() {
        let first = version("one", 2, mode);
        if controller
            .create("web", "00000000000000aa".to_owned(), listen, first)
            .await
            .is_err()
        {
            return;
        }
    }
    if controller
        .view("web")
        .is_ok_and(|view| view.state.newest() == 1)
    {
        if !until(controller, store, |view| ready(view, 1) == 2).await {
            return;
        }
        if controller
            .update("web", version("two", 3, mode))
            .await
            .is_err()
        {
            return;
        }
    }
    until(controller, store, |view| {
        let done = view.state.rollout.as_ref().map(|rollout| &rollout.outcome);
        matches!(done, Some(Some(Outcome::Succeeded { .. })))
            && ready(view, 2) == 3
            && view.state.replicas.len() == 3
    })
    .await;
}

async fn dies_and_resumes(death: Death, mode: UpdateMode) -> u32 {
    let world = World::new().await;
    let first = MortalStore::open(&world.database(), death);
    live(&world, &first, mode).await;
    let commits = first.commits();
    drop(first);
    let second = MortalStore::open(&world.database(), Death::Never);
    let controller = world
        .controller(Arc::clone(&second) as Arc<dyn store::Store>)
        .await;
    resume(&controller, &second, mode).await;

    let view = controller.view("web").unwrap();
    assert_eq!(
        view.state.newest(),
        2,
        "{death:?}: a version was lost or renumbered"
    );
    assert_eq!(view.state.trusted, Some(2), "{death:?}");
    let held: Vec<u32> = world
        .machines()
        .held
        .keys()
        .map(|key| key.replica_id)
        .collect();
    let known: Vec<u32> = view.state.replicas.keys().copied().collect();
    assert_eq!(held, known, "{death:?}: leaked or forgotten replicas");
    assert_eq!(known.len(), 3, "{death:?}");
    for (key, times) in &world.machines().started {
        assert_eq!(*times, 1, "{death:?}: {key} was started {times} times");
    }
    assert_eq!(
        world.machines().started.len(),
        5,
        "{death:?}: more replicas than two and three: {:#?}",
        store::Store::events(&*second, "web", 0, 1000)
    );
    assert!(
        world.machines().ended_while_routed.is_empty(),
        "{death:?}: ended while routed"
    );

    // And it can still be taken down, to the last trace.
    controller.down("web", false, false).await.unwrap();
    let begun = Instant::now();
    while controller.view("web").is_ok() {
        assert!(begun.elapsed() < DEADLINE, "{death:?}: it does not go");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        world.machines().held.is_empty(),
        "{death:?}: replicas are left"
    );
    assert!(
        world.tables.lock().unwrap().is_empty(),
        "{death:?}: the endpoint is left"
    );
    controller.shutdown().await;
    commits
}

async fn every_death(mode: UpdateMode) {
    let commits = dies_and_resumes(Death::Never, mode).await;
    assert!(
        commits > 10,
        "{commits} commits are too few to mean anything"
    );
    let mut deaths = Vec::new();
    for number in 1..=commits {
        deaths.extend([Death::Before(number), Death::After(number)]);
    }
    println!(
        "killed at {} points of {commits} commits ({})",
        deaths.len(),
        mode.as_str()
    );
    // A handful at a time: each mostly waits.
    let queue = Arc::new(tokio::sync::Mutex::new(deaths));
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let queue = Arc::clone(&queue);
            tokio::spawn(async move {
                loop {
                    let next = queue.lock().await.pop();
                    let Some(death) = next else { break };
                    dies_and_resumes(death, mode).await;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_survives_a_kill_at_every_commit() {
    every_death(UpdateMode::Rolling).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blue_green_survives_a_kill_at_every_commit() {
    every_death(UpdateMode::BlueGreen).await;
}

/// While the disk is full a user is told so at once and nothing half-done stays; then everything goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_outlived() {
    let world = World::new().await;
    let store = MortalStore::open(
        &world.database(),
        Death::DiskFull {
            from: 2,
            refused: 4,
        },
    );
    let controller = world
        .controller(Arc::clone(&store) as Arc<dyn store::Store>)
        .await;
    let listen = "127.0.0.1:30001".parse().unwrap();
    let first = version("one", 2, UpdateMode::Rolling);
    controller
        .create("web", "00000000000000ab".to_owned(), listen, first)
        .await
        .unwrap();
    let refused = controller
        .update("web", version("two", 2, UpdateMode::Rolling))
        .await;
    let told = refused.unwrap_err().to_string();
    assert!(told.contains("dead"), "{told}");
    assert_eq!(controller.view("web").unwrap().state.newest(), 1);
    assert!(until(&controller, &store, |view| ready(view, 1) == 2).await);
    assert!(store.commits() > 6, "the disk was never full");
    for (key, times) in &world.machines().started {
        assert_eq!(*times, 1, "{key} was started {times} times");
    }
    controller.shutdown().await;
}
