//! The suite that every provider must pass, in each mode.

use std::time::Duration;

use provider::LaunchRequest;
use provider::contract::{Fixture, violations};

use crate::bench::{Bench, Mode, PATIENCE};

impl Fixture for Bench {
    fn request(&self) -> LaunchRequest {
        LaunchRequest {
            run: None,
            ..Self::request(self, "")
        }
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

pub(crate) fn isolated() {
    passes(Mode::Isolated);
}

pub(crate) fn shared() {
    passes(Mode::Shared);
}

pub(crate) fn without_namespaces() {
    passes(Mode::WithoutNamespaces);
}

fn passes(mode: Mode) {
    if mode.is_possible() {
        let bench = Bench::new(mode);
        let broken = bench.block_on(violations(&bench.provider, &bench));
        assert!(broken.is_empty(), "{broken:#?}");
    }
}
