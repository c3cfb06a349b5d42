//! The controller's side of the control socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use plan::routing::{Generation, ProxyCommand, ProxyReport, ReplicaId, RoutingTable};

use super::PATIENCE;

/// A connected controller.
pub(crate) struct Controller {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
    /// From the hello: process id and generations.
    pub(crate) hello: (u32, Vec<(String, Generation)>),
    /// Requests that arrived, as reported so far.
    pub(crate) arrivals: u32,
}

impl Controller {
    /// Connects and reads the hello.
    pub(crate) fn connect(socket: &Path) -> io::Result<Self> {
        let writer = UnixStream::connect(socket)?;
        writer.set_read_timeout(Some(PATIENCE))?;
        let reader = BufReader::new(writer.try_clone()?);
        let mut controller = Self {
            reader,
            writer,
            hello: (0, Vec::new()),
            arrivals: 0,
        };
        match controller.try_next()? {
            ProxyReport::Hello { pid, tables } => controller.hello = (pid, tables),
            other => panic!("{other:?} instead of a hello"),
        }
        Ok(controller)
    }

    pub(crate) fn send(&mut self, command: &ProxyCommand) {
        self.send_line(&serde_json::to_string(command).unwrap());
    }

    pub(crate) fn send_line(&mut self, line: &str) {
        self.writer
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
    }

    pub(crate) fn try_next(&mut self) -> io::Result<ProxyReport> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let report = serde_json::from_str(&line)?;
        if let ProxyReport::Traffic { arrivals, .. } = &report {
            self.arrivals += arrivals.iter().map(|arrival| arrival.count).sum::<u32>();
        }
        Ok(report)
    }

    pub(crate) fn next(&mut self) -> ProxyReport {
        self.try_next().unwrap()
    }

    /// Reads reports until `wanted` gives something.
    pub(crate) fn until<T>(&mut self, mut wanted: impl FnMut(&ProxyReport) -> Option<T>) -> T {
        loop {
            let report = self.next();
            if let Some(found) = wanted(&report) {
                return found;
            }
        }
    }

    /// Applies a table, waits for the acknowledgement and gives generation and counts in it.
    pub(crate) fn apply(&mut self, table: RoutingTable) -> (Generation, Vec<(ReplicaId, u32)>) {
        self.send(&ProxyCommand::Apply { table });
        self.until(|report| match report {
            ProxyReport::Acknowledged {
                generation,
                in_flight,
                ..
            } => Some((*generation, in_flight.clone())),
            ProxyReport::Refused { reason, .. } => panic!("refused: {reason}"),
            _ => None,
        })
    }

    /// Applies a table whose generation must be the one acknowledged.
    pub(crate) fn acknowledged(&mut self, table: RoutingTable) {
        let generation = table.generation;
        assert_eq!(self.apply(table).0, generation);
    }

    /// Applies a table that must be refused, and gives the reason.
    pub(crate) fn refused(&mut self, table: RoutingTable) -> String {
        self.send(&ProxyCommand::Apply { table });
        self.until(|report| match report {
            ProxyReport::Refused { reason, .. } => Some(reason.clone()),
            ProxyReport::Acknowledged { .. } => panic!("acknowledged"),
            _ => None,
        })
    }

    /// Waits until a report says that `replica` has `count` in flight.
    pub(crate) fn until_in_flight(&mut self, replica: ReplicaId, count: u32) {
        self.until(|report| match report {
            ProxyReport::Traffic { in_flight, .. } => {
                (count_of(in_flight, replica) == count).then_some(())
            }
            _ => None,
        });
    }

    /// Waits until as many requests as this were reported to have arrived.
    pub(crate) fn until_arrived(&mut self, count: u32) {
        while self.arrivals < count {
            self.next();
        }
    }
}

/// The count of a replica in a report; one that is not named has none.
pub(crate) fn count_of(in_flight: &[(ReplicaId, u32)], replica: ReplicaId) -> u32 {
    in_flight
        .iter()
        .find(|(id, _)| *id == replica)
        .map_or(0, |(_, count)| *count)
}
