//! The behaviour suite that every provider must pass, whatever its infrastructure.
//!
//! The cases use nothing but the [`Provider`] trait, bash and python3 on the replica. They end every replica they
//! launch, also when they fail. A provider's own tests call [`violations`] and expect none.

use std::fmt::Display;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use plan::observation::{ErrorClass, Exit, Observation, Phase, Stage};
use spec::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::{LaunchRequest, Provider, ReplicaKey};

/// Pause between two observations, where the trait gives nothing to wait for.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Seconds between TERM and KILL where a case does not care.
const GRACE_SECONDS: f64 = 5.0;

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
    /// A request with a key never used before, resources that can be had, and neither `setup` nor `run`.
    fn request(&self) -> LaunchRequest;

    /// How long a replica may take to get from one phase to the next.
    fn patience(&self) -> Duration;
}

/// What a case has to say: nothing, or which promise was broken and how.
type Verdict = Result<(), String>;

type Case = for<'a> fn(&'a Suite<'a>) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

/// Runs every case, one after the other; returns the promises broken, each with the name of its case.
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

struct Suite<'a> {
    provider: &'a dyn Provider,
    fixture: &'a dyn Fixture,
}

impl Suite<'_> {
    async fn unknown_keys(&self) -> Verdict {
        let key = self.fixture.request().key;
        let observation = self.observe(&key).await?;
        demand(
            observation.phase == Phase::Absent,
            "a key never launched is absent",
        )?;
        demand(
            observation.endpoint.is_none(),
            "what is absent has no endpoint",
        )?;
        demand(
            self.provider.log_path(&key).is_none(),
            "what never was has no log",
        )?;
        demand(!self.listed(&key).await?, "what never was is not listed")?;
        self.end(&key).await
    }

    async fn a_server(&self) -> Verdict {
        let request = self.server("one");
        let key = &request.key;
        let outcome = async {
            self.launch(&request).await?;
            demand(self.listed(key).await?, "what is launched is listed")?;
            let endpoint = self.running(key).await?;
            self.answers(endpoint, "one").await?;
            let observation = self.observe(key).await?;
            demand(observation.infra.is_some(), "what runs tells its infra")?;
            demand(
                observation.resources.is_some(),
                "what runs tells its resources",
            )?;
            demand(self.provider.log_path(key).is_some(), "what runs has a log")
        };
        self.ending(key, outcome.await).await
    }

    async fn two_servers(&self) -> Verdict {
        let (one, two) = (self.server("one"), self.server("two"));
        let outcome = async {
            self.launch(&one).await?;
            self.launch(&two).await?;
            let (first, second) = (self.running(&one.key).await?, self.running(&two.key).await?);
            demand(first != second, "each replica has an endpoint of its own")?;
            self.answers(first, "one").await?;
            self.answers(second, "two").await?;
            self.end(&one.key).await?;
            self.answers(second, "two").await
        };
        let outcome = self.ending(&one.key, outcome.await).await;
        self.ending(&two.key, outcome).await
    }

    async fn launch_twice(&self) -> Verdict {
        let request = self.server("one");
        let outcome = async {
            self.launch(&request).await?;
            let endpoint = self.running(&request.key).await?;
            let changed = LaunchRequest {
                run: Some("exit 3".to_owned()),
                ..request.clone()
            };
            self.launch(&changed).await?;
            self.answers(endpoint, "one").await?;
            let again = self.running(&request.key).await?;
            demand(
                again == endpoint,
                "launching what is launched changes nothing",
            )
        };
        self.ending(&request.key, outcome.await).await
    }

    async fn launch_twice_at_once(&self) -> Verdict {
        let line = "launched once";
        let request = self.with(None, &format!("echo {line}; sleep 1000"));
        let outcome = async {
            let [first, second] = [&request, &request].map(|request| self.launch(request));
            both(first, second).await?;
            self.until(&request.key, "to log", |_| {
                self.log(&request.key).contains(line)
            })
            .await?;
            let count = self.log(&request.key).matches(line).count();
            demand(count == 1, "two launches at once start one replica")
        };
        self.ending(&request.key, outcome.await).await
    }

    async fn setup_first(&self) -> Verdict {
        let run = "cat made-by-setup; echo $SHARED; sleep 1000";
        let mut request = self.with(Some("echo from-setup > made-by-setup\nexit 0"), run);
        request
            .envs
            .insert("SHARED".to_owned(), "from-envs".to_owned());
        let key = &request.key;
        let outcome = async {
            self.launch(&request).await?;
            self.until(key, "to log", |_| self.log(key).contains("from-envs"))
                .await?;
            demand(
                self.log(key).contains("from-setup"),
                "setup and run share a workdir",
            )
        };
        self.ending(key, outcome.await).await
    }

    async fn setup_fails(&self) -> Verdict {
        let request = self.with(Some("echo broken-setup; exit 7"), "echo never-run");
        let key = &request.key;
        let outcome = async {
            self.launch(&request).await?;
            let exit = self.exited(key).await?;
            demand(exit.stage == Stage::Setup, "the stage that failed is told")?;
            demand(exit.code == Some(7), "setup's exit code is told")?;
            demand(
                exit.log_tail.iter().any(|line| line == "broken-setup"),
                "its last lines are told",
            )?;
            demand(
                !self.log(key).contains("never-run"),
                "run is not started after a failed setup",
            )
        };
        self.ending(key, outcome.await).await
    }

    async fn run_fails(&self) -> Verdict {
        let request = self.with(None, "echo first; echo broken-run >&2; exit 9");
        let key = &request.key;
        let outcome = async {
            self.launch(&request).await?;
            let exit = self.exited(key).await?;
            demand(exit.stage == Stage::Run, "the stage that failed is told")?;
            demand(
                exit.code == Some(9) && exit.signal.is_none(),
                "run's exit code is told",
            )?;
            let last = exit.log_tail.last().map(String::as_str);
            demand(
                last == Some("broken-run"),
                "its last lines are told, also of stderr",
            )?;
            demand(
                self.observe(key).await?.endpoint.is_none(),
                "what failed has no endpoint",
            )?;
            self.launch(&request).await?;
            self.exited(key).await.map(drop)
        };
        self.ending(key, outcome.await).await
    }

    async fn run_is_killed(&self) -> Verdict {
        let request = self.with(None, "kill -KILL $$");
        let outcome = async {
            self.launch(&request).await?;
            let exit = self.exited(&request.key).await?;
            demand(
                exit.code.is_none() && exit.signal == Some(9),
                "the signal is told",
            )
        };
        self.ending(&request.key, outcome.await).await
    }

    async fn run_ends_cleanly(&self) -> Verdict {
        let server = SERVER.trim_start_matches("exec ");
        let mut request = self.with(None, &format!("{server} &\nexit 0"));
        request
            .envs
            .insert("ANSWER".to_owned(), "daemon".to_owned());
        let outcome = async {
            self.launch(&request).await?;
            let endpoint = self.running(&request.key).await?;
            self.answers(endpoint, "daemon").await?;
            let phase = self.observe(&request.key).await?.phase;
            demand(
                matches!(phase, Phase::Running { .. }),
                "a clean exit of run is no failure",
            )
        };
        self.ending(&request.key, outcome.await).await
    }

    async fn terminate_is_final(&self) -> Verdict {
        let request = self.with(
            None,
            "trap '' TERM; echo stubborn; while :; do sleep 1; done",
        );
        let key = &request.key;
        let outcome = async {
            self.launch(&request).await?;
            self.until(key, "to log", |_| self.log(key).contains("stubborn"))
                .await?;
            self.terminate(key, 0.5).await?;
            demand(
                self.observe(key).await?.phase == Phase::Absent,
                "what has ended is absent",
            )?;
            demand(!self.listed(key).await?, "what has ended is not listed")?;
            demand(
                self.log(key).contains("stubborn"),
                "the log outlives the replica",
            )?;
            self.terminate(key, 0.5).await
        };
        self.ending(key, outcome.await).await
    }

    async fn terminate_at_once(&self) -> Verdict {
        let request = self.server("one");
        let outcome = async {
            self.launch(&request).await?;
            self.terminate(&request.key, 0.0).await?;
            let phase = self.observe(&request.key).await?.phase;
            demand(
                phase == Phase::Absent,
                "a replica can be ended before it is up",
            )
        };
        self.ending(&request.key, outcome.await).await
    }

    async fn refused_launch(&self) -> Verdict {
        let request = LaunchRequest {
            num_nodes: 1_000_000,
            ..self.server("one")
        };
        let outcome = async {
            let Err(error) = self.provider.launch(&request).await else {
                return Err("a million nodes were granted".to_owned());
            };
            let classes = [
                ErrorClass::UserFault,
                ErrorClass::NoCapacity,
                ErrorClass::Quota,
            ];
            demand(
                classes.contains(&error.class),
                "a launch that cannot be is classed so",
            )?;
            demand(!error.message.is_empty(), "and says why")?;
            demand(
                !self.listed(&request.key).await?,
                "nothing is left of a refused launch",
            )?;
            let phase = self.observe(&request.key).await?.phase;
            demand(
                phase == Phase::Absent,
                "a refused launch leaves the key absent",
            )
        };
        self.ending(&request.key, outcome.await).await
    }

    async fn secrets(&self) -> Verdict {
        let value = "tr0ub4dor-and-3";
        let run = "test \"$TOKEN\" = tr0ub4dor-and-3 && echo it-came; echo $TOKEN; exit 1";
        let mut request = self.with(None, run);
        request
            .secrets
            .insert("TOKEN".to_owned(), Secret::new(value));
        let outcome = async {
            self.launch(&request).await?;
            let exit = self.exited(&request.key).await?;
            demand(
                exit.log_tail.iter().any(|line| line == "it-came"),
                "secrets reach the app",
            )?;
            let observation = self.observe(&request.key).await?;
            let told = format!("{observation:?}");
            demand(!told.contains(value), "no observation tells a secret")
        };
        self.ending(&request.key, outcome.await).await
    }

    fn with(&self, setup: Option<&str>, run: &str) -> LaunchRequest {
        let (setup, run) = (setup.map(str::to_owned), Some(run.to_owned()));
        LaunchRequest {
            setup,
            run,
            ..self.fixture.request()
        }
    }

    fn server(&self, answer: &str) -> LaunchRequest {
        let mut request = self.with(None, SERVER);
        request.envs.insert("ANSWER".to_owned(), answer.to_owned());
        request
    }

    async fn launch(&self, request: &LaunchRequest) -> Verdict {
        self.provider.launch(request).await.map_err(told("launch"))
    }

    async fn terminate(&self, key: &ReplicaKey, grace_seconds: f64) -> Verdict {
        self.provider
            .terminate(key, grace_seconds)
            .await
            .map_err(told("terminate"))
    }

    async fn end(&self, key: &ReplicaKey) -> Verdict {
        self.terminate(key, GRACE_SECONDS).await
    }

    /// Ends the replica whatever came of the case.
    async fn ending(&self, key: &ReplicaKey, outcome: Verdict) -> Verdict {
        let ended = self.end(key).await;
        let outcome = outcome.map_err(|what| format!("{what}; its log: {:?}", self.log(key)));
        outcome.and(ended)
    }

    async fn observe(&self, key: &ReplicaKey) -> Result<Observation, String> {
        self.provider.observe(key).await.map_err(told("observe"))
    }

    async fn listed(&self, key: &ReplicaKey) -> Result<bool, String> {
        Ok(self
            .provider
            .list()
            .await
            .map_err(told("list"))?
            .contains(key))
    }

    fn log(&self, key: &ReplicaKey) -> String {
        let path = self.provider.log_path(key);
        path.and_then(|path| std::fs::read_to_string(path).ok())
            .unwrap_or_default()
    }

    /// Observes until `done`, for as long as the fixture is patient.
    async fn until(
        &self,
        key: &ReplicaKey,
        what: &str,
        done: impl Fn(&Observation) -> bool,
    ) -> Result<Observation, String> {
        let deadline = Instant::now() + self.fixture.patience();
        loop {
            let observation = self.observe(key).await?;
            if done(&observation) {
                return Ok(observation);
            }
            if Instant::now() >= deadline {
                return Err(format!("waited in vain for it {what}: {observation:?}"));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Waits until it runs and says where.
    async fn running(&self, key: &ReplicaKey) -> Result<SocketAddr, String> {
        let runs = |observation: &Observation| {
            matches!(observation.phase, Phase::Running { .. }) && observation.endpoint.is_some()
        };
        let observation = self.until(key, "to run at an endpoint", runs).await?;
        observation
            .endpoint
            .ok_or_else(|| "what runs has an endpoint".to_owned())
    }

    /// Waits until it has failed.
    async fn exited(&self, key: &ReplicaKey) -> Result<Exit, String> {
        let failed = |observation: &Observation| matches!(observation.phase, Phase::Exited(_));
        match self.until(key, "to fail", failed).await?.phase {
            Phase::Exited(exit) => Ok(exit),
            other => Err(format!("it was {other:?}")),
        }
    }

    /// Waits until a GET at `endpoint` is answered with `expected`.
    async fn answers(&self, endpoint: SocketAddr, expected: &str) -> Verdict {
        let deadline = Instant::now() + self.fixture.patience();
        loop {
            let outcome = get(endpoint).await;
            match outcome {
                Ok(answer) if answer.ends_with(expected) => return Ok(()),
                _ if Instant::now() < deadline => tokio::time::sleep(LOOK_PAUSE).await,
                outcome => {
                    return Err(format!(
                        "{endpoint} does not answer {expected:?}: {outcome:?}"
                    ));
                }
            }
        }
    }
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

async fn both(
    first: impl Future<Output = Verdict>,
    second: impl Future<Output = Verdict>,
) -> Verdict {
    let (first, second) = tokio::join!(first, second);
    first.and(second)
}

fn demand(holds: bool, promise: &str) -> Verdict {
    if holds {
        Ok(())
    } else {
        Err(format!("broken promise: {promise}"))
    }
}

fn told<E: Display>(call: &'static str) -> impl FnOnce(E) -> String {
    move |error| format!("{call}: {error}")
}
