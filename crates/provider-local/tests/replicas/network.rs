//! Networks of replicas' own, and the machine's where it is shared.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use agent::NetworkChoice;
use plan::observation::Phase;

use crate::bench::{Bench, Mode, until};

/// A server that knows no port but this.
fn stubborn_server(port: u16, answer: &str) -> String {
    format!(
        "export PORT={port} ANSWER={answer}; {}",
        provider::contract::SERVER
    )
}

pub(crate) fn same_port_side_by_side() {
    if !Mode::Isolated.is_possible() {
        return;
    }
    let bench = Bench::new(Mode::Isolated);
    let one = bench.request(&stubborn_server(8081, "one"));
    let two = bench.request(&stubborn_server(8081, "two"));
    bench.launch(&one);
    bench.launch(&two);
    let (first, second) = (bench.answers(&one, "one"), bench.answers(&two, "two"));
    assert_eq!((first.port(), second.port()), (8081, 8081));
    assert_ne!(first.ip(), second.ip());
    assert!(
        bench.log(&one).contains("network: its own, address"),
        "{}",
        bench.log(&one)
    );
    bench.terminate(&one);
    bench.answers(&two, "two");
    bench.terminate(&two);
}

/// A network beyond the machine, with a server that tells who asks. It knows no way back to
/// replicas' addresses.
struct Beyond {
    server: Child,
}

impl Beyond {
    const HERE: &str = "198.18.7.1";
    const THERE: &str = "198.18.7.2";

    /// Makes it; `None`, saying why, where the tools for it are missing.
    fn make() -> Option<Self> {
        let program = "
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(('you are ' + self.client_address[0]).encode())
    def log_message(self, *arguments):
        pass
server = http.server.HTTPServer(('', 80), Handler)
print('ready', flush=True)
server.serve_forever()
";
        let server = Command::new("unshare")
            .args(["--net", "python3", "-c", program])
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut server) = server else {
            println!("skipped: there is no unshare to make a second network with");
            return None;
        };
        let stdout = server.stdout.take().unwrap();
        let beyond = Self { server };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let pid = beyond.server.id();
        let inside = format!("nsenter -t {pid} -n");
        let commands = [
            format!("ip link add skytest0 type veth peer name skytest1 netns {pid}"),
            format!("ip address add {}/30 dev skytest0", Self::HERE),
            "ip link set skytest0 up".to_owned(),
            format!("{inside} ip address add {}/30 dev skytest1", Self::THERE),
            format!("{inside} ip link set skytest1 up"),
        ];
        for command in commands {
            let status = Command::new("sh").args(["-c", &command]).status().unwrap();
            if !status.success() {
                println!("skipped: `{command}` does not work here");
                return None;
            }
        }
        Some(beyond)
    }
}

impl Drop for Beyond {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        // The kernel removes the pair with its network, a little later.
        until("the second network to go", || {
            !std::path::Path::new("/sys/class/net/skytest0").exists()
        });
    }
}

pub(crate) fn outbound_traffic() {
    if !Mode::Isolated.is_possible() {
        return;
    }
    let Some(_beyond) = Beyond::make() else {
        return;
    };
    let bench = Bench::new(Mode::Isolated);
    let run = format!(
        "python3 -c 'import urllib.request as r; \
         print(r.urlopen(\"http://{}/\", timeout=30).read())'; \
         sleep 1000",
        Beyond::THERE
    );
    let request = bench.request(&run);
    bench.launch(&request);
    bench.logged(&request, &format!("you are {}", Beyond::HERE));
    bench.terminate(&request);
}

/// Once a replica is dead its address must be nobody's, and not the default gateway's business, until it is
/// terminated.
pub(crate) fn a_dead_replicas_address_leads_nowhere() {
    if !Mode::Isolated.is_possible() {
        return;
    }
    let bench = Bench::new(Mode::Isolated);
    let request = bench.request(&stubborn_server(8081, "alive"));
    bench.launch(&request);
    let address = bench.answers(&request, "alive");
    let guards = || {
        let routes = Command::new("ip")
            .args(["route", "show", "type", "unreachable"])
            .output();
        let routes = String::from_utf8_lossy(&routes.unwrap().stdout).into_owned();
        let range = std::net::Ipv4Addr::from(match address.ip() {
            std::net::IpAddr::V4(ip) => ip.to_bits() & !3,
            std::net::IpAddr::V6(_) => unreachable!("replicas have IPv4 addresses"),
        });
        routes.contains(&format!("{range}/30"))
    };
    assert!(guards());
    for pid in agent::processes::marked(&request.key.to_string()) {
        let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
    }
    until("the pair to go", || {
        let link = agent::network::link_name(&request.key.to_string());
        !std::path::Path::new("/sys/class/net").join(link).exists()
    });
    let error = std::net::TcpStream::connect(address).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::HostUnreachable);
    bench.terminate(&request);
    assert!(!guards(), "the route is left");
}

pub(crate) fn a_taken_port_is_explained() {
    let bench = Bench::new(Mode::WithoutNamespaces);
    let listener = std::net::TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut request = bench.request(&stubborn_server(port, "never"));
    request.port = port;
    bench.launch(&request);
    let exit = bench.exited(&request);
    let hint = exit.hint.expect("a hint");
    for part in [
        &format!("port {port}"),
        "shares the machine's network",
        "$PORT",
    ] {
        assert!(hint.contains(part), "{part}: {hint}");
    }
    assert!(
        exit.log_tail
            .iter()
            .any(|line| line.contains("already in use")),
        "{:?}",
        exit.log_tail
    );
    assert!(
        bench
            .log(&request)
            .contains("network: shared with this machine")
    );
    bench.terminate(&request);
}

pub(crate) fn a_lone_program_keeps_its_port() {
    let bench = Bench::new(Mode::WithoutNamespaces);
    let port = {
        let listener = std::net::TcpListener::bind(("0.0.0.0", 0)).unwrap();
        listener.local_addr().unwrap().port()
    };
    let mut request = bench.request(&stubborn_server(port, "mine"));
    request.port = port;
    let mut other = bench.request("sleep 1000");
    other.port = port;
    bench.launch(&request);
    bench.launch(&other);
    assert_eq!(bench.answers(&request, "mine").port(), port);
    until("the other's endpoint", || {
        bench.observe(&other).endpoint.is_some()
    });
    assert_ne!(bench.observe(&other).endpoint.unwrap().port(), port);
    bench.terminate(&request);
    bench.terminate(&other);
}

pub(crate) fn the_way_chosen_is_told() {
    for choice in [NetworkChoice::Auto, NetworkChoice::Isolated] {
        let bench = Bench::with(Mode::WithoutNamespaces, |options| options.network = choice);
        let request = bench.request("sleep 1000");
        bench.launch(&request);
        bench.logged(&request, "a network of its own needs root");
        if choice == NetworkChoice::Isolated {
            until("the refusal", || match bench.observe(&request).phase {
                Phase::Lost { reason } => reason.contains("cannot be had here"),
                _ => false,
            });
        } else {
            until("the endpoint", || {
                bench.observe(&request).endpoint.is_some()
            });
        }
        bench.terminate(&request);
    }
}
