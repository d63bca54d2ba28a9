//! What a request may cost, and how many requests are worked on.

use std::time::Duration;

/// What a request may cost. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest body; 32 MiB by default. More is a 413.
    pub body_bytes: usize,
    /// The most texts in a request; 20,000 by default (30 MB of vectors at 384 numbers). More is a 413.
    pub rows: usize,
    /// Bytes of all bodies that are held at once; 256 MiB by default. More is a 503.
    pub held_bytes: usize,
    /// The largest head of a request; 16 KiB by default. More is a 431.
    pub header_bytes: usize,
    /// How long the head of a request may take from its first byte, or from the start of its connection for the
    /// first one, TLS handshake included; 30 s by default.
    pub header_timeout: Duration,
    /// How long a connection may be idle between two requests; 75 s by default, which is more than the 60 s that
    /// proxies and balancers keep theirs for. If it were less, they would send requests into connections that are
    /// just being closed.
    pub idle_timeout: Duration,
    /// How long a request's body may take, all of it; 60 s by default.
    pub body_timeout: Duration,
    /// How long a client may take none of its answer; 30 s by default.
    pub write_timeout: Duration,
    /// Connections at once; 1024 by default. Further ones wait in the listener's backlog.
    pub connections: usize,
    /// Connections of one address (of IPv6, one /64) at once; `None`, the default, is a quarter of all and 64 at
    /// least. Further ones get a 503 and are closed. A proxy in front is one address: let it have as many as it
    /// opens. When an address has its share, or all connections are in use, those whose request hasn't come yet
    /// are closed for new ones.
    pub connections_per_address: Option<usize>,
}

/// How requests get to the stack. A request is cut into pieces, and each piece takes its own turn, so that one of
/// ten thousand texts doesn't hold up others.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdmissionConfig {
    /// Pieces that are at the stack at once; 64 by default.
    pub concurrency: usize,
    /// Requests that may wait for their first turn; 512 by default, as Ollama has it.
    pub queue: usize,
    /// The most texts of a piece; 64 by default.
    pub piece_rows: usize,
    /// Bytes of text after which a piece ends; 256 KiB by default.
    pub piece_bytes: usize,
    /// Pieces of one request that are at the stack at once; 4 by default. With one, a back end of several workers
    /// would idle at each piece's end.
    pub pieces_at_once: usize,
}

impl Limits {
    /// Sets the largest body, and what all bodies together may hold.
    #[must_use]
    pub fn with_bytes(mut self, body: usize, held: usize) -> Self {
        self.body_bytes = body;
        self.held_bytes = held;
        self
    }

    /// Sets the most texts in a request.
    #[must_use]
    pub fn with_rows(mut self, rows: usize) -> Self {
        self.rows = rows;
        self
    }

    /// Sets the largest head of a request.
    #[must_use]
    pub fn with_header_bytes(mut self, bytes: usize) -> Self {
        self.header_bytes = bytes;
        self
    }

    /// Sets how long a head, a body, and a stalled answer may take.
    #[must_use]
    pub fn with_timeouts(mut self, header: Duration, body: Duration, write: Duration) -> Self {
        self.header_timeout = header;
        self.body_timeout = body;
        self.write_timeout = write;
        self
    }

    /// Sets how long a connection may be idle between two requests.
    #[must_use]
    pub fn with_idle_timeout(mut self, idle: Duration) -> Self {
        self.idle_timeout = idle;
        self
    }

    /// Sets how many connections of one address there may be at once.
    #[must_use]
    pub fn with_connections_per_address(mut self, connections: usize) -> Self {
        self.connections_per_address = Some(connections);
        self
    }

    /// Connections of one address at once.
    pub(crate) fn share(&self) -> usize {
        self.connections_per_address.unwrap_or((self.connections / 4).max(64))
    }

    /// Sets how many connections there may be at once.
    #[must_use]
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 32 << 20,
            rows: 20_000,
            held_bytes: 256 << 20,
            header_bytes: 16 << 10,
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            connections: 1024,
            connections_per_address: None,
        }
    }
}

impl AdmissionConfig {
    /// Sets how many pieces are at the stack at once, and how many requests wait.
    #[must_use]
    pub fn with_bounds(mut self, concurrency: usize, queue: usize) -> Self {
        self.concurrency = concurrency;
        self.queue = queue;
        self
    }

    /// Sets the size of a piece, and how many of one request are at the stack at once.
    #[must_use]
    pub fn with_pieces(mut self, rows: usize, bytes: usize, at_once: usize) -> Self {
        self.piece_rows = rows;
        self.piece_bytes = bytes;
        self.pieces_at_once = at_once;
        self
    }
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self { concurrency: 64, queue: 512, piece_rows: 64, piece_bytes: 256 << 10, pieces_at_once: 4 }
    }
}
