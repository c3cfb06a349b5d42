use super::*;

#[test]
fn every_replica_can_be_ended_and_what_is_over_stays_over() {
    for status in ReplicaStatus::ALL {
        if status.is_terminal() {
            let later = status.successors();
            assert!(
                later
                    .iter()
                    .all(|next| *next == ReplicaStatus::FailedCleanup)
            );
        } else {
            assert!(status.may_become(ReplicaStatus::ShuttingDown), "{status}");
        }
        assert!(!status.may_become(status), "{status} follows itself");
    }
}

#[test]
fn every_status_can_be_reached() {
    for status in ReplicaStatus::ALL {
        let reached = ReplicaStatus::ALL
            .iter()
            .any(|from| from.may_become(status));
        assert!(reached || status == ReplicaStatus::Pending, "{status}");
    }
}

#[test]
fn names_are_the_ones_users_see() {
    for status in ReplicaStatus::ALL {
        let written = serde_json::to_value(status).unwrap();
        assert_eq!(written, status.as_str());
        assert_eq!(
            format!("{status:<14}|"),
            format!("{:<14}|", status.as_str())
        );
    }
}

#[test]
fn a_service_is_what_all_its_replicas_make_of_it() {
    use ReplicaStatus::{Failed, NotReady, Preempted, Ready, ShuttingDown, Starting};
    let cases: [(&[ReplicaStatus], ServiceStatus); 6] = [
        (&[], ServiceStatus::NoReplica),
        (&[Failed, Starting], ServiceStatus::Failed),
        (&[Failed, Ready], ServiceStatus::Ready),
        (&[Starting, NotReady], ServiceStatus::ReplicaInit),
        (&[ShuttingDown], ServiceStatus::ReplicaInit),
        (&[Preempted], ServiceStatus::ReplicaInit),
    ];
    for (replicas, service) in cases {
        let found = ServiceStatus::from_replicas(replicas.iter().copied());
        assert_eq!(found, service, "{replicas:?}");
    }
}
