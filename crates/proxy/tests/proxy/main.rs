//! The promises of the proxy, tested from outside: real sockets, a real holder and a real worker.
//!
//! The processes are this test program itself, started again with one of the two roles below.

mod affinity;
mod connections;
mod control;
mod desync;
mod draining;
mod failures;
mod forwarding;
mod framing;
mod grpc;
mod health;
mod hostile_replicas;
mod http2;
mod http2_limits;
mod http2_refusals;
mod http2_replicas;
mod keys;
mod leaving;
mod limits;
mod logs;
mod metrics;
mod overload;
mod processes;
mod queue;
mod selection;
mod settings;
mod split;
mod support;
mod timeouts;
mod tls;
mod translated;
mod upgrades;
mod websocket;

use std::path::PathBuf;

use proxy::{ProxyError, ProxyPaths, inherited_holder, run_holder, run_worker};

use support::process::{HOME_VARIABLE, role_command};

/// Exit code of a holder that found another one.
const ALREADY_RUNNING: i32 = 75;

fn paths_of_role() -> Option<ProxyPaths> {
    std::env::var_os(HOME_VARIABLE).map(|home| ProxyPaths {
        home: PathBuf::from(home),
    })
}

fn end_role(result: Result<(), ProxyError>) {
    if let Err(error) = result {
        eprintln!("{error}");
        let already = matches!(error, ProxyError::AlreadyRunning { .. });
        std::process::exit(if already { ALREADY_RUNNING } else { 1 });
    }
}

#[test]
#[ignore = "a role that the other tests start as a process"]
fn role_holder() {
    let Some(paths) = paths_of_role() else { return };
    end_role(run_holder(&paths, role_command("role_worker")));
}

#[test]
#[ignore = "a role that the other tests start as a process"]
fn role_worker() {
    let Some(paths) = paths_of_role() else { return };
    let holder = inherited_holder().unwrap();
    end_role(run_worker(&paths, holder, role_command("role_holder")));
}
