//! What is measured: one row of load for each kind of use.

use std::time::Duration;

use clap::ValueEnum;

use crate::load::{self, Request};
use crate::streams;

const GET: Request = Request {
    method: "GET",
    path: "/",
    body_bytes: 0,
    close: false,
};
/// Pause between two events of a stream.
const EVENT_PAUSE: Duration = Duration::from_millis(5);

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Row {
    /// Small GET, 64 connections.
    #[value(name = "get-64")]
    Get64,
    /// Small GET, 8 connections.
    #[value(name = "get-8")]
    Get8,
    /// Small GET, a connection for each request, 64 at a time.
    Close,
    /// 64 KiB answers, 32 connections.
    Large,
    /// 16 KiB POST, 64 connections.
    Post,
    /// Small GET, 4,000 per second over 64 connections.
    Rate,
    /// 200 event streams at once.
    Streams,
    /// Small GET over TLS, 64 connections.
    Tls,
    /// Memory idle, with idle connections and with slow streams.
    Memory,
    /// Our proxy with 2 and with 1,000 replicas.
    Replicas,
    /// Our proxy with 1 and with 100 services.
    Services,
}

/// The load of a row.
#[derive(Clone, Debug)]
pub(crate) enum Load {
    /// As fast as answers come.
    Closed {
        request: Request,
        connections: usize,
        tls: bool,
    },
    /// At a fixed rate, by the project's own generator.
    Open {
        request: Request,
        plan: load::Plan,
    },
    Streams(streams::Plan),
}

impl Row {
    /// All, in the order of the tables.
    pub const ALL: [Self; 11] = [
        Self::Get64,
        Self::Get8,
        Self::Close,
        Self::Large,
        Self::Post,
        Self::Rate,
        Self::Streams,
        Self::Tls,
        Self::Memory,
        Self::Replicas,
        Self::Services,
    ];

    /// The name on the command line.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Get64 => "Small GET, 64 connections",
            Self::Get8 => "Small GET, 8 connections",
            Self::Close => "Small GET, `Connection: close`, 64 at a time",
            Self::Large => "64 KiB answers, 32 connections",
            Self::Post => "16 KiB POST, 64 connections",
            Self::Rate => "Small GET, 4,000 per second over 64 connections",
            Self::Streams => "200 event streams, one event per 5 ms each",
            Self::Tls => "Small GET over TLS, 64 connections",
            Self::Memory => "Memory",
            Self::Replicas => "Replicas in the table",
            Self::Services => "Services in the proxy",
        }
    }

    /// The load that lasts for `duration`; `None` for a row that is no load on all peers.
    pub(crate) fn load(self, duration: Duration) -> Option<Load> {
        let closed = |request: Request, connections| Load::Closed {
            request,
            connections,
            tls: false,
        };
        Some(match self {
            Self::Get64 => closed(GET, 64),
            Self::Get8 => closed(GET, 8),
            Self::Close => closed(Request { close: true, ..GET }, 64),
            Self::Large => closed(
                Request {
                    path: "/64k",
                    ..GET
                },
                32,
            ),
            Self::Post => {
                let request = Request {
                    method: "POST",
                    path: "/generate",
                    body_bytes: 16_384,
                    close: false,
                };
                closed(request, 64)
            }
            Self::Rate => {
                let plan = load::Plan {
                    connections: 64,
                    duration,
                    rate: Some(4000.0),
                };
                Load::Open { request: GET, plan }
            }
            Self::Streams => {
                let events = duration.as_millis() / EVENT_PAUSE.as_millis();
                Load::Streams(streams::Plan {
                    streams: 200,
                    events: u32::try_from(events).unwrap_or(u32::MAX).max(1),
                    pause: EVENT_PAUSE,
                })
            }
            Self::Tls => Load::Closed {
                request: GET,
                connections: 64,
                tls: true,
            },
            Self::Memory | Self::Replicas | Self::Services => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_last_as_long_as_they_are_asked_to() {
        let Some(Load::Streams(plan)) = Row::Streams.load(Duration::from_secs(4)) else {
            panic!("no streams");
        };
        assert_eq!((plan.streams, plan.events), (200, 800));
    }

    #[test]
    fn rows_have_names_of_their_own() {
        let mut names: Vec<String> = Row::ALL.into_iter().map(Row::name).collect();
        assert!(names.iter().all(|name| !name.is_empty()));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Row::ALL.len());
    }
}
