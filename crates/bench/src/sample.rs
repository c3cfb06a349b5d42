//! One measurement of one peer: the load, and the processor time that it took.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use crate::backends::Backends;
use crate::peer::Peer;
use crate::row::Load;
use crate::usage::{MachineTimes, MachineUsage, ProcessTimes, Usage, own_time};
use crate::{load, streams, wrk};

/// Share of the processors that others may take before a sample is left out.
const FOREIGN_LIMIT: f64 = 0.03;

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Requests answered well; events, where streams were measured.
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) elapsed: Duration,
    pub(crate) p50_ns: Option<u64>,
    pub(crate) p99_ns: Option<u64>,
    /// Of all processes of the peer.
    pub(crate) proxy: Usage,
    /// Of the whole machine.
    pub(crate) machine: Duration,
    /// Share of the processors that was taken by processes that are no part of the run, 0 to 1.
    pub(crate) foreign: f64,
    pub(crate) streams: Option<StreamFigures>,
}

/// What only streams have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StreamFigures {
    pub(crate) first_p50_ns: Option<u64>,
    pub(crate) first_p99_ns: Option<u64>,
    /// Reads that brought events.
    pub(crate) reads: u64,
}

impl Sample {
    pub(crate) fn is_clean(&self) -> bool {
        self.foreign <= FOREIGN_LIMIT
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// Microseconds of processor time of the peer per request.
    pub(crate) fn proxy_us(&self) -> f64 {
        self.per_request_us(self.proxy.total())
    }

    pub(crate) fn user_us(&self) -> f64 {
        self.per_request_us(self.proxy.user)
    }

    pub(crate) fn system_us(&self) -> f64 {
        self.per_request_us(self.proxy.system)
    }

    pub(crate) fn machine_us(&self) -> f64 {
        self.per_request_us(self.machine)
    }

    fn per_request_us(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / self.requests as f64
    }
}

/// Who makes the load of closed loops.
#[derive(Clone, Debug)]
pub(crate) struct Generator {
    pub(crate) wrk: bool,
    /// For the files of wrk.
    pub(crate) directory: PathBuf,
}

impl Generator {
    /// Measures `peer` once.
    ///
    /// # Errors
    ///
    /// When the peer has ended or does not answer at all, and when the run is interrupted.
    pub(crate) fn measure(
        &self,
        peer: &mut Peer,
        backends: &Backends,
        load: &Load,
        duration: Duration,
    ) -> anyhow::Result<Sample> {
        peer.check_alive()?;
        let before = Snapshot::take(peer, backends);
        let mut sample = self.load(peer, load, duration)?;
        let after = Snapshot::take(peer, backends);
        peer.check_alive()?;
        after.charge(&before, &mut sample);
        Ok(sample)
    }

    fn load(&self, peer: &Peer, load: &Load, duration: Duration) -> anyhow::Result<Sample> {
        let addresses = &peer.addresses;
        match load {
            Load::Streams(plan) => streams::run(addresses.streams, *plan).map(of_streams),
            Load::Open { request, plan } => {
                load::run(addresses.plain, request, *plan).map(of_requests)
            }
            Load::Closed {
                request,
                connections,
                tls,
            } => {
                let (scheme, address) = if *tls {
                    let address = addresses.tls.clone().map_err(anyhow::Error::msg)?;
                    ("https", address)
                } else {
                    ("http", addresses.plain)
                };
                let plan = load::Plan {
                    connections: *connections,
                    duration,
                    rate: None,
                };
                if !self.wrk {
                    return load::run(address, request, plan).map(of_requests);
                }
                let url = format!("{scheme}://{address}");
                let seconds = duration.as_secs().max(1);
                wrk::run(&url, request, *connections, seconds, &self.directory)
                    .map(of_requests)
                    .with_context(|| format!("wrk with {}", peer.kind))
            }
        }
    }
}

fn of_requests(outcome: load::Outcome) -> Sample {
    Sample {
        requests: outcome.requests,
        errors: outcome.errors,
        elapsed: outcome.elapsed,
        p50_ns: outcome.p50_ns,
        p99_ns: outcome.p99_ns,
        ..Sample::default()
    }
}

fn of_streams(outcome: streams::Outcome) -> Sample {
    Sample {
        requests: outcome.events,
        errors: outcome.errors,
        elapsed: outcome.elapsed,
        p50_ns: outcome.p50_ns,
        p99_ns: outcome.p99_ns,
        streams: Some(StreamFigures {
            first_p50_ns: outcome.first_p50_ns,
            first_p99_ns: outcome.first_p99_ns,
            reads: outcome.reads,
        }),
        ..Sample::default()
    }
}

/// Where all processor times stand.
struct Snapshot {
    machine: MachineTimes,
    proxy: ProcessTimes,
    backends: ProcessTimes,
    own: Duration,
}

impl Snapshot {
    fn take(peer: &Peer, backends: &Backends) -> Self {
        Self {
            machine: MachineTimes::now(),
            proxy: ProcessTimes::of(peer.processes()),
            backends: ProcessTimes::of(backends.processes()),
            own: own_time(),
        }
    }

    fn charge(&self, before: &Self, sample: &mut Sample) {
        let machine = self.machine.since(&before.machine);
        sample.proxy = self.proxy.since(&before.proxy);
        sample.machine = machine.busy;
        let backends = self.backends.since(&before.backends).total();
        let own = self.own.saturating_sub(before.own);
        sample.foreign = foreign(machine, sample.proxy.total() + backends + own);
    }
}

/// Share of the processors that others took.
fn foreign(machine: MachineUsage, ours: Duration) -> f64 {
    if machine.available.is_zero() {
        return 0.0;
    }
    let others = machine.busy.saturating_sub(ours);
    others.as_secs_f64() / machine.available.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_per_request() {
        let sample = Sample {
            requests: 100_000,
            elapsed: Duration::from_secs(2),
            proxy: Usage {
                user: Duration::from_millis(200),
                system: Duration::from_millis(700),
            },
            machine: Duration::from_secs(3),
            ..Sample::default()
        };
        assert!((sample.per_second() - 50_000.0).abs() < 1e-6);
        assert!((sample.user_us() - 2.0).abs() < 1e-6);
        assert!((sample.system_us() - 7.0).abs() < 1e-6);
        assert!((sample.proxy_us() - 9.0).abs() < 1e-6);
        assert!((sample.machine_us() - 30.0).abs() < 1e-6);
    }

    #[test]
    fn what_nobody_of_the_run_spent_is_foreign() {
        let seconds = Duration::from_secs_f64;
        let machine = MachineUsage {
            available: seconds(8.0),
            busy: seconds(6.0),
        };
        assert!((foreign(machine, seconds(5.6)) - 0.05).abs() < 1e-9);
        // Clocks of different grain may add up to more than the machine has.
        assert!(foreign(machine, seconds(6.1)).abs() < 1e-9);
        let sample = |foreign| Sample {
            foreign,
            ..Sample::default()
        };
        assert!(sample(0.03).is_clean() && !sample(0.031).is_clean());
    }
}
