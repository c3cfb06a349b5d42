use http::{Request, Response};

use super::*;

const PEER: &str = "192.0.2.7";

fn peer() -> Peer {
    Peer::new(format!("{PEER}:1").parse().unwrap(), false)
}

/// The head for a replica that speaks HTTP/1.1.
fn prepared(request: request::Builder) -> Result<request::Parts, Rejection> {
    let head = head(request)?;
    Ok(head.to_http1(RequestBody::empty()).into_parts().0)
}

fn head(request: request::Builder) -> Result<Head, Rejection> {
    let (parts, ()) = request.body(()).unwrap().into_parts();
    Head::of(parts, &peer(), false)
}

fn get(target: &str) -> request::Builder {
    Request::builder().uri(target).header("host", "example.org")
}

#[test]
fn path_and_query_stay_byte_for_byte() {
    for target in [
        "/",
        "/a%2Fb",
        "/a//b/../c/",
        "/?",
        "/a?b?c=%20&d=+",
        "/%C3%A4;x=1,2",
        "//x",
        "/a{b}|c",
    ] {
        assert_eq!(prepared(get(target)).unwrap().uri.to_string(), target);
    }
}

#[test]
fn an_absolute_target_gives_path_and_host() {
    let parts = prepared(get("http://user@other.example:81/a?b")).unwrap();
    assert_eq!(parts.uri.to_string(), "/a?b");
    assert_eq!(parts.headers["host"], "other.example:81");
}

#[test]
fn targets_and_hosts_that_make_no_sense_are_rejected() {
    let no_host = Request::builder().uri("/");
    let two_hosts = get("/").header("host", "other");
    let authority = get("example.org:80");
    let star = get("*");
    for request in [no_host, two_hosts, authority, star] {
        assert_eq!(
            prepared(request).unwrap_err().status,
            StatusCode::BAD_REQUEST
        );
    }
    let connect = get("example.org:80").method(Method::CONNECT);
    assert_eq!(
        prepared(connect).unwrap_err().status,
        StatusCode::NOT_IMPLEMENTED
    );
    assert!(prepared(get("*").method(Method::OPTIONS)).is_ok());
}

#[test]
fn http_1_0_needs_no_host() {
    let parts = prepared(Request::builder().uri("/").version(Version::HTTP_10)).unwrap();
    assert_eq!(
        (parts.version, parts.headers["host"].as_bytes()),
        (Version::HTTP_11, &b""[..])
    );
    assert!(!parts.headers.contains_key(X_FORWARDED_HOST));
}

#[test]
fn headers_of_the_connection_are_removed_and_others_stay() {
    let request = get("/")
        .header("connection", "close, X-Private, Host, content-length")
        .header("connection", "x-other")
        .header("x-private", "1")
        .header("x-other", "2")
        .header("content-length", "0")
        .header("keep-alive", "timeout=5")
        .header("proxy-connection", "keep-alive")
        .header("te", "gzip")
        .header("upgrade", "websocket")
        .header("authorization", "Bearer x");
    let headers = prepared(request).unwrap().headers;
    for gone in [
        "connection",
        "x-private",
        "x-other",
        "keep-alive",
        "proxy-connection",
        "te",
    ] {
        assert!(!headers.contains_key(gone), "{gone}");
    }
    assert!(!headers.contains_key("upgrade"), "not named by Connection");
    assert_eq!(headers["host"], "example.org");
    assert_eq!(headers["content-length"], "0");
    assert_eq!(headers["authorization"], "Bearer x");
}

#[test]
fn the_wish_for_trailers_is_passed_on() {
    let headers = prepared(get("/").header("te", "gzip, trailers"))
        .unwrap()
        .headers;
    assert_eq!(
        (&headers["connection"], &headers["te"]),
        (&"te".parse().unwrap(), &"trailers".parse().unwrap())
    );
}

#[test]
fn forwarded_headers_are_extended_or_set_where_absent() {
    let headers = prepared(get("/")).unwrap().headers;
    assert_eq!(headers["x-forwarded-for"], PEER);
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(headers["x-forwarded-host"], "example.org");

    let request = get("/")
        .header("x-forwarded-for", "198.51.100.1")
        .header("x-forwarded-for", "198.51.100.2")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "public.example");
    let headers = prepared(request).unwrap().headers;
    assert_eq!(
        headers["x-forwarded-for"],
        "198.51.100.1, 198.51.100.2, 192.0.2.7"
    );
    assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
    assert_eq!(headers["x-forwarded-proto"], "https");
    assert_eq!(headers["x-forwarded-host"], "public.example");
}

#[test]
fn an_answer_keeps_its_cookies_apart_and_loses_its_connection_headers() {
    let response = Response::builder()
        .header("set-cookie", "a=1")
        .header("set-cookie", "b=2")
        .header("connection", "close, x-internal")
        .header("x-internal", "1")
        .header("transfer-encoding", "chunked")
        .header("server", "replica")
        .body(());
    let (mut parts, ()) = response.unwrap().into_parts();
    clean_answer(&mut parts);
    let cookies: Vec<_> = parts.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert_eq!(parts.headers.len(), 3, "{:?}", parts.headers);
}

#[test]
fn a_request_for_http_2_has_its_host_in_the_target() {
    let address = "198.51.100.9:8080".parse().unwrap();
    for (host, authority) in [("example.org", "example.org"), ("", "198.51.100.9:8080")] {
        let request = Request::builder().uri("/a?b").header("host", host);
        let request = request.header("te", "trailers").header("connection", "te");
        let request = head(request)
            .unwrap()
            .to_http2(RequestBody::empty(), address);
        assert_eq!(request.uri().to_string(), format!("http://{authority}/a?b"));
        assert_eq!(request.headers()["te"], "trailers");
        for gone in ["host", "connection"] {
            assert!(!request.headers().contains_key(gone), "{gone}");
        }
    }
}

#[test]
fn host_and_authority_must_agree_in_http_2() {
    let request = || {
        Request::builder()
            .uri("http://a.example/")
            .version(Version::HTTP_2)
    };
    assert!(head(request().header("host", "a.example")).is_ok());
    assert!(head(request()).is_ok());
    let differing = head(request().header("host", "b.example"));
    assert_eq!(differing.unwrap_err().status, StatusCode::BAD_REQUEST);
}

#[test]
fn cookies_that_came_apart_are_one_header() {
    let request = get("/").header("cookie", "a=1").header("cookie", "b=2");
    let headers = prepared(request).unwrap().headers;
    let cookies: Vec<_> = headers.get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=1; b=2"]);
}
