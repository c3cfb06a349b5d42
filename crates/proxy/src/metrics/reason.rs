//! Why the proxy refused something itself.

/// See [`Self::name`] and the documentation of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    BadRequest,
    Unauthorised,
    BodyTooLarge,
    ClientSlow,
    NoReplica,
    QueueFull,
    QueueTimeout,
    Connections,
    ConnectionsPerClient,
}

impl Reason {
    pub(super) const ALL: [Self; 9] = [
        Self::BadRequest,
        Self::Unauthorised,
        Self::BodyTooLarge,
        Self::ClientSlow,
        Self::NoReplica,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::Connections,
        Self::ConnectionsPerClient,
    ];

    /// Value of the label.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthorised => "unauthorised",
            Self::BodyTooLarge => "body_too_large",
            Self::ClientSlow => "client_slow",
            Self::NoReplica => "no_replica",
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::Connections => "max_connections",
            Self::ConnectionsPerClient => "max_connections_per_client",
        }
    }
}
