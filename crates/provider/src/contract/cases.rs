//! The cases, each one promise or a few that belong together.

use std::future::Future;

use plan::observation::{ErrorClass, Phase, Stage};
use spec::Secret;

use super::SERVER;
use super::suite::{Suite, Verdict, demand};
use crate::LaunchRequest;

impl Suite<'_> {
    pub(super) async fn unknown_keys(&self) -> Verdict {
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

    pub(super) async fn a_server(&self) -> Verdict {
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

    pub(super) async fn two_servers(&self) -> Verdict {
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

    pub(super) async fn launch_twice(&self) -> Verdict {
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

    pub(super) async fn launch_twice_at_once(&self) -> Verdict {
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

    pub(super) async fn setup_first(&self) -> Verdict {
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

    pub(super) async fn setup_fails(&self) -> Verdict {
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

    pub(super) async fn run_fails(&self) -> Verdict {
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

    pub(super) async fn run_is_killed(&self) -> Verdict {
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

    pub(super) async fn run_ends_cleanly(&self) -> Verdict {
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

    pub(super) async fn terminate_is_final(&self) -> Verdict {
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

    pub(super) async fn terminate_at_once(&self) -> Verdict {
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

    pub(super) async fn refused_launch(&self) -> Verdict {
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

    pub(super) async fn secrets(&self) -> Verdict {
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
}

async fn both(
    first: impl Future<Output = Verdict>,
    second: impl Future<Output = Verdict>,
) -> Verdict {
    let (first, second) = tokio::join!(first, second);
    first.and(second)
}
