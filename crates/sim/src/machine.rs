//! One replica's machine and app, as they really are.

use plan::observation::{Exit, Phase, Stage};
use plan::{Span, Timestamp};

use crate::random::Random;

/// What becomes of replicas of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Good,
    /// Answers so many seconds later than others.
    Slow(u32),
    /// Never gets beyond provisioning.
    Stuck,
    /// `setup` fails.
    SetupFails,
    /// `run` exits at once.
    Exits,
    /// Never passes a probe.
    NeverReady,
    /// Exits so many seconds after it first answered.
    Dies(u32),
    /// Passes a probe and fails the next.
    Flaps,
    /// The provider refuses it as the user's fault.
    Refused,
    /// There is no machine that it could have.
    NoRoom,
}

impl Behaviour {
    pub(crate) fn draw(random: &mut Random, may_deceive: bool) -> Self {
        match random.below(if may_deceive { 18 } else { 14 }) {
            0..5 => Self::Good,
            5 | 6 => Self::Slow(random.between(1, 20)),
            7 => Self::Stuck,
            8 => Self::SetupFails,
            9 => Self::Exits,
            10 | 11 => Self::NeverReady,
            12 => Self::Refused,
            13 => Self::NoRoom,
            14..17 => Self::Dies(random.between(1, 40)),
            _ => Self::Flaps,
        }
    }

    /// Whether it can serve for good.
    pub(crate) fn works(self) -> bool {
        matches!(self, Self::Good | Self::Slow(_))
    }

    /// Whether it never answers at all, wherever it is started. (What finds no room may well be restarted in place.)
    pub(crate) fn is_hopeless(self) -> bool {
        !self.works() && !matches!(self, Self::Dies(_) | Self::Flaps | Self::NoRoom)
    }
}

/// How a request or a probe fares at a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Good,
    /// At once, and not what was hoped for.
    Refused,
    /// None, for as long as one waits.
    Silent,
}

#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) behaviour: Behaviour,
    pub(crate) phase: Phase,
    began: Timestamp,
    starts_after: Span,
    answers_after: Span,
    pub(crate) stalled_until: Timestamp,
    pub(crate) unreachable_until: Timestamp,
    pub(crate) lies_until: Timestamp,
    lie: bool,
}

impl Machine {
    pub(crate) fn new(behaviour: Behaviour, now: Timestamp, random: &mut Random) -> Self {
        let starts_after = random.milliseconds(500, 4000);
        Self {
            behaviour,
            phase: Phase::Provisioning { detail: None },
            began: now,
            starts_after,
            answers_after: sum(starts_after, random.milliseconds(200, 3000)),
            stalled_until: Timestamp::default(),
            unreachable_until: Timestamp::default(),
            lies_until: Timestamp::default(),
            lie: false,
        }
    }

    /// Hangs in provisioning for that much longer.
    pub(crate) fn delay(&mut self, by: Span) {
        self.starts_after = sum(self.starts_after, by);
        self.answers_after = sum(self.answers_after, by);
    }

    /// Whether there is still something that runs or may come to run.
    pub(crate) fn is_up(&self) -> bool {
        !matches!(
            self.phase,
            Phase::Exited(_) | Phase::Lost { .. } | Phase::Absent
        )
    }

    /// Lets it get as far as it is by now.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        if !self.is_up() {
            return;
        }
        let age = now - self.began;
        let after = |seconds: u32| sum(self.answers_after, Span::from_seconds(f64::from(seconds)));
        self.phase = match self.behaviour {
            Behaviour::Stuck => Phase::Provisioning { detail: None },
            Behaviour::SetupFails if age >= self.starts_after => {
                exit(Stage::Setup, 1, "no such package", now)
            }
            Behaviour::Exits if age >= self.starts_after => {
                exit(Stage::Run, 3, "cannot import", now)
            }
            Behaviour::Dies(seconds) if age >= after(seconds) => {
                exit(Stage::Run, 9, "out of memory", now)
            }
            _ if age >= self.starts_after => Phase::Running {
                since: self.began + self.starts_after,
            },
            _ => Phase::Provisioning { detail: None },
        };
    }

    fn answers_after(&self) -> Option<Span> {
        let later = match self.behaviour {
            Behaviour::NeverReady => return None,
            Behaviour::Slow(seconds) => seconds,
            _ => 0,
        };
        Some(sum(
            self.answers_after,
            Span::from_seconds(f64::from(later)),
        ))
    }

    /// How it answers now. A probe of a liar changes what the next one sees.
    pub(crate) fn answer(&self, now: Timestamp) -> Answer {
        let running = matches!(self.phase, Phase::Running { .. });
        if running && (now < self.stalled_until || now < self.unreachable_until) {
            return Answer::Silent;
        }
        let good = self
            .answers_after()
            .is_some_and(|after| now - self.began >= after);
        if running && good {
            Answer::Good
        } else {
            Answer::Refused
        }
    }

    /// How it answers a probe.
    pub(crate) fn probed(&mut self, now: Timestamp) -> Answer {
        let truth = self.answer(now);
        let lies = now < self.lies_until || self.behaviour == Behaviour::Flaps;
        if truth != Answer::Good || !lies {
            return truth;
        }
        self.lie = !self.lie;
        if self.lie {
            Answer::Good
        } else {
            Answer::Refused
        }
    }

    /// The trouble that came from outside is over.
    pub(crate) fn heal(&mut self, now: Timestamp) {
        for until in [
            &mut self.stalled_until,
            &mut self.unreachable_until,
            &mut self.lies_until,
        ] {
            *until = (*until).min(now);
        }
    }
}

fn sum(one: Span, other: Span) -> Span {
    Span(one.0.saturating_add(other.0))
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
