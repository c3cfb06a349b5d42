//! One readiness probe: what the balancer would see, on a fresh connection. Success is status 200 exactly;
//! redirects of a GET within the replica are followed (as SkyServe's client does).

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use spec::ReadinessProbe;
use tokio::net::TcpStream;

/// How a failure begins where nothing listens yet.
pub(crate) const REFUSED: &str = "connection refused";

/// Redirects followed in one probe.
const REDIRECTS: usize = 5;
/// Bytes of a refusing answer's body that are shown.
const BODY_SHOWN: usize = 120;

/// Probes once.
///
/// # Errors
/// What was seen instead of success, for a person. Headers sent are never part of it.
pub(crate) async fn probe(address: SocketAddr, probe: &ReadinessProbe) -> Result<(), String> {
    let limit = Duration::try_from_secs_f64(probe.timeout_seconds).unwrap_or(Duration::MAX);
    match tokio::time::timeout(limit, follow(address, probe)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no answer within {}s", probe.timeout_seconds)),
    }
}

async fn follow(address: SocketAddr, probe: &ReadinessProbe) -> Result<(), String> {
    let mut path = probe.path.clone();
    for _ in 0..=REDIRECTS {
        let (response, _connection) = exchange(address, &path, probe).await?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(());
        }
        match redirect(&response, address).filter(|_| probe.post_data.is_none()) {
            Some(next) => path = next,
            None => return Err(refusal(status, response.into_body()).await),
        }
    }
    Err(format!("more than {REDIRECTS} redirects"))
}

/// A connection that is closed when this is dropped.
struct Connection(tokio::task::JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn exchange(
    address: SocketAddr,
    path: &str,
    probe: &ReadinessProbe,
) -> Result<(http::Response<Incoming>, Connection), String> {
    let request = request(address, path, probe)?;
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| connect_error(address, &error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| format!("no HTTP connection: {error}"))?;
    let connection = Connection(tokio::spawn(async move {
        // How the connection ends shows in the request's own outcome.
        let _ = connection.await;
    }));
    let response = sender.send_request(request).await;
    let response = response.map_err(|error| format!("no answer: {}", root_cause(&error)))?;
    Ok((response, connection))
}

fn request(
    address: SocketAddr,
    path: &str,
    probe: &ReadinessProbe,
) -> Result<Request<Full<Bytes>>, String> {
    let body = match &probe.post_data {
        // In the order the user wrote it, where that is known.
        Some(data) => {
            let text = probe
                .post_data_json
                .clone()
                .unwrap_or_else(|| data.to_string());
            Full::new(Bytes::from(text))
        }
        None => Full::new(Bytes::new()),
    };
    let mut builder = Request::builder()
        .method(if probe.post_data.is_some() {
            Method::POST
        } else {
            Method::GET
        })
        .uri(path)
        .header(http::header::HOST, address.to_string())
        .header(
            http::header::USER_AGENT,
            concat!("skyserve-probe/", env!("CARGO_PKG_VERSION")),
        )
        .header(http::header::ACCEPT, "*/*")
        .header(http::header::CONNECTION, "close");
    if probe.post_data.is_some() {
        builder = builder.header(http::header::CONTENT_TYPE, "application/json");
    }
    let mut request = builder
        .body(body)
        .map_err(|error| format!("bad probe: {error}"))?;
    for (name, value) in &probe.headers {
        let bad = || format!("the probe's header '{name}' is not a valid HTTP header");
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        request
            .headers_mut()
            .insert(header, HeaderValue::from_str(value).map_err(|_| bad())?);
    }
    Ok(request)
}

/// Path of a redirect that stays at the replica.
fn redirect(response: &http::Response<Incoming>, address: SocketAddr) -> Option<String> {
    if !response.status().is_redirection() {
        return None;
    }
    let location = response
        .headers()
        .get(http::header::LOCATION)?
        .to_str()
        .ok()?;
    let uri: Uri = location.parse().ok()?;
    let here = match uri.authority() {
        None => true,
        Some(authority) => authority.as_str() == address.to_string(),
    };
    let path = uri.path_and_query()?.as_str();
    (here && path.starts_with('/')).then(|| path.to_owned())
}

async fn refusal(status: StatusCode, mut body: Incoming) -> String {
    let mut shown = Vec::new();
    while shown.len() < BODY_SHOWN {
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    shown.extend_from_slice(&data);
                }
            }
            Some(Err(_)) | None => break,
        }
    }
    let text = String::from_utf8_lossy(&shown);
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String = text
        .chars()
        .filter(|c| !c.is_control())
        .take(BODY_SHOWN)
        .collect();
    if text.is_empty() {
        format!("answered {}", status.as_u16())
    } else {
        format!("answered {}: {text}", status.as_u16())
    }
}

fn connect_error(address: SocketAddr, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => {
            format!(
                "connection refused (nothing listens on port {})",
                address.port()
            )
        }
        _ => format!("cannot connect: {error}"),
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
