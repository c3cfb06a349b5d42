//! What a large table costs: our proxy beside itself.

use crate::backends::Backends;
use crate::interrupt;
use crate::peer::{Peer, PeerKind, Setup};
use crate::row::Row;
use crate::run::Bench;
use crate::series::Series;

/// Our proxy with little and with much to know.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    /// `replicas` or `services`.
    pub(crate) of: &'static str,
    /// By number of replicas or services; the first is what the others are compared with.
    pub(crate) series: Series<u16>,
}

/// 2 and 1,000 replicas, each with an address of its own.
pub(crate) fn replicas(bench: &Bench) -> anyhow::Result<Scale> {
    let backends = Backends::with_addresses(1000)?;
    // One of each process.
    let half = backends.addresses.len() / 2;
    let few = [backends.addresses[0], backends.addresses[half]];
    let setups = [
        (2, Setup::new(&few)),
        (1000, Setup::new(&backends.addresses)),
    ];
    measure(bench, &backends, "replicas", setups)
}

/// 1 and 100 services, each with two replicas; the first is given the load.
pub(crate) fn services(bench: &Bench) -> anyhow::Result<Scale> {
    let mut many = Setup::new(&bench.backends.addresses);
    many.services = 100;
    let setups = [(1, Setup::new(&bench.backends.addresses)), (100, many)];
    measure(bench, &bench.backends, "services", setups)
}

fn measure(
    bench: &Bench,
    backends: &Backends,
    of: &'static str,
    setups: [(u16, Setup<'_>); 2],
) -> anyhow::Result<Scale> {
    let mut proxies = Vec::new();
    for (number, setup) in &setups {
        proxies.push((*number, Peer::start(PeerKind::Sky, setup)?));
    }
    let load = Row::Get64.load(bench.duration).into_iter();
    let mut series = Series::new(setups.iter().map(|(number, _)| *number));
    for load in load {
        let mut round = 0;
        while bench.wants_round(round, &series) {
            round += 1;
            eprintln!("{of}: round {round}");
            for (number, proxy) in &mut proxies {
                interrupt::check()?;
                let generator = &bench.generator;
                let sample = generator.measure(proxy, backends, &load, bench.duration)?;
                series.add(*number, sample);
            }
        }
    }
    Ok(Scale { of, series })
}
