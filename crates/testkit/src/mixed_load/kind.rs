//! The kinds of requests of a mixed load.

/// What a client sends over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// GET on a kept HTTP/1.1 connection.
    Kept,
    /// GET on a connection of its own.
    Fresh,
    /// Small POST.
    Post,
    /// POST of 16 KiB, which comes back.
    Upload16Kib,
    /// POST of 1 MB, which comes back.
    Upload1Mb,
    /// Events for as long as sessions last.
    Stream,
    /// A WebSocket whose messages come back.
    WebSocket,
    /// GET over HTTP/2.
    Http2Get,
    /// POST over HTTP/2.
    Http2Post,
    /// One gRPC message and its answer.
    GrpcUnary,
    /// gRPC messages both ways for as long as sessions last.
    GrpcBidirectional,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Kept,
        Self::Fresh,
        Self::Post,
        Self::Upload16Kib,
        Self::Upload1Mb,
        Self::Stream,
        Self::WebSocket,
        Self::Http2Get,
        Self::Http2Post,
        Self::GrpcUnary,
        Self::GrpcBidirectional,
    ];

    /// As the table of a report names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "GET, kept connection",
            Self::Fresh => "GET, fresh connection",
            Self::Post => "POST 2 kB",
            Self::Upload16Kib => "POST 16 KiB",
            Self::Upload1Mb => "POST 1 MB",
            Self::Stream => "event stream",
            Self::WebSocket => "WebSocket",
            Self::Http2Get => "GET, HTTP/2",
            Self::Http2Post => "POST, HTTP/2",
            Self::GrpcUnary => "gRPC unary",
            Self::GrpcBidirectional => "gRPC bidirectional",
        }
    }

    /// Whether doing it twice does no harm (RFC 9110 section 9.2.2), so that no death of a replica excuses a failure
    /// before the answer has begun.
    #[must_use]
    pub fn is_idempotent(self) -> bool {
        matches!(
            self,
            Self::Kept | Self::Fresh | Self::Stream | Self::Http2Get
        )
    }

    /// Clients that send it side by side.
    pub(super) fn clients(self) -> usize {
        match self {
            Self::Upload16Kib | Self::Upload1Mb | Self::Http2Post => 1,
            Self::Stream => 4,
            Self::WebSocket | Self::GrpcBidirectional => 3,
            _ => 2,
        }
    }

    /// Bytes of the body that is sent and comes back.
    pub(super) fn body_bytes(self) -> usize {
        match self {
            Self::Post | Self::Http2Post => 2000,
            Self::Upload16Kib => 16_384,
            Self::Upload1Mb => 1_000_000,
            Self::GrpcUnary => 100,
            _ => 0,
        }
    }

    pub(super) fn is_http2(self) -> bool {
        matches!(
            self,
            Self::Http2Get | Self::Http2Post | Self::GrpcUnary | Self::GrpcBidirectional
        )
    }

    /// Path up to the id.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Kept | Self::Fresh | Self::Http2Get => "plain",
            Self::Post | Self::Upload16Kib | Self::Upload1Mb | Self::Http2Post => "echo",
            Self::Stream => "stream",
            Self::WebSocket => "ws",
            Self::GrpcUnary | Self::GrpcBidirectional => "grpc.Echo",
        }
    }
}
