//! `cargo run -p sim -- --seeds 0..10000`: plays histories and says which promise was broken.

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Parser;
use sim::{Fault, Run, Summary};

/// Plays seeded histories of updates and faults against the production planner.
#[derive(Parser)]
struct Options {
    /// Seeds to play, the last one not included.
    #[arg(long, default_value = "0..1000")]
    seeds: String,
    /// Play this one only.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// With `--seed`: print the timeline, one line per event in virtual time.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Threads; 0 is one per core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Switch each planted mistake on in turn, and say which seed notices it. Needs `--features planted-bugs`.
    #[arg(long)]
    planted: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let options = Options::parse();
    if options.planted {
        return planted(&options);
    }
    if let Some(seed) = options.seed {
        return one(seed, options.trace);
    }
    let begun = Instant::now();
    let seeds = range(&options.seeds)?;
    let summary = sim::play_all(seeds, threads(&options), usize::MAX, &|| {});
    print(&summary, begun.elapsed().as_secs_f64());
    if !summary.failed.is_empty() {
        bail!(
            "{} of {} seeds broke a promise",
            summary.failed.len(),
            summary.seeds
        );
    }
    Ok(())
}

fn range(text: &str) -> anyhow::Result<Range<u64>> {
    let (first, end) = text
        .split_once("..")
        .context("--seeds is FIRST..END, as in 0..10000")?;
    let number = |text: &str| {
        text.trim()
            .parse::<u64>()
            .with_context(|| format!("'{text}' is no seed"))
    };
    Ok(number(first)?..number(end)?)
}

fn threads(options: &Options) -> usize {
    match options.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    }
}

fn one(seed: u64, traced: bool) -> anyhow::Result<()> {
    let run: Run = sim::play(seed, traced);
    for line in &run.lines {
        println!("{line}");
    }
    let (served, lost) = run.requests;
    println!(
        "seed {seed}: {:.0} virtual seconds, {} steps, {} commits, {} faults, {served} requests answered, {lost} lost",
        run.seconds,
        run.steps,
        run.commits,
        run.faults.total()
    );
    match run.violation {
        None => Ok(()),
        Some(violation) => bail!("{}: {}", violation.checker, violation.message),
    }
}

fn print(summary: &Summary, seconds: f64) {
    println!("{:>9}  fault", "times");
    for fault in Fault::ALL {
        println!("{:>9}  {fault}", summary.faults.of(fault));
    }
    let (served, lost) = summary.requests;
    println!(
        "{} seeds in {seconds:.1} s: {:.0} virtual hours, {} steps, {} commits, {} faults, {served} requests answered, \
         {lost} lost to faults",
        summary.seeds,
        summary.seconds / 3600.0,
        summary.steps,
        summary.commits,
        summary.faults.total()
    );
    let mut checkers: BTreeMap<&str, u32> = BTreeMap::new();
    for violation in summary
        .failed
        .iter()
        .filter_map(|run| run.violation.as_ref())
    {
        *checkers.entry(violation.checker).or_default() += 1;
    }
    for (checker, count) in checkers {
        println!("{checker}: {count} seeds");
    }
    for run in summary.failed.iter().take(20) {
        if let Some(violation) = &run.violation {
            println!(
                "seed {}: {}: {}",
                run.seed, violation.checker, violation.message
            );
        }
    }
    if let Some(run) = summary.failed.first() {
        println!("replay it: cargo run -p sim -- --seed {} --trace", run.seed);
    }
}

#[cfg(not(feature = "planted-bugs"))]
fn planted(_: &Options) -> anyhow::Result<()> {
    bail!(
        "the planner was built without mistakes; use: cargo run -p sim --features planted-bugs -- --planted"
    )
}

#[cfg(feature = "planted-bugs")]
fn planted(options: &Options) -> anyhow::Result<()> {
    use plan::planted::{Bug, plant};
    let mut missed = 0;
    for bug in Bug::ALL {
        let summary = sim::play_all(0..1000, threads(options), 1, &|| plant(Some(bug)));
        match summary
            .failed
            .first()
            .and_then(|run| run.violation.as_ref().map(|v| (run.seed, v)))
        {
            Some((seed, found)) => {
                println!("{bug:?}: seed {seed}: {}: {}", found.checker, found.message)
            }
            None => {
                missed += 1;
                println!("{bug:?}: not noticed");
            }
        }
    }
    if missed > 0 {
        bail!("{missed} planted mistakes were not noticed within 1000 seeds");
    }
    Ok(())
}
