//! gRPC through the proxy: a client and a replica of tonic's, under the protocol that is the default.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc;
use tonic::Code;

use crate::support::grpc::{GrpcClient, replica, request, text};
use crate::support::http2::{Http2Client, Sent, data, read, runtime, soon};
use crate::support::process::Proxy;
use crate::support::replica::Replica;
use crate::support::{free_address, table};

#[test]
fn all_four_kinds_of_calls_pass() {
    runtime().block_on(async {
        let replica = replica().await;
        let (proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
        let mut client = GrpcClient::connect(endpoint).await;

        let answer = client.unary("/echo/unary", request("one")).await;
        assert_eq!(answer.unwrap(), "one");

        let mut words = client.server_streaming("a bc d").await.unwrap();
        for word in ["a", "bc", "d"] {
            assert_eq!(text(&words.message().await.unwrap().unwrap()), word);
        }
        assert!(words.message().await.unwrap().is_none());

        let pieces = ["x", "y", "z"].map(|piece| Bytes::from_static(piece.as_bytes()));
        let answer = client.client_streaming(stream::iter(pieces)).await;
        assert_eq!(answer.unwrap(), "xyz");

        // Each message is sent only when the one before has come back.
        let (sink, source) = mpsc::channel::<Bytes>(1);
        let messages = stream::unfold(source, async |mut source| {
            let message = source.recv().await?;
            Some((message, source))
        });
        sink.send("0".into()).await.unwrap();
        let mut echoes = client.streaming(messages).await.unwrap();
        for number in 0..10 {
            let echo = soon("an echo", echoes.message()).await.unwrap().unwrap();
            assert_eq!(text(&echo), number.to_string());
            sink.send((number + 1).to_string().into()).await.unwrap();
        }
        drop(sink);
        assert_eq!(text(&echoes.message().await.unwrap().unwrap()), "10");
        assert!(echoes.message().await.unwrap().is_none());

        assert_eq!(replica.connections(), 1, "shared by all calls");
        controller.until_arrived(4);
        for line in proxy.accesses(4) {
            assert_eq!(line["outcome"], "completed", "{line}");
        }
    });
}

#[test]
fn a_status_of_the_replica_passes_as_it_is() {
    runtime().block_on(async {
        let replica = replica().await;
        let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
        let mut client = GrpcClient::connect(endpoint).await;
        // In the head ("trailers-only"), then in the trailers.
        let status = client
            .unary("/echo/unary", request("fail"))
            .await
            .unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::NotFound, "no käse")
        );
        let mut words = client.server_streaming("a fail").await.unwrap();
        assert_eq!(text(&words.message().await.unwrap().unwrap()), "a");
        let status = words.message().await.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::DataLoss, "failed")
        );
        let status = client.unary("/echo/none", request("x")).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
    });
}

#[test]
fn what_a_call_needs_reaches_the_replica() {
    runtime().block_on(async {
        let replica = replica().await;
        let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
        let mut client = GrpcClient::connect(endpoint).await;
        let mut call = request("x");
        call.set_timeout(Duration::from_secs(77));
        call.metadata_mut().insert_bin(
            "x-bin",
            tonic::metadata::MetadataValue::from_bytes(b"\x00\xff"),
        );
        client.unary("/echo/unary", call).await.unwrap();
        let head = replica.heads().pop().unwrap();
        assert_eq!(head.headers["te"], "trailers");
        assert_eq!(head.headers["content-type"], "application/grpc");
        assert!(head.headers.contains_key("x-bin"));
        let timeout = head.headers["grpc-timeout"].to_str().unwrap();
        assert!(timeout.starts_with("77"), "{timeout}");
    });
}

#[test]
fn without_a_replica_a_call_is_unavailable() {
    runtime().block_on(async {
        let (proxy, mut controller, endpoint) = Proxy::serving(&[]);
        let mut client = GrpcClient::connect(endpoint).await;
        let status = client.unary("/echo/unary", request("x")).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(
            status.message().starts_with("No ready replicas."),
            "{status}"
        );
        assert_eq!(proxy.accesses(1)[0]["outcome"], "no_replica");
        controller.acknowledged(table(endpoint, 2, [free_address()]));
        let status = client.unary("/echo/unary", request("x")).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
    });
}

#[test]
fn the_proxys_own_answer_is_a_head_only() {
    runtime().block_on(async {
        let (_proxy, _controller, endpoint) = Proxy::serving(&[]);
        let client = Http2Client::connect(endpoint).await;
        let request = client
            .request("POST", "/a/b")
            .header("content-type", "application/grpc+proto");
        let answer = client
            .send(request.body(Sent::text("x")).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/grpc");
        assert_eq!(answer.headers()["grpc-status"], "14");
        let whole = read(answer.into_body()).await.unwrap();
        assert!(
            whole.text.is_empty() && whole.trailers.is_empty(),
            "{whole:?}"
        );
    });
}

#[test]
fn silence_is_a_deadline_that_was_exceeded() {
    runtime().block_on(async {
        let replica = replica().await;
        let mut table = table(free_address(), 1, [replica.address]);
        table.load_balancer.stream_timeout_seconds = 0.3;
        let (proxy, _controller, endpoint) = Proxy::serving_table(table);
        let mut client = GrpcClient::connect(endpoint).await;
        let status = client
            .unary("/echo/unary", request("wait"))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(
            status.message().contains("stream_timeout_seconds"),
            "{status}"
        );
        assert_eq!(proxy.accesses(1)[0]["outcome"], "silent");
        let answer = client.unary("/echo/unary", request("next")).await;
        assert_eq!(answer.unwrap(), "next");
        assert_eq!(
            replica.connections(),
            2,
            "no more requests on the silent one"
        );
    });
}

#[test]
fn a_call_that_breaks_off_ends_with_a_status() {
    runtime().block_on(async {
        let replica = replica().await;
        let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
        let mut client = GrpcClient::connect(endpoint).await;
        let (sink, source) = mpsc::channel::<Bytes>(1);
        let messages = stream::unfold(source, async |mut source| {
            let message = source.recv().await?;
            Some((message, source))
        });
        sink.send("begun".into()).await.unwrap();
        let mut echoes = client.streaming(messages).await.unwrap();
        assert_eq!(text(&echoes.message().await.unwrap().unwrap()), "begun");
        drop(replica);
        let status = soon("the end", echoes.message()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
    });
}

#[test]
fn grpc_web_goes_over_http_1() {
    let replica = Replica::named("web");
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    runtime().block_on(async {
        let client = Http2Client::connect(endpoint).await;
        let request = client
            .request("POST", "/a/b")
            .header("content-type", "application/grpc-web");
        let body = Sent::of([data("x")]);
        let answer = client.send(request.body(body).unwrap()).await.unwrap();
        assert_eq!(read(answer.into_body()).await.unwrap().text, "web");
    });
}
