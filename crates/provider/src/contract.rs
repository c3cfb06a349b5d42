//! The behaviour suite that every provider must pass, whatever its infrastructure.
//!
//! The cases use nothing but the [`Provider`] trait, bash and python3 on the replica. They end
//! every replica they launch, also when they fail. A provider's own tests call [`violations`] and
//! expect none.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{LaunchRequest, Provider};

mod cases;
mod suite;

use suite::{Suite, Verdict};

/// A server that answers every GET with the value of `$ANSWER`, on `$PORT`.
pub const SERVER: &str = r#"exec python3 -c '
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ.get("ANSWER", "none").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
http.server.HTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
'"#;

/// What a provider brings to the suite.
pub trait Fixture: Sync {
    /// A request with a key never used before, resources that can be had, and neither `setup` nor
    /// `run`.
    fn request(&self) -> LaunchRequest;

    /// How long a replica may take to get from one phase to the next.
    fn patience(&self) -> Duration;
}

type Case = for<'a> fn(&'a Suite<'a>) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

/// Runs every case, one after the other; returns the promises broken, each with the name of its
/// case.
pub async fn violations(provider: &dyn Provider, fixture: &dyn Fixture) -> Vec<String> {
    let suite = Suite { provider, fixture };
    let cases: [(&str, Case); 14] = [
        ("unknown keys", |suite| Box::pin(suite.unknown_keys())),
        ("a server", |suite| Box::pin(suite.a_server())),
        ("two servers", |suite| Box::pin(suite.two_servers())),
        ("launch twice", |suite| Box::pin(suite.launch_twice())),
        ("launch twice at once", |suite| {
            Box::pin(suite.launch_twice_at_once())
        }),
        ("setup comes first", |suite| Box::pin(suite.setup_first())),
        ("setup fails", |suite| Box::pin(suite.setup_fails())),
        ("run fails", |suite| Box::pin(suite.run_fails())),
        ("run is killed", |suite| Box::pin(suite.run_is_killed())),
        ("run ends cleanly", |suite| {
            Box::pin(suite.run_ends_cleanly())
        }),
        ("terminate is final", |suite| {
            Box::pin(suite.terminate_is_final())
        }),
        ("terminate at once", |suite| {
            Box::pin(suite.terminate_at_once())
        }),
        ("refused launch", |suite| Box::pin(suite.refused_launch())),
        ("secrets", |suite| Box::pin(suite.secrets())),
    ];
    let mut violations = Vec::new();
    for (name, case) in cases {
        if let Err(what) = case(&suite).await {
            violations.push(format!("{name}: {what}"));
        }
    }
    violations
}

/// One GET of `/`, by hand: the suite needs no HTTP client.
///
/// # Errors
/// The connection cannot be made or breaks, or nothing comes for five seconds.
pub async fn get(endpoint: SocketAddr) -> std::io::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(endpoint).await?;
        stream
            .write_all(b"GET / HTTP/1.0\r\nHost: replica\r\n\r\n")
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    tokio::time::timeout(Duration::from_secs(5), exchange).await?
}
