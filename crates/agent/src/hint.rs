//! What the agent makes of a failed stage, where it knows better than the exit code.

use crate::world::World;

/// What the C library says when a port is taken, in lower case.
const PORT_TAKEN: [&str; 3] = ["address already in use", "eaddrinuse", "address in use"];

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Exit code, unless ended by a signal.
    pub(crate) code: Option<i32>,
    /// Signal number, if ended by one.
    pub(crate) signal: Option<i32>,
}

/// A sentence on why the stage failed, if there is more to say than its code.
pub(crate) fn hint(
    ended: Ended,
    log_tail: &[String],
    world: &World,
    declared_port: u16,
) -> Option<String> {
    let said = log_tail.join("\n").to_lowercase();
    if PORT_TAKEN.iter().any(|words| said.contains(words)) {
        return Some(port_taken(world, declared_port));
    }
    // A shell reports a child that was killed as 128 + signal.
    match (ended.signal, ended.code) {
        (Some(9), _) | (_, Some(137)) => Some(
            "it was killed (signal 9): most often the machine had run out of memory; \
             give the app less to hold or the service fewer replicas"
                .to_owned(),
        ),
        (Some(11), _) | (_, Some(139)) => {
            Some("it crashed with a segmentation fault (signal 11)".to_owned())
        }
        (_, Some(127)) => {
            Some("a command was not found: install it in `setup`, or check PATH".to_owned())
        }
        (_, Some(126)) => {
            Some("a command could not be executed: check that its file may be executed".to_owned())
        }
        _ => None,
    }
}

/// Says that the port is taken, by whom that can be, and what to do.
fn port_taken(world: &World, declared_port: u16) -> String {
    if world.own_network {
        return format!(
            "a port it wants is taken inside the replica's own network, so by another process of \
             this replica; the replica must listen on port {} once",
            world.port
        );
    }
    let taken = if world.port == declared_port {
        "a port it wants is taken".to_owned()
    } else {
        format!("port {declared_port} or another port it wants is taken")
    };
    format!(
        "{taken}: this replica shares the machine's network ({}), where every replica needs a \
         port of its own; let the program listen on $PORT (here {})",
        world.reason, world.port
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Ended = Ended {
        code: Some(1),
        signal: None,
    };

    fn shared() -> World {
        World {
            own_network: false,
            ..World::test([127, 0, 0, 1].into(), 22_017)
        }
    }

    #[test]
    fn a_taken_port_is_told_with_the_way_out() {
        let tail = vec!["OSError: [Errno 98] Address already in use".to_owned()];
        let text = hint(FAILED, &tail, &shared(), 8081).unwrap();
        for part in [
            "port 8081",
            "shares the machine's network",
            "a test",
            "$PORT (here 22017)",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let own = World::test([100, 64, 0, 2].into(), 8081);
        assert!(
            hint(FAILED, &tail, &own, 8081)
                .unwrap()
                .contains("own network")
        );
    }

    #[test]
    fn only_what_is_known_is_told() {
        assert_eq!(hint(FAILED, &[], &shared(), 8081), None);
        let hint_of = |code, signal| hint(Ended { code, signal }, &[], &shared(), 8081);
        assert!(hint_of(None, Some(9)).unwrap().contains("memory"));
        assert!(hint_of(Some(137), None).unwrap().contains("memory"));
        assert!(hint_of(Some(127), None).unwrap().contains("not found"));
        assert!(hint_of(Some(126), None).unwrap().contains("executed"));
        assert!(hint_of(Some(139), None).unwrap().contains("segmentation"));
        assert_eq!(hint_of(None, Some(15)), None);
    }
}
