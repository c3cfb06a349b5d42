//! What Prometheus gets, and what the access log says of who asked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use plan::routing::{ProxyCommand, RoutingTable, Split};
use rustix::process::Signal;

use crate::support::client::{Client, get, request};
use crate::support::message::Head;
use crate::support::process::{Proxy, signal};
use crate::support::replica::{Replica, Then};
use crate::support::tls::Certificates;
use crate::support::{PATIENCE, eventually, free_address, numbered_table, table};

const ADDRESS_VARIABLE: &str = "SKYSERVE_METRICS_ADDRESS";

/// What is read as text, by the rules of the format.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Help and type by name.
    families: BTreeMap<String, (String, String)>,
    /// Values by everything that stands before them.
    samples: BTreeMap<String, f64>,
}

impl Page {
    fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut family = String::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                family = name.to_owned();
                let known = page
                    .families
                    .insert(name.to_owned(), (help.to_owned(), String::new()));
                assert!(known.is_none(), "{name} comes twice");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert_eq!(name, family);
                page.families.get_mut(name).unwrap().1 = kind.to_owned();
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let name = series.split('{').next().unwrap();
                let suffix = name.strip_prefix(&family).unwrap();
                let is_histogram = page.families[&family].1 == "histogram";
                assert_eq!(is_histogram, !suffix.is_empty(), "{line}");
                let twice = page
                    .samples
                    .insert(series.to_owned(), value.parse().unwrap());
                assert!(twice.is_none(), "{series} comes twice");
            }
        }
        page
    }

    pub(crate) fn value(&self, series: &str) -> f64 {
        self.samples.get(series).copied().unwrap_or(0.0)
    }

    /// Names of the labels of a metric.
    fn labels(&self, name: &str) -> BTreeSet<String> {
        let of_it = self.samples.keys().filter_map(|series| {
            let (found, labels) = series.strip_suffix('}')?.split_once('{')?;
            let found = found.strip_prefix(name)?;
            matches!(found, "" | "_bucket" | "_sum" | "_count").then_some(labels)
        });
        of_it
            .flat_map(|labels| labels.split(','))
            .map(|label| label.split_once('=').unwrap().0.to_owned())
            .filter(|label| label != "le")
            .collect()
    }
}

fn ask(mut stream: impl Read + Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn page_of(answer: &str) -> Page {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let media_type = "content-type: text/plain; version=0.0.4; charset=utf-8";
    assert!(head.contains(media_type), "{head}");
    assert!(body.ends_with('\n'));
    Page::parse(body)
}

const SCRAPE: &str = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";

fn socket(proxy: &Proxy) -> UnixStream {
    let mut stream = None;
    eventually("the socket of metrics", || {
        stream = UnixStream::connect(proxy.paths().metrics_socket()).ok();
        stream.is_some()
    });
    let stream = stream.unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn scrape(proxy: &Proxy) -> Page {
    page_of(&ask(socket(proxy), SCRAPE))
}

/// Scrapes until a series has this value.
pub(crate) fn until(proxy: &Proxy, series: &str, value: f64) -> Page {
    let mut page = Page::default();
    eventually(&format!("{series} {value}"), || {
        page = scrape(proxy);
        page.value(series) == value
    });
    page
}

#[test]
fn requests_are_counted_by_replica_and_status_class() {
    let replica = Replica::start(|exchange| {
        exchange.body();
        if exchange.target() == "/missing" {
            exchange.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
            return Then::Keep;
        }
        exchange.answer("four")
    });
    let (proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    for _ in 0..3 {
        request(endpoint, "POST", "/", "Content-Length: 5\r\n\r\nabcde");
    }
    request(endpoint, "GET", "/missing", "");
    let one = r#"service="svc",version="1",replica="1""#;
    let class = |name: &str, class: &str| format!("{name}{{{one},status_class=\"{class}\"}}");
    let page = until(&proxy, &class("skyserve_requests_total", "4xx"), 1.0);
    assert_eq!(page.value(&class("skyserve_requests_total", "2xx")), 3.0);
    for histogram in [
        "skyserve_request_duration_seconds",
        "skyserve_time_to_first_byte_seconds",
    ] {
        let count = page.value(&class(&format!("{histogram}_count"), "2xx"));
        let top = format!("{histogram}_bucket{{{one},status_class=\"2xx\",le=\"+Inf\"}}");
        assert_eq!((count, page.value(&top)), (3.0, 3.0));
        let sum = page.value(&class(&format!("{histogram}_sum"), "2xx"));
        assert!(sum > 0.0 && sum < PATIENCE.as_secs_f64(), "{sum}");
        let buckets = page.samples.keys().filter(|series| {
            series.starts_with(histogram) && series.contains("2xx") && series.contains("le=")
        });
        assert_eq!(buckets.count(), 18);
    }
    let of_it = |name: &str| page.value(&format!("{name}{{{one}}}"));
    assert_eq!(of_it("skyserve_request_body_bytes_total"), 15.0);
    assert_eq!(of_it("skyserve_response_body_bytes_total"), 12.0);
    assert_eq!(of_it("skyserve_requests_in_flight"), 0.0);
    assert_eq!(
        page.value(r#"skyserve_replicas{service="svc",version="1"}"#),
        1.0
    );
}

#[test]
fn what_goes_on_is_shown_while_it_does() {
    let replica = Replica::start(|exchange| {
        exchange.begin_chunks();
        exchange.wait_for_end();
        Then::Close
    });
    let (proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    let in_flight = r#"skyserve_requests_in_flight{service="svc",version="1",replica="1"}"#;
    let page = until(&proxy, in_flight, 1.0);
    assert_eq!(page.value(r#"skyserve_connections{service="svc"}"#), 1.0);
    // Out of the table, the replica still has its request.
    controller.acknowledged(table(endpoint, 2, []));
    let page = scrape(&proxy);
    assert_eq!(page.value(in_flight), 1.0);
    assert_eq!(
        page.value(r#"skyserve_replicas{service="svc",version="1"}"#),
        0.0
    );
    drop(client);
    until(&proxy, r#"skyserve_connections{service="svc"}"#, 0.0);
    until(&proxy, in_flight, 0.0);
}

#[test]
fn waiting_and_refusals_are_told_apart() {
    let replica = Replica::named("late");
    let listen = free_address();
    let mut first = numbered_table(listen, 1, []);
    first.load_balancer.queue.max_requests = 1;
    first.load_balancer.max_request_body_bytes = Some(10);
    first.load_balancer.max_connections_per_client = Some(2);
    let (proxy, mut controller, endpoint) = Proxy::serving_table(first.clone());
    let mut waiting = Client::connect(endpoint);
    waiting.send("GET /waiting HTTP/1.1\r\nHost: a\r\n\r\n");
    until(&proxy, r#"skyserve_queue_depth{service="svc"}"#, 1.0);
    assert_eq!(get(endpoint).status, 503);
    until(&proxy, r#"skyserve_connections{service="svc"}"#, 1.0);
    {
        let _other = Client::connect(endpoint);
        until(&proxy, r#"skyserve_connections{service="svc"}"#, 2.0);
        assert_eq!(get(endpoint).status, 503);
    }
    let mut second = numbered_table(listen, 2, [(1, replica.address)]);
    second.load_balancer = first.load_balancer;
    second.load_balancer.max_connections_per_client = None;
    controller.acknowledged(second.clone());
    assert_eq!(waiting.answer().status, 200);
    request(
        endpoint,
        "POST",
        "/",
        "Content-Length: 11\r\n\r\nabcdefghijk",
    );
    request(endpoint, "GET", "/", "Content-Length: 1, 2\r\n");
    second.generation = 3;
    second.upstreams.clear();
    second.load_balancer.queue.max_requests = 0;
    controller.acknowledged(second.clone());
    get(endpoint);
    let reason =
        |reason: &str| format!(r#"skyserve_refused_total{{service="svc",reason="{reason}"}}"#);
    let page = until(&proxy, &reason("no_replica"), 1.0);
    for (name, count) in [
        ("queue_full", 1.0),
        ("max_connections_per_client", 1.0),
        ("max_connections", 0.0),
        ("body_too_large", 1.0),
        ("bad_request", 1.0),
        ("unauthorised", 0.0),
        ("queue_timeout", 0.0),
        ("client_slow", 0.0),
    ] {
        assert_eq!(page.value(&reason(name)), count, "{name}");
    }
    assert_eq!(
        page.value(r#"skyserve_queue_wait_seconds_count{service="svc"}"#),
        1.0
    );
    let nobody =
        r#"skyserve_requests_total{service="svc",version="",replica="",status_class="5xx"}"#;
    assert_eq!(page.value(nobody), 2.0);
}

#[test]
fn retries_and_ejections_name_the_replica_that_failed() {
    let dead = free_address();
    let good = [Replica::named("a"), Replica::named("b")];
    let addresses = [dead, good[0].address, good[1].address];
    let (proxy, _controller, endpoint) = Proxy::serving(&addresses);
    let of_dead = |name: &str| format!(r#"{name}{{service="svc",version="1",replica="1"}}"#);
    eventually("an ejection", || {
        assert_eq!(get(endpoint).status, 200);
        scrape(&proxy).value(&of_dead("skyserve_ejections_total")) == 1.0
    });
    let page = scrape(&proxy);
    assert!(page.value(&of_dead("skyserve_retries_total")) >= 3.0);
    let all = |name: &str| -> f64 {
        let of_it = page
            .samples
            .iter()
            .filter(|(series, _)| series.starts_with(name));
        of_it.map(|(_, value)| value).sum()
    };
    assert_eq!(all("skyserve_ejections_total"), 1.0);
    assert_eq!(
        all("skyserve_retries_total"),
        page.value(&of_dead("skyserve_retries_total"))
    );
}

#[test]
fn the_documentation_names_what_is_exposed() {
    let Some(certificates) = Certificates::make() else {
        return;
    };
    let replica = Replica::named("x");
    let (proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    let split = Split {
        version: 1,
        weight_percent: 100.0,
        header: None,
        cookie: None,
    };
    controller.acknowledged(RoutingTable {
        service: "encrypted".to_owned(),
        tls: Some(certificates.files()),
        split: Some(split),
        ..table(free_address(), 1, [replica.address])
    });
    get(endpoint);
    let requests =
        r#"skyserve_requests_total{service="svc",version="1",replica="1",status_class="2xx"}"#;
    let page = until(&proxy, requests, 1.0);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    let text = std::fs::read_to_string(file).unwrap();
    let documented: BTreeMap<String, (String, String, BTreeSet<String>)> = text
        .lines()
        .filter(|line| line.starts_with("| `skyserve_"))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let labels = cells[2]
                .split(", ")
                .map(|label| label.trim_matches('`').to_owned());
            let name = cells[0].trim_matches('`').to_owned();
            (
                name,
                (cells[3].to_owned(), cells[1].to_owned(), labels.collect()),
            )
        })
        .collect();
    let exposed = page.families.iter().map(|(name, (help, kind))| {
        (
            name.clone(),
            (help.clone(), kind.clone(), page.labels(name)),
        )
    });
    assert_eq!(documented, exposed.collect());
}

#[test]
fn only_metrics_are_served_and_only_to_the_owner() {
    let (proxy, _controller, _) = Proxy::serving(&[]);
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
        (
            "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "405",
        ),
        ("GET /metrics HTTP/1.0\r\n\r\n", "200"),
        ("HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "200"),
        ("nonsense\r\n\r\n", "400"),
    ] {
        let answer = ask(socket(&proxy), request);
        assert_eq!(
            answer.split(' ').nth(1),
            Some(status),
            "{request}: {answer}"
        );
        assert!(
            answer.to_lowercase().contains("content-length:"),
            "{answer}"
        );
    }
    let mode = std::fs::metadata(proxy.paths().metrics_socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

fn connect(address: SocketAddr) -> TcpStream {
    let mut stream = None;
    eventually("a connection to the address of metrics", || {
        stream = TcpStream::connect(address).ok();
        stream.is_some()
    });
    stream.unwrap()
}

#[test]
fn a_taken_address_is_an_event_and_tried_again() {
    let address = free_address();
    let taken = TcpListener::bind(address).unwrap();
    let proxy = Proxy::start_with(&[(ADDRESS_VARIABLE, &address.to_string())]);
    eventually("an event", || proxy.has_event("metrics_not_bound"));
    drop(taken);
    let answer = ask(connect(address), SCRAPE);
    assert!(
        page_of(&answer)
            .families
            .contains_key("skyserve_requests_total")
    );
    let events = proxy.events();
    let complaints = events
        .iter()
        .filter(|event| event["event"] == "metrics_not_bound");
    assert_eq!(complaints.count(), 1, "{events:?}");
}

#[test]
fn a_successor_serves_metrics_and_one_that_was_killed_leaves_no_obstacle() {
    let address = free_address();
    let proxy = Proxy::start_with(&[(ADDRESS_VARIABLE, &address.to_string())]);
    drop(proxy.controller());
    ask(connect(address), SCRAPE);
    for end in [Signal::TERM, Signal::KILL] {
        let (_, before) = proxy.processes();
        signal(before, end);
        eventually("another worker", || proxy.processes().1 != before);
        eventually("its metrics", || {
            UnixStream::connect(proxy.paths().metrics_socket()).is_ok()
        });
        let answer = ask(connect(address), SCRAPE);
        assert!(
            page_of(&answer)
                .families
                .contains_key("skyserve_connections")
        );
        scrape(&proxy);
    }
}

#[test]
fn a_request_is_known_by_its_id() {
    let replica = Replica::named("x");
    let (proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let long = "i".repeat(1000);
    for (path, headers) in [
        ("/given", "X-Request-Id: given-1\r\n"),
        ("/odd", "X-Request-Id: say \"\\\u{fc}\"\r\n"),
        ("/twice", "X-Request-Id: first\r\nx-request-id: second\r\n"),
        ("/empty", "X-Request-Id:\r\n"),
        ("/none", ""),
        ("/long", &format!("X-Request-Id: {long}\r\n")),
    ] {
        let answer = request(endpoint, "GET", path, headers);
        assert_eq!(answer.head.get("x-request-id"), None);
    }
    let lines = proxy.accesses(6);
    let logged = |path: &str| -> String {
        let line = lines.iter().find(|line| line["path"] == path).unwrap();
        assert_eq!(line["protocol"], "HTTP/1.1");
        line["request_id"].as_str().unwrap().to_owned()
    };
    let heads = replica.heads();
    let passed = |path: &str| -> Vec<&str> {
        let is_it = |head: &&Head| head.first_line.contains(path);
        heads.iter().find(is_it).unwrap().all("x-request-id")
    };
    for (path, ids) in [
        ("/given", &["given-1"][..]),
        ("/odd", &["say \"\\\u{fc}\""]),
        ("/twice", &["first", "second"]),
    ] {
        assert_eq!(passed(path), ids, "{path}");
        assert_eq!(logged(path), ids[0], "{path}");
    }
    for path in ["/empty", "/none"] {
        assert_eq!(passed(path), [logged(path)], "{path}");
        assert_eq!(logged(path).len(), 32, "{path}");
    }
    assert_ne!(logged("/empty"), logged("/none"));
    assert_eq!(passed("/long"), [long.as_str()]);
    assert_eq!(logged("/long"), long[..128]);
}

#[test]
fn an_id_that_concerns_the_connection_alone_is_replaced() {
    let replica = Replica::named("x");
    let (proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let headers = "X-Request-Id: mine\r\nConnection: x-request-id\r\n";
    request(endpoint, "GET", "/", headers);
    let passed = replica.heads()[0].get("x-request-id").unwrap().to_owned();
    assert_ne!(passed, "mine");
    assert_eq!(proxy.accesses(1)[0]["request_id"], passed.as_str());
}

#[test]
fn trace_context_passes_untouched() {
    let replica = Replica::named("x");
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let state = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";
    let headers = format!("traceparent: {parent}\r\ntracestate: {state}\r\ntracestate: a=b\r\n");
    let answer = request(endpoint, "GET", "/", &headers);
    let head = &replica.heads()[0];
    assert_eq!(head.all("traceparent"), [parent]);
    assert_eq!(head.all("tracestate"), [state, "a=b"]);
    assert_eq!(answer.head.get("traceparent"), None);
}

#[test]
fn no_credential_query_or_body_is_in_metrics() {
    let replica = Replica::named("answer-s3cret");
    let (proxy, mut controller, endpoint) = Proxy::serving(&[free_address(), replica.address]);
    let extra =
        "Authorization: Bearer s3cret\r\nCookie: id=s3cret\r\nContent-Length: 6\r\n\r\ns3cret";
    request(endpoint, "PUT", "/s3cret?token=s3cret", extra);
    request(endpoint, "GET", "http://user:s3cret@host/s3cret?s3cret", "");
    controller.send(&ProxyCommand::Withdraw {
        service: "s3cret".to_owned(),
    });
    proxy.accesses(2);
    let answer = ask(socket(&proxy), SCRAPE);
    assert!(!answer.contains("s3cret"), "{answer}");
}
