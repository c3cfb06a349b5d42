//! `bench-proxy`: the benchmark, and the processes that it starts.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use bench::Options;
use clap::{Parser, Subcommand};

/// Measures the proxy beside nginx and HAProxy on this machine and prints a table in Markdown.
#[derive(Parser)]
#[command(name = "bench-proxy", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this program is when the benchmark starts it.
#[derive(Subcommand)]
enum Role {
    /// A replica.
    #[command(hide = true)]
    Backend { addresses: Vec<Ipv4Addr> },
    /// The holder of our proxy.
    #[command(hide = true)]
    Hold { home: PathBuf },
    /// The worker of our proxy.
    #[command(hide = true)]
    Work { home: PathBuf },
    /// A program that is asked to end when the benchmark ends.
    #[command(hide = true)]
    Guard {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.role {
        None => bench::run(&arguments.options),
        Some(Role::Backend { addresses }) => bench::role::backend(&addresses),
        Some(Role::Hold { home }) => bench::role::hold(home),
        Some(Role::Work { home }) => bench::role::work(home),
        Some(Role::Guard { words }) => bench::role::guard(&words),
    }
}
