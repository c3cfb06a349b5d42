//! What a large table costs: our proxy beside itself.

use std::time::Duration;

use anyhow::bail;

use crate::backends::Backends;
use crate::peer::{Peer, PeerKind, Setup};
use crate::row::Row;
use crate::run::Bench;
use crate::series::Series;

/// Long enough for a connection to each of 1,000 replicas.
const WARM_UP: Duration = Duration::from_millis(500);

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
    let mut series = Series::new(setups.iter().map(|(number, _)| *number));
    let Some(load) = Row::Get64.load(bench.duration) else {
        bail!("no load");
    };
    if let Some(warm_up) = Row::Get64.load(WARM_UP) {
        for (_, proxy) in &mut proxies {
            bench.warm_up(proxy, backends, &warm_up)?;
        }
    }
    let mut round = 0;
    while bench.wants_round(round, &series) {
        round += 1;
        eprintln!("{of}: round {round}");
        for (number, proxy) in &mut proxies {
            let sample = bench.measure(proxy, backends, &load)?;
            series.add(*number, sample);
        }
    }
    Ok(Scale { of, series })
}
