//! A run from its beginning to its end.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use crate::backends::Backends;
use crate::certificate::Certificate;
use crate::machine::Machine;
use crate::options::Options;
use crate::peer::{Peer, PeerKind, Setup};
use crate::process::Descendants;
use crate::report::{Report, Section};
use crate::row::{Load, Row};
use crate::sample::{Generator, Sample};
use crate::series::Series;
use crate::usage::MachineTimes;
use crate::{interrupt, memory, scale, wrk};

/// Load before the first round of a row, so that connections to the backends are there.
const WARM_UP: Duration = Duration::from_millis(200);
pub(crate) const QUIET_PATIENCE: Duration = Duration::from_secs(3);
/// How long the machine is watched to see whether it is quiet; long enough for clocks that tick 100 times a second.
const QUIET_TIME: Duration = Duration::from_millis(200);
/// Share of the processors in use at which it is.
const QUIET_LIMIT: f64 = 0.05;
/// Descriptors that a peer needs for other things than connections.
const OWN_DESCRIPTORS: u64 = 200;

/// Measures what `options` ask for and prints the report.
///
/// # Errors
///
/// When nothing can be measured, and when the run is interrupted. Peers and rows that cannot be measured are left out
/// of the report, which says why.
pub fn run(options: &Options) -> anyhow::Result<()> {
    if cfg!(debug_assertions) && !options.allow_debug {
        bail!(
            "this program was built without optimisation, so its figures would mean nothing: \
             use `cargo xtask bench-proxy`, or `cargo run --release`, or say --allow-debug"
        );
    }
    let started = Instant::now();
    interrupt::listen(started + options.hard_limit())?;
    let _descendants = Descendants::adopt()?;
    let mut run = Run::prepare(options, started)?;
    let mut sections = Vec::new();
    let mut peers = run.start_peers()?;
    for row in options.rows() {
        if started.elapsed() > options.begin_limit() {
            run.left_out
                .push(format!("{}: the time is up", row.title()));
            continue;
        }
        let measured = match row {
            Row::Memory => memory::measure(&run.kinds, options).map(Section::Memory),
            Row::Replicas => scale::replicas(&run.bench).map(Section::Scale),
            Row::Services => scale::services(&run.bench).map(Section::Scale),
            _ => run.loads(row, &mut peers),
        };
        interrupt::check_signals()?;
        match measured {
            Ok(section) => sections.push((row, section)),
            Err(error) => run.left_out.push(format!("{}: {error:#}", row.title())),
        }
    }
    drop(peers);
    run.report(sections)
}

/// What measuring needs.
pub(crate) struct Bench {
    pub(crate) backends: Backends,
    pub(crate) generator: Generator,
    pub(crate) duration: Duration,
    pub(crate) rounds: usize,
    /// How long a measurement waits for other programs to be quiet.
    pub(crate) quiet_patience: Duration,
    /// Rounds in place of disturbed ones.
    pub(crate) extra_rounds: usize,
}

impl Bench {
    /// Measures `peer` once, at a time at which nothing else runs if one can be had.
    pub(crate) fn measure(
        &self,
        peer: &mut Peer,
        backends: &Backends,
        load: &Load,
    ) -> anyhow::Result<Sample> {
        let deadline = Instant::now() + self.quiet_patience;
        while Instant::now() < deadline && !is_quiet() {
            interrupt::check()?;
        }
        interrupt::check()?;
        self.generator.measure(peer, backends, load, self.duration)
    }

    /// A short load that nobody looks at.
    pub(crate) fn warm_up(
        &self,
        peer: &mut Peer,
        backends: &Backends,
        load: &Load,
    ) -> anyhow::Result<()> {
        let own = Generator {
            wrk: false,
            ..self.generator.clone()
        };
        own.measure(peer, backends, load, WARM_UP)?;
        Ok(())
    }

    /// Whether another round is worth its time.
    pub(crate) fn wants_round<K: Copy + PartialEq>(&self, done: usize, series: &Series<K>) -> bool {
        let enough = self.rounds.div_ceil(2);
        let limit = self.rounds + self.extra_rounds;
        done < self.rounds || (done < limit && series.fewest_clean() < enough)
    }
}

/// Whether other programs leave the processors alone. To be asked between measurements.
fn is_quiet() -> bool {
    let before = MachineTimes::now();
    std::thread::sleep(QUIET_TIME);
    let usage = MachineTimes::now().since(&before);
    usage.busy.as_secs_f64() <= usage.available.as_secs_f64() * QUIET_LIMIT
}

struct Run<'a> {
    options: &'a Options,
    started: Instant,
    machine: Machine,
    kinds: Vec<PeerKind>,
    bench: Bench,
    certificate: Result<Certificate, String>,
    left_out: Vec<String>,
    /// For files; last, so that it is removed last.
    _directory: TempDir,
}

impl<'a> Run<'a> {
    fn prepare(options: &'a Options, started: Instant) -> anyhow::Result<Self> {
        raise_descriptor_limit()?;
        let directory = TempDir::with_prefix("bench-proxy-")?;
        let (mut kinds, mut left_out) = (Vec::new(), Vec::new());
        for kind in options.peer_kinds() {
            match kind.version() {
                Some(_) => kinds.push(kind),
                None => left_out.push(format!("{kind}: it is not on PATH")),
            }
        }
        if kinds.is_empty() {
            bail!("none of the peers is installed");
        }
        let wrk = !options.no_wrk && wrk::require().is_ok();
        if !wrk && !options.no_wrk {
            left_out.push("wrk: it is not on PATH; the load is the project's own".to_owned());
        }
        let generator = Generator {
            wrk,
            directory: directory.path().to_owned(),
        };
        let rounds = options.round_count();
        let bench = Bench {
            backends: Backends::start()?,
            generator,
            duration: options.duration(),
            rounds,
            quiet_patience: if options.quick {
                Duration::ZERO
            } else {
                QUIET_PATIENCE
            },
            extra_rounds: if options.quick { 0 } else { rounds },
        };
        Ok(Self {
            options,
            started,
            machine: Machine::describe(&kinds, wrk),
            certificate: Certificate::make(directory.path()),
            kinds,
            bench,
            left_out,
            _directory: directory,
        })
    }

    fn start_peers(&mut self) -> anyhow::Result<Vec<Peer>> {
        let special = |row: &Row| matches!(row, Row::Memory | Row::Replicas | Row::Services);
        if self.options.rows().iter().all(special) {
            return Ok(Vec::new());
        }
        let mut setup = Setup::new(&self.bench.backends.addresses);
        if self.options.rows().contains(&Row::Tls) {
            setup.certificate = self.certificate.as_ref().ok();
        }
        let mut peers = Vec::new();
        for kind in &self.kinds {
            let peer = Peer::start(*kind, &setup);
            interrupt::check()?;
            match peer {
                Ok(peer) => peers.push(peer),
                Err(error) => self.left_out.push(format!("{error:#}")),
            }
        }
        if peers.is_empty() {
            bail!("no peer could be started: {}", self.left_out.join("; "));
        }
        Ok(peers)
    }

    /// The rounds of one row. A peer that fails is left out of the row.
    fn loads(&mut self, row: Row, peers: &mut [Peer]) -> anyhow::Result<Section> {
        if row == Row::Tls {
            self.check_tls(peers)?;
        }
        let Some(load) = row.load(self.bench.duration) else {
            bail!("no load");
        };
        let mut series = Series::new(peers.iter().map(|peer| peer.kind));
        if let Some(warm_up) = row.load(WARM_UP).filter(|_| row != Row::Tls) {
            for peer in peers.iter_mut() {
                let result = self.bench.warm_up(peer, &self.bench.backends, &warm_up);
                self.kept(row, &mut series, peer.kind, result)?;
            }
        }
        let mut round = 0;
        while self.bench.wants_round(round, &series) {
            round += 1;
            eprintln!("{}: round {round}", row.title());
            for peer in peers.iter_mut() {
                if !series.contains(peer.kind) {
                    continue;
                }
                let result = self.bench.measure(peer, &self.bench.backends, &load);
                if let Some(sample) = self.kept(row, &mut series, peer.kind, result)? {
                    series.add(peer.kind, sample);
                }
            }
        }
        Ok(Section::Load(series))
    }

    /// What came of one measurement; where it failed, its peer is taken out of the row. Fails when the run must end
    /// or no peer is left.
    fn kept<T>(
        &mut self,
        row: Row,
        series: &mut Series<PeerKind>,
        kind: PeerKind,
        result: anyhow::Result<T>,
    ) -> anyhow::Result<Option<T>> {
        let error = match result {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error,
        };
        interrupt::check()?;
        series.remove(kind);
        let (title, reason) = (row.title(), format!("{error:#}"));
        self.left_out.push(format!("{title}: {kind}: {reason}"));
        if series.contestants.is_empty() {
            bail!("no peer could be measured");
        }
        Ok(None)
    }

    fn check_tls(&self, peers: &[Peer]) -> anyhow::Result<()> {
        if let Err(reason) = &self.certificate {
            bail!("{reason}");
        }
        if !self.bench.generator.wrk {
            bail!("it needs wrk");
        }
        for peer in peers {
            if let Err(reason) = &peer.addresses.tls {
                bail!("{}: {reason}", peer.kind);
            }
        }
        Ok(())
    }

    fn report(self, sections: Vec<(Row, Section)>) -> anyhow::Result<()> {
        let report = Report {
            machine: self.machine,
            rounds: self.bench.rounds,
            duration: self.bench.duration,
            unoptimised: cfg!(debug_assertions),
            took: self.started.elapsed(),
            sections,
            left_out: self.left_out,
        };
        if let Some(path) = &self.options.json {
            let file = File::create(path).with_context(|| path.display().to_string())?;
            serde_json::to_writer_pretty(file, &report.json())?;
        }
        std::io::stdout().write_all(report.markdown().as_bytes())?;
        Ok(())
    }
}

/// One descriptor for each connection, here and in everything that is started.
fn raise_descriptor_limit() -> anyhow::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).context("cannot raise the limit of open files")
}

/// Connections that a peer can hold, one descriptor to each side.
pub(crate) fn connection_limit() -> usize {
    let maximum = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let limit = maximum.saturating_sub(OWN_DESCRIPTORS) / 2;
    usize::try_from(limit).unwrap_or(usize::MAX)
}
