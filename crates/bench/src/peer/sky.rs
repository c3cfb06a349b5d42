//! Our proxy as a real installation has it: a holder, a worker, and a controller that is connected and reads its
//! reports. Both processes are this program in two roles.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use plan::routing::{ProxyCommand, ProxyReport, RoutingTable, Upstream};
use proxy::ProxyPaths;
use spec::{LoadBalancer, LoadBalancingPolicy, Tls};

use super::{Addresses, OUTPUT, START_PATIENCE, Setup, Started, free_address};
use crate::certificate::Certificate;
use crate::interrupt;
use crate::process::Process;

const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// The command that starts this program in the role `role` for `home`.
pub(crate) fn role_command(role: &str, home: &Path) -> anyhow::Result<Vec<OsString>> {
    let program = std::env::current_exe()?;
    Ok(vec![program.into(), role.into(), home.into()])
}

pub(super) fn start(directory: &Path, setup: &Setup<'_>) -> anyhow::Result<Started> {
    let paths = ProxyPaths {
        home: directory.join("home"),
    };
    let words = role_command("hold", &paths.home)?;
    let mut process = Process::start(&words, &directory.join(OUTPUT))?;
    let mut control = Control::connect(&mut process, &paths.socket())?;
    let plain = free_address()?;
    control.apply(table("bench", plain, setup.backends, None))?;
    for number in 1..setup.services {
        let name = format!("bench-{number}");
        control.apply(table(&name, free_address()?, setup.backends, None))?;
    }
    let tls = match setup.certificate {
        Some(certificate) => serve_tls(&mut control, setup, certificate),
        None => Err("there is no certificate".to_owned()),
    };
    let addresses = Addresses {
        plain,
        streams: plain,
        tls,
    };
    Ok(Started {
        process,
        addresses,
        control: Some(control),
    })
}

/// An endpoint with TLS, unless the proxy refuses it or pays no attention to the wish.
fn serve_tls(
    control: &mut Control,
    setup: &Setup<'_>,
    certificate: &Certificate,
) -> Result<SocketAddr, String> {
    let mut serve = || -> anyhow::Result<SocketAddr> {
        let address = free_address()?;
        let table = table("bench-tls", address, setup.backends, Some(certificate));
        control.apply(table)?;
        if answers_without_tls(address)? {
            bail!("the proxy was asked for TLS and answers without it");
        }
        Ok(address)
    };
    serve().map_err(|error| format!("{error:#}"))
}

fn answers_without_tls(address: SocketAddr) -> anyhow::Result<bool> {
    let mut connection = TcpStream::connect_timeout(&address, START_PATIENCE)?;
    connection.set_read_timeout(Some(Duration::from_secs(1)))?;
    connection.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")?;
    let mut buffer = [0; 16];
    let count = connection.read(&mut buffer).unwrap_or(0);
    Ok(buffer[..count].starts_with(b"HTTP/1.1 2"))
}

fn table(
    service: &str,
    listen: SocketAddr,
    backends: &[SocketAddr],
    certificate: Option<&Certificate>,
) -> RoutingTable {
    let upstreams = (1..).zip(backends).map(|(replica_id, address)| Upstream {
        replica_id,
        version: 1,
        address: *address,
        weight: 1.0,
        ready_since: None,
    });
    RoutingTable {
        service: service.to_owned(),
        generation: 1,
        listen,
        policy: LoadBalancingPolicy::LeastLoad,
        load_balancer: LoadBalancer {
            stream_timeout_seconds: 600.0,
            idle_timeout_seconds: 600.0,
            // As the peers'.
            access_log: false,
            ..LoadBalancer::default()
        },
        tls: certificate.map(|certificate| Tls {
            keyfile: certificate.key.display().to_string(),
            certfile: certificate.chain.display().to_string(),
        }),
        api_keys: None,
        split: None,
        upstreams: upstreams.collect(),
    }
}

/// The controller's end of the control socket.
pub(crate) struct Control {
    stream: UnixStream,
    /// What tables came to: the service, and why one was refused.
    answers: Receiver<(String, Option<String>)>,
    reader: Option<JoinHandle<()>>,
}

impl Control {
    fn connect(process: &mut Process, socket: &Path) -> anyhow::Result<Self> {
        let deadline = Instant::now() + START_PATIENCE;
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => {
                    return Err(error).context("cannot connect to the control socket");
                }
                Err(_) => std::thread::sleep(LOOK_INTERVAL),
            }
            interrupt::check()?;
            process.check_alive()?;
        };
        let lines = BufReader::new(stream.try_clone()?).lines();
        let (sender, answers) = mpsc::channel();
        // Reports must be read, or the proxy takes its controller for dead.
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let answer = match serde_json::from_str(&line) {
                    Ok(ProxyReport::Acknowledged { service, .. }) => (service, None),
                    Ok(ProxyReport::Refused {
                        service, reason, ..
                    }) => (service, Some(reason)),
                    _ => continue,
                };
                if sender.send(answer).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            stream,
            answers,
            reader: Some(reader),
        })
    }

    /// Puts a table in force.
    fn apply(&mut self, table: RoutingTable) -> anyhow::Result<()> {
        let service = table.service.clone();
        let command = serde_json::to_string(&ProxyCommand::Apply { table })?;
        self.stream.write_all(format!("{command}\n").as_bytes())?;
        let deadline = Instant::now() + START_PATIENCE;
        while Instant::now() < deadline {
            interrupt::check()?;
            match self.answers.recv_timeout(LOOK_INTERVAL) {
                Ok((of, None)) if of == service => return Ok(()),
                Ok((of, Some(reason))) if of == service => {
                    bail!("the proxy refused the table: {reason}")
                }
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("the proxy closed its control socket"),
            }
        }
        bail!("the proxy did not acknowledge a table")
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
