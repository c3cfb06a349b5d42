//! Clients of HTTP/1.1 in front of replicas that speak HTTP/2 only.

use http::{Request, Response};
use hyper::body::Incoming;
use plan::routing::RoutingTable;
use spec::ReplicaProtocol;

use crate::support::client::{Client, request};
use crate::support::http2::{Http2Replica, Sent, data, read, runtime, trailers};
use crate::support::process::Proxy;
use crate::support::{free_address, table};

fn h2c_table(replica: &Http2Replica) -> RoutingTable {
    let mut table = table(free_address(), 1, [replica.address]);
    table.load_balancer.replica_protocol = ReplicaProtocol::H2c;
    table
}

/// Answers with method, target and body in two frames and trailers.
async fn mirror(request: Request<Incoming>) -> Response<Sent> {
    let (parts, body) = request.into_parts();
    let text = read(body)
        .await
        .map_or_else(|_| "cut".to_owned(), |whole| whole.text);
    let first = format!("{} {}|", parts.method, parts.uri.path_and_query().unwrap());
    Response::new(Sent::of([
        data(&first),
        data(&text),
        trailers("x-end", "yes"),
    ]))
}

fn serving(test: impl FnOnce(&Http2Replica, std::net::SocketAddr) + Send + 'static) {
    runtime().block_on(async {
        let replica = Http2Replica::start(mirror).await;
        let (_proxy, _controller, endpoint) = Proxy::serving_table(h2c_table(&replica));
        // The client blocks; the replica runs on this thread meanwhile.
        tokio::task::spawn_blocking(move || {
            test(&replica, endpoint);
        })
        .await
        .unwrap();
    });
}

#[test]
fn requests_are_answered_one_after_the_other_on_one_connection() {
    serving(|replica, endpoint| {
        let mut client = Client::connect(endpoint);
        assert_eq!(client.get("/a?b").text(), "GET /a?b|");
        client.send("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(client.answer().text(), "POST /p|hello");
        client.send("PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
        assert_eq!(client.answer().text(), "PUT /c|abcde");
        client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.answer().text(), "GET /1|");
        assert_eq!(client.answer().text(), "GET /2|");
        let heads = replica.heads();
        assert_eq!(heads.len(), 5);
        assert!(
            heads
                .iter()
                .all(|head| head.version == http::Version::HTTP_2)
        );
        assert_eq!(heads[0].headers["x-forwarded-for"], "127.0.0.1");
    });
}

#[test]
fn large_bodies_pass_whole_and_a_client_of_http_1_0_is_served() {
    serving(|_, endpoint| {
        let body = "x".repeat(1_000_000);
        let length = format!("Content-Length: {}\r\n\r\n{body}", body.len());
        let answer = request(endpoint, "POST", "/", &length);
        assert_eq!(answer.text(), format!("POST /|{body}"));

        let mut old = Client::connect(endpoint);
        old.send("GET / HTTP/1.0\r\n\r\n");
        assert_eq!(old.answer().text(), "GET /|");
        assert!(old.is_ended());
    });
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it_and_a_head_has_no_body() {
    serving(|_, endpoint| {
        let mut client = Client::connect(endpoint);
        client.send(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
        );
        assert_eq!(client.head().first_line, "HTTP/1.1 100 Continue");
        client.send("ok");
        assert_eq!(client.answer().text(), "POST /|ok");
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.head().first_line, "HTTP/1.1 200 OK");
        assert_eq!(client.get("/next").text(), "GET /next|");
    });
}
