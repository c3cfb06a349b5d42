//! `sky api restart`: brings everything to the program that it is run with. Replicas and connections go on.
//!
//! The server ends first: while none runs, the proxy's tables are at rest, and what is said to the proxy here is not
//! interrupted by a server. Then the worker is replaced, which shows that the program can serve; then the holder, where its
//! program is another one; then the server starts. If the proxy cannot be brought along it goes on as it is, and the server
//! starts all the same.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

use api::{Client, Health};
use proxy::{ProxyPaths, RunningProxy, UpgradeError};
use server::Home;

use crate::failure::Failure;
use crate::{output, server_process};

/// So much of two programs is compared at once.
const CHUNK_BYTES: usize = 64 * 1024;

pub(crate) fn run() -> Result<ExitCode, Failure> {
    server_process::block_on(async {
        let home = server_process::home()?;
        let client = Client::new(home.path());
        let before = match client.health().await {
            Ok(health) => {
                server_process::stop(&client).await?;
                Some(health)
            }
            Err(error) if error.is_server_away() => None,
            Err(error) => return Err(error.into()),
        };
        let proxy = upgrade_proxy(&home);
        let health = server_process::start(&home, &client).await?;
        output::line(&server_line(before.as_ref(), &health))?;
        for line in proxy? {
            output::line(&line)?;
        }
        if !runs_this_program(health.pid)? {
            return Err(Failure::Refused(
                "another program has started the server meanwhile; run sky api restart again"
                    .to_owned(),
            ));
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn server_line(before: Option<&Health>, now: &Health) -> String {
    let Health { version, pid, .. } = now;
    match before {
        None => format!("The server did not run and is started: version {version}, pid {pid}."),
        Some(before) => format!(
            "The server is restarted: version {} (pid {}) -> version {version} (pid {pid}); {} services.",
            before.version, before.pid, now.services
        ),
    }
}

/// What was done to the proxy, for a person.
fn upgrade_proxy(home: &Home) -> Result<Vec<String>, Failure> {
    let paths = ProxyPaths {
        home: home.path().to_owned(),
    };
    let Some(running) = RunningProxy::find(&paths) else {
        return Ok(vec![
            "The proxy did not run; the server starts it.".to_owned(),
        ]);
    };
    let refused = |error: UpgradeError| Failure::Refused(format!("the proxy: {error}"));
    let now = running
        .replace_worker(&paths, this_program("work")?)
        .map_err(refused)?;
    let worker = format!(
        "The proxy's worker is replaced: pid {} -> pid {}; what the old one has in flight it finishes.",
        running.worker, now.worker
    );
    let holder = now.holder;
    let holder = if runs_this_program(holder)? {
        format!("The proxy's holder (pid {holder}) is this program already.")
    } else {
        now.renew_holder(&paths, this_program("hold")?)
            .map_err(refused)?;
        format!("The proxy's holder goes on as this program, with all sockets (pid {holder}).")
    };
    Ok(vec![worker, holder])
}

/// The command that starts a part of the proxy.
fn this_program(part: &str) -> Result<Vec<String>, Failure> {
    let program = std::env::current_exe()?.into_os_string();
    let program = program.into_string().map_err(|program| {
        let program = program.display();
        Failure::Refused(format!("the path of this program is not UTF-8: {program}"))
    })?;
    Ok(vec![program, "proxy".to_owned(), part.to_owned()])
}

/// Whether a process runs the very bytes that this one does, wherever they stand.
fn runs_this_program(pid: u32) -> io::Result<bool> {
    let ours = File::open("/proc/self/exe")?;
    // Also where the file itself is deleted.
    let theirs = File::open(format!("/proc/{pid}/exe"))?;
    let (our, their) = (ours.metadata()?, theirs.metadata()?);
    if (our.dev(), our.ino()) == (their.dev(), their.ino()) {
        return Ok(true);
    }
    Ok(our.len() == their.len() && have_same_content(ours, theirs)?)
}

/// Of two files of equal length.
fn have_same_content(mut one: impl Read, mut other: impl Read) -> io::Result<bool> {
    let (mut ours, mut theirs) = ([0; CHUNK_BYTES], [0; CHUNK_BYTES]);
    loop {
        let length = one.read(&mut ours)?;
        let (ours, theirs) = ours
            .get(..length)
            .zip(theirs.get_mut(..length))
            .unwrap_or_default();
        if length == 0 {
            return Ok(true);
        }
        other.read_exact(theirs)?;
        if ours != theirs {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_compared_by_content() {
        let same = |one: &[u8], other: &[u8]| have_same_content(one, other).unwrap();
        let long = vec![7; 200_000];
        let mut other = long.clone();
        assert!(same(b"", b"") && same(&long, &other));
        other[199_999] = 8;
        assert!(!same(&long, &other));
        assert!(runs_this_program(std::process::id()).unwrap());
    }
}
