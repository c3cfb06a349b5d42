//! Secrets stay out of states, events and logs: what replicas say is masked before the planner hears of it.

use plan::observation::{Observation, Phase};
use plan::{Event, ServiceState};
use spec::Masks;
use store::Store;

/// The secrets of every version that a service has in the store. One that cannot be read is told in the log; its
/// replicas are the ones whose launch needs it.
pub(crate) fn of(store: &dyn Store, state: &ServiceState) -> Masks {
    let mut masks = Masks::default();
    let launched = state
        .replicas
        .values()
        .map(|replica| replica.launched_version);
    for version in state.versions.keys().copied().chain(launched) {
        match store.version(&state.name, version) {
            Ok(Some(record)) => masks.add(&record.task),
            Ok(None) => {}
            Err(error) => {
                let service = &state.name;
                tracing::warn!(service, version, %error, "cannot read the secrets of a version");
            }
        }
    }
    masks
}

/// Masks what was seen of a replica.
pub(crate) fn observation(masks: &Masks, observation: &mut Observation) {
    match &mut observation.phase {
        Phase::Exited(exit) => {
            exit.log_tail = masks.lines(&exit.log_tail);
            exit.hint = exit.hint.as_deref().map(|hint| masks.text(hint));
        }
        Phase::Lost { reason } => *reason = masks.text(reason),
        Phase::Provisioning {
            detail: Some(detail),
        } => *detail = masks.text(detail),
        _ => {}
    }
}

/// Masks what an event quotes.
pub(crate) fn event(masks: &Masks, event: &mut Event) {
    match event {
        Event::Probed {
            failure: Some(text),
            ..
        }
        | Event::Verified {
            failure: Some(text),
            ..
        }
        | Event::LaunchFailed { message: text, .. }
        | Event::TerminateFailed { message: text, .. } => *text = masks.text(text),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plan::Timestamp;
    use plan::observation::{Exit, Stage};
    use spec::{Overrides, Purpose, SourceText, check_task};

    const SECRET: &str = "hunter2\nof-two-lines";

    fn masks() -> Masks {
        let yaml =
            "service: {readiness_probe: /}\nresources: {ports: 80}\nrun: x\nsecrets: {TOKEN: ''}\n";
        let overrides = Overrides {
            secrets: vec![("TOKEN".to_owned(), SECRET.to_owned())],
            ..Overrides::default()
        };
        let source = SourceText::new("task.yaml", yaml.as_bytes().to_vec());
        let checked = check_task(&source, &overrides, Purpose::Service);
        let mut masks = Masks::default();
        masks.add(&checked.task.expect("a task"));
        masks
    }

    #[test]
    fn what_a_replica_said_is_masked() {
        let phases = [
            Phase::Exited(Exit {
                stage: Stage::Run,
                code: Some(1),
                signal: None,
                at: Timestamp(0),
                log_tail: vec!["token: hunter2".to_owned(), "of-two-lines".to_owned()],
                hint: Some(format!("it said {SECRET}")),
            }),
            Phase::Lost {
                reason: SECRET.to_owned(),
            },
            Phase::Provisioning {
                detail: Some(format!("fetching {SECRET}")),
            },
        ];
        for phase in phases {
            let mut seen = Observation {
                phase,
                endpoint: None,
                infra: None,
                resources: None,
                resources_full: None,
            };
            observation(&masks(), &mut seen);
            let told = serde_json::to_string(&seen).unwrap();
            assert!(told.contains("***") && !told.contains("hunter2"), "{told}");
            assert!(!told.contains("of-two-lines"), "{told}");
        }
    }

    #[test]
    fn what_an_event_quotes_is_masked() {
        let text = || format!("503: {SECRET}");
        let events = [
            Event::Probed {
                replica: 1,
                version: 1,
                failure: Some(text()),
            },
            Event::Verified {
                replica: 1,
                version: 1,
                failure: Some(text()),
            },
            Event::LaunchFailed {
                replica: 1,
                class: plan::observation::ErrorClass::Transient,
                message: text(),
            },
            Event::TerminateFailed {
                replica: 1,
                message: text(),
            },
        ];
        for mut one in events {
            event(&masks(), &mut one);
            let told = serde_json::to_string(&one).unwrap();
            assert!(
                told.contains("503: ***") && !told.contains("hunter2"),
                "{told}"
            );
        }
    }
}
