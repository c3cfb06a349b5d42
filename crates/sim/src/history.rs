//! What happens in the world of one seed: what sort of world it is, what its user asks for and what strikes it, each at
//! its instant. All of it is drawn before the first step, but for what depends on the moment (which replica is struck).

use plan::event::Steering;
use plan::routing::Version;
use plan::{Span, Timestamp};
use spec::update::{CanaryStep, StepEnd};
use spec::{Amount, Canary, Surge, Update, UpdateMode, Verify};

use crate::fault::Fault;
use crate::machine::Behaviour;
use crate::random::Random;

/// When every world begins.
pub(crate) const START: Timestamp = Timestamp(1_700_000_000_000_000);

/// What may happen in a world, and so what may be asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temper {
    /// Bad versions, late messages, kills; no machine of a good version is harmed, and no user takes one away: its
    /// capacity must stand at every moment, and no request may be lost.
    Gentle,
    /// Machines are lost and cannot be had; every version is good: none may be blamed.
    Innocent,
    /// Everything at once.
    Wild,
}

/// Just before or just after a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    Before(u32),
    After(u32),
}

/// A world.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) temper: Temper,
    /// What the versions are made of. The first is that of the first version.
    pub(crate) contents: Vec<Behaviour>,
    pub(crate) first: Wish,
    pub(crate) autoscales: bool,
    pub(crate) requests_per_minute: u32,
    /// Between two ticks of the controller.
    pub(crate) tick: Span,
    /// Time that a message to or from the proxy takes, at most, in milliseconds.
    pub(crate) link_milliseconds: u32,
    pub(crate) deaths: Vec<Death>,
    pub(crate) deeds: Vec<(Timestamp, Deed)>,
    pub(crate) faults_end_at: Timestamp,
}

/// What is done, by whomever.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Update(Box<Wish>),
    Steer(Steering),
    Rollback(Option<Version>),
    EndOne { now: bool, purge: bool },
    Strike(Fault),
}

/// A version that somebody wants.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) content: usize,
    pub(crate) replicas: u32,
    pub(crate) mode: UpdateMode,
    pub(crate) wrong_probe: bool,
    pub(crate) update: Update,
}

impl History {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let temper = match random.below(10) {
            0..4 => Temper::Gentle,
            4..6 => Temper::Innocent,
            _ => Temper::Wild,
        };
        let contents = contents(&mut random, temper);
        let replicas = random.between(1, 4);
        let whole = random.percent(35).then_some(UpdateMode::BlueGreen);
        let mut wishes = Wishes {
            temper,
            replicas,
            whole,
            contents: contents.len(),
        };
        let mut first = wishes.draw(&mut random);
        first.content = 0;
        first.wrong_probe = false;
        first.replicas = replicas;
        let seconds = random.between(60, 240);
        let faults_end_at = START + Span::from_seconds(f64::from(seconds));
        let deeds = deeds(&mut random, &mut wishes, seconds);
        Self {
            temper,
            contents,
            first,
            autoscales: temper == Temper::Wild && random.percent(20),
            requests_per_minute: random.pick(&[0, 6, 20, 40]).unwrap_or(0),
            tick: Span(
                random
                    .pick(&[500_000, 1_000_000, 1_000_000, 2_000_000])
                    .unwrap_or(0),
            ),
            link_milliseconds: random.pick(&[2, 30, 300, 2000]).unwrap_or(2),
            deaths: deaths(&mut random),
            deeds,
            faults_end_at,
        }
    }
}

fn contents(random: &mut Random, temper: Temper) -> Vec<Behaviour> {
    let draw = |random: &mut Random| match temper {
        Temper::Innocent => Behaviour::Good,
        Temper::Gentle => Behaviour::draw(random, false),
        Temper::Wild => Behaviour::draw(random, true),
    };
    let first_is_good = temper != Temper::Wild || random.percent(80);
    let first = if first_is_good {
        Behaviour::Good
    } else {
        draw(random)
    };
    let others = (0..4).map(|_| draw(random));
    std::iter::once(first)
        .chain(others.collect::<Vec<_>>())
        .collect()
}

struct Wishes {
    temper: Temper,
    replicas: u32,
    /// The one mode of all updates, if there is only one.
    whole: Option<UpdateMode>,
    contents: usize,
}

impl Wishes {
    fn draw(&mut self, random: &mut Random) -> Wish {
        let mode = self.whole.or_else(|| random.pick(&UpdateMode::ALL));
        let mode = mode.unwrap_or_default();
        // In a gentle world the number of replicas is a constant, so that the floor is one too.
        let replicas = match self.temper {
            Temper::Gentle => self.replicas,
            Temper::Innocent => random.between(1, 4),
            Temper::Wild => random.between(0, 5),
        };
        let contents = u32::try_from(self.contents).unwrap_or(u32::MAX);
        Wish {
            content: random.below(contents) as usize,
            replicas,
            mode,
            wrong_probe: self.temper != Temper::Innocent && random.percent(6),
            update: update(random, mode),
        }
    }
}

fn update(random: &mut Random, mode: UpdateMode) -> Update {
    let (surge, unavailable) = match random.below(10) {
        0..5 => (Surge::Amount(Amount::Percent(100.0)), Amount::Count(0)),
        5 => (Surge::Amount(Amount::Count(1)), Amount::Count(0)),
        6 => (Surge::Amount(Amount::Count(0)), Amount::Count(1)),
        7 => (Surge::Amount(Amount::Percent(50.0)), Amount::Percent(50.0)),
        _ => (Surge::Auto, Amount::Count(0)),
    };
    let in_place = mode == UpdateMode::InPlace;
    let (max_surge, max_unavailable) = match in_place {
        true => (Surge::Amount(Amount::Count(0)), Amount::Count(1)),
        false => (surge, unavailable),
    };
    let seconds =
        |random: &mut Random, choices: &[u32]| f64::from(random.pick(choices).unwrap_or_default());
    Update {
        mode: Some(mode),
        max_surge,
        max_unavailable,
        min_healthy_seconds: seconds(random, &[0, 3, 10]),
        progress_deadline_seconds: Some(seconds(random, &[60, 90])),
        drain_timeout_seconds: seconds(random, &[10, 30]),
        auto_rollback: random.percent(85),
        undo_window_seconds: seconds(random, &[0, 0, 0, 20, 60]),
        canary: (mode == UpdateMode::Canary).then(|| canary(random)),
        verify: random.percent(15).then(|| Verify {
            run: "check".to_owned(),
            timeout_seconds: 10.0,
        }),
    }
}

fn canary(random: &mut Random) -> Canary {
    let count = random.between(1, 3);
    let step = |number: u32, random: &mut Random| CanaryStep {
        weight_percent: f64::from(number * 25 - 15),
        until: match random.percent(80) {
            true => StepEnd::Seconds(f64::from(random.between(0, 20))),
            false => StepEnd::Promoted,
        },
    };
    Canary {
        steps: (1..=count).map(|number| step(number, random)).collect(),
        ..Canary::default()
    }
}

fn deaths(random: &mut Random) -> Vec<Death> {
    let count = random.pick(&[0, 0, 1, 1, 2, 4]).unwrap_or(0);
    let mut draw = |_| {
        let commit = random.between(1, 120);
        match random.percent(50) {
            true => Death::Before(commit),
            false => Death::After(commit),
        }
    };
    (0..count).map(&mut draw).collect()
}

fn deeds(random: &mut Random, wishes: &mut Wishes, seconds: u32) -> Vec<(Timestamp, Deed)> {
    let mut deeds = Vec::new();
    // Some worlds begin in peace, so that the first version stands before anything happens.
    let peace = if wishes.temper == Temper::Gentle {
        30
    } else {
        random.between(0, 30)
    };
    let span = seconds.saturating_sub(peace).max(1);
    let at = |random: &mut Random| {
        let milliseconds = random.between(peace * 1000, (peace + span) * 1000);
        START + Span(i64::from(milliseconds) * 1000)
    };
    for _ in 0..random.between(1, 4) {
        let wish = Box::new(wishes.draw(random));
        deeds.push((at(random), Deed::Update(wish)));
    }
    for _ in 0..random.between(0, 4) {
        let deed = match random.below(6) {
            0 => Deed::Steer(Steering::Pause),
            1 => Deed::Steer(Steering::Resume),
            2 => Deed::Steer(Steering::Promote),
            3 => Deed::Steer(Steering::Abort),
            4 => Deed::Rollback(None),
            _ => Deed::Rollback(Some(random.between(1, 3))),
        };
        deeds.push((at(random), deed));
    }
    let faults: &[Fault] = match wishes.temper {
        Temper::Gentle => &Fault::GENTLE,
        Temper::Innocent => &Fault::INNOCENT,
        Temper::Wild => &Fault::ALL,
    };
    for _ in 0..random.between(0, 10) {
        if let Some(fault) = random.pick(faults) {
            deeds.push((at(random), Deed::Strike(fault)));
        }
    }
    if wishes.temper != Temper::Gentle && random.percent(30) {
        let (now, purge) = (random.percent(50), random.percent(20));
        deeds.push((at(random), Deed::EndOne { now, purge }));
    }
    deeds.sort_by_key(|(at, _)| *at);
    deeds
}
