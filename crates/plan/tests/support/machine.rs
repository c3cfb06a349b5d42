//! One replica's machine and app, as far as a provider and a probe can see them.

use plan::Timestamp;
use plan::observation::{Exit, Phase, Stage};

/// Seconds from launch to the start of the app, and to its first answer.
const STARTS_AFTER: f64 = 2.0;
const ANSWERS_AFTER: f64 = 3.0;

/// What becomes of replicas of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Good,
    /// Becomes ready so many seconds later than others.
    Slow(i64),
    /// Never gets beyond provisioning.
    Stuck,
    /// `setup` fails.
    SetupFails,
    /// `run` exits at once.
    Exits,
    /// Never passes a probe.
    NeverReady,
    /// Exits so many seconds after it became ready.
    Dies(i64),
    /// The provider refuses it as the user's fault.
    Refused,
    /// There is no room.
    NoRoom,
}

#[derive(Clone, Debug)]
pub(crate) struct Machine {
    behaviour: Behaviour,
    launched: Timestamp,
    pub(crate) phase: Phase,
    pub(crate) mute: bool,
}

impl Machine {
    pub(crate) fn new(behaviour: Behaviour, now: Timestamp) -> Self {
        Self {
            behaviour,
            launched: now,
            phase: Phase::Provisioning { detail: None },
            mute: false,
        }
    }

    fn age(&self, now: Timestamp) -> f64 {
        (now - self.launched).as_seconds()
    }

    pub(crate) fn advance(&mut self, now: Timestamp) {
        if !matches!(
            self.phase,
            Phase::Provisioning { .. } | Phase::Running { .. }
        ) {
            return;
        }
        let age = self.age(now);
        self.phase = match self.behaviour {
            Behaviour::SetupFails if age >= 1.0 => exit(Stage::Setup, 1, "no such package", now),
            Behaviour::Exits if age >= STARTS_AFTER => exit(Stage::Run, 3, "cannot import", now),
            Behaviour::Dies(after) if age >= ANSWERS_AFTER + seconds(after) => {
                exit(Stage::Run, 9, "out of memory", now)
            }
            Behaviour::Stuck => Phase::Provisioning { detail: None },
            _ if age >= STARTS_AFTER => Phase::Running {
                since: self.launched,
            },
            _ => Phase::Provisioning { detail: None },
        };
    }

    /// Whether it answers the probe that it knows.
    pub(crate) fn answers(&self, now: Timestamp) -> bool {
        let later = match self.behaviour {
            Behaviour::Slow(later) => seconds(later),
            Behaviour::NeverReady => f64::INFINITY,
            _ => 0.0,
        };
        !self.mute && self.age(now) >= ANSWERS_AFTER + later
    }
}

fn seconds(whole: i64) -> f64 {
    plan::Span(whole * 1_000_000).as_seconds()
}

pub(crate) fn exit(stage: Stage, code: i32, line: &str, at: Timestamp) -> Phase {
    Phase::Exited(Exit {
        stage,
        code: Some(code),
        signal: None,
        at,
        log_tail: vec![line.to_owned()],
        hint: None,
    })
}
