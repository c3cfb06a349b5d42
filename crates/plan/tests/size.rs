//! How long a step takes on a large service. Run by hand:
//! `cargo test -p plan --release --test size -- --ignored --nocapture`.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a measurement reads the clock; the planner does not"
)]

mod support;

use std::time::Instant;

use plan::rollout::UpdateMode;
use plan::{Event, step};
use spec::ReplicaPolicy;
use support::{Behaviour, World, spec};

#[test]
#[ignore = "a measurement, not a check"]
fn a_thousand_replicas() {
    let mut world = World::up(ReplicaPolicy::fixed(1000), "a", Behaviour::Good);
    for _ in 0..4 {
        world.pass(5.0);
    }
    world.update(
        "b",
        spec(ReplicaPolicy::fixed(1000)),
        UpdateMode::Rolling,
        Behaviour::Good,
    );
    world.pass(5.0);
    assert_eq!(world.serving(), 2000);
    let started = Instant::now();
    for _ in 0..100 {
        let _ = step(&world.state, world.now, &Event::Tick);
    }
    println!(
        "a tick with 2000 live replicas: {:?}",
        started.elapsed() / 100
    );
    let later = world.now + plan::Span::from_seconds(60.0);
    let started = Instant::now();
    let taken = step(&world.state, later, &Event::Tick);
    println!("the step that replaces 1000: {:?}", started.elapsed());
    assert!(taken.state.rollout_in_progress().is_none());
}
