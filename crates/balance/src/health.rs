//! `Health`: what requests say of a replica, and when it is left out for it (passive health).
//!
//! 1. A run of failures of one kind, not broken by a success, *ejects* the replica: 3 connections that failed, or 5
//!    answers of 500 to 599 (Envoy's `consecutive_5xx`).
//! 2. The first ejection lasts 10 s, the second in a row 20 s, and so on up to 300 s. An ejection that comes more than
//!    300 s after the last return is a first one again.
//! 3. At most half of a table's replicas are ejected, and at least one stays ([`may_eject`]): failures of all are the
//!    app's, not the replicas'.
//! 4. A probe that succeeded ends an ejection, at once if connections had failed (the probe has just made one), else
//!    after 10 s: probes do not see what requests saw.
//! 5. When an ejection is over, by time or probe, the replica is *on trial*: the next failure ejects it again, the next
//!    success ends the trial.
//!
//! Times are microseconds of a clock that never goes back.

/// Failed connections in a run that eject.
pub const CONNECT_FAILURES: u32 = 3;
/// Answers of 500 to 599 in a run that eject.
pub const SERVER_ERRORS: u32 = 5;
/// How long the first ejection lasts, in microseconds.
pub const BASE_EJECTION_MICROSECONDS: u64 = 10_000_000;
/// The longest ejection, and how long a replica must have been back for its ejections to be forgotten, in
/// microseconds.
pub const LONGEST_EJECTION_MICROSECONDS: u64 = 300_000_000;

/// How a request failed for which the replica is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection, or one that ended before an answer began.
    Connection,
    /// An answer with a status of 500 to 599.
    ServerError,
}

/// What the controller and the log are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthEvent {
    /// The replica gets no requests for now.
    Ejected {
        /// The kind of failure that did it.
        cause: Failure,
        /// How many ejections in a row this is, from 1.
        ejections: u32,
        /// When it ends, unless a probe ends it before.
        until_microseconds: u64,
    },
    /// The replica gets requests again.
    Returned {
        /// Whether a probe brought it back; else its time was over.
        by_probe: bool,
    },
}

/// The passive health of one replica, shared by all serving threads (behind a lock: it is touched when something
/// failed, see [`is_flawless`](Self::is_flawless)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    connect_failures: u32,
    server_errors: u32,
    /// In a row.
    ejections: u32,
    on_trial: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    In {
        /// When it last came back, if it ever did.
        since: Option<u64>,
    },
    Out {
        cause: Failure,
        since: u64,
        until: u64,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::In { since: None }
    }
}

/// Whether one more of `count` replicas may be ejected when `ejected` are: at most half are, and one stays.
#[must_use]
pub fn may_eject(ejected: usize, count: usize) -> bool {
    ejected < count / 2
}

impl Health {
    /// Whether it must not be chosen at this instant.
    #[must_use]
    pub fn is_ejected(&self, now_microseconds: u64) -> bool {
        matches!(self.state, State::Out { until, .. } if now_microseconds < until)
    }

    /// When its ejection ends, if it is ejected: for a copy that every thread can read.
    #[must_use]
    pub fn ejected_until(&self) -> Option<u64> {
        match self.state {
            State::Out { until, .. } => Some(until),
            State::In { .. } => None,
        }
    }

    /// Whether a success would change nothing. Where every thread can read a copy of this, the requests of a sound
    /// replica need not touch its health at all.
    #[must_use]
    pub fn is_flawless(&self) -> bool {
        self.connect_failures == 0 && self.server_errors == 0 && !self.on_trial
    }

    /// A request succeeded: any answer below 500. One that was under way when the replica was ejected says nothing.
    pub fn succeeded(&mut self, now_microseconds: u64) {
        if self.is_ejected(now_microseconds) {
            return;
        }
        self.connect_failures = 0;
        self.server_errors = 0;
        self.on_trial = false;
    }

    /// A request failed. `may_eject` is [`may_eject`] of the table as it is now; where it forbids, the run goes on and
    /// the next failure asks again.
    pub fn failed(
        &mut self,
        now_microseconds: u64,
        failure: Failure,
        may_eject: bool,
    ) -> Option<HealthEvent> {
        if self.is_ejected(now_microseconds) {
            return None;
        }
        let enough = match failure {
            Failure::Connection => {
                self.connect_failures = self.connect_failures.saturating_add(1);
                self.connect_failures >= CONNECT_FAILURES
            }
            Failure::ServerError => {
                // A connection that gave an answer is a connection.
                self.connect_failures = 0;
                self.server_errors = self.server_errors.saturating_add(1);
                self.server_errors >= SERVER_ERRORS
            }
        };
        ((enough || self.on_trial) && may_eject).then(|| self.eject(now_microseconds, failure))
    }

    /// A probe that began after the ejection succeeded. `None` if that changes nothing.
    pub fn probe_succeeded(&mut self, now_microseconds: u64) -> Option<HealthEvent> {
        let State::Out { cause, since, .. } = self.state else {
            return None;
        };
        let earliest = match cause {
            Failure::Connection => since,
            Failure::ServerError => since.saturating_add(BASE_EJECTION_MICROSECONDS),
        };
        (now_microseconds >= earliest).then(|| self.put_back(now_microseconds, true))
    }

    /// To be asked now and then: tells once that the time of an ejection is over. (That it *is* over,
    /// [`is_ejected`](Self::is_ejected) knows by itself.)
    pub fn tick(&mut self, now_microseconds: u64) -> Option<HealthEvent> {
        let over = self
            .ejected_until()
            .is_some_and(|until| now_microseconds >= until);
        over.then(|| self.put_back(now_microseconds, false))
    }

    fn eject(&mut self, now: u64, cause: Failure) -> HealthEvent {
        let forgotten = match self.state {
            State::In { since } => {
                since.is_none_or(|since| now.saturating_sub(since) > LONGEST_EJECTION_MICROSECONDS)
            }
            State::Out { until, .. } => now.saturating_sub(until) > LONGEST_EJECTION_MICROSECONDS,
        };
        self.ejections = if forgotten {
            1
        } else {
            self.ejections.saturating_add(1)
        };
        let lasts = BASE_EJECTION_MICROSECONDS
            .saturating_mul(u64::from(self.ejections))
            .min(LONGEST_EJECTION_MICROSECONDS);
        let until = now.saturating_add(lasts);
        self.state = State::Out {
            cause,
            since: now,
            until,
        };
        self.connect_failures = 0;
        self.server_errors = 0;
        // From the end of this ejection on; until then nothing that requests say counts.
        self.on_trial = true;
        HealthEvent::Ejected {
            cause,
            ejections: self.ejections,
            until_microseconds: until,
        }
    }

    fn put_back(&mut self, now: u64, by_probe: bool) -> HealthEvent {
        self.state = State::In { since: Some(now) };
        HealthEvent::Returned { by_probe }
    }
}

#[cfg(test)]
mod tests;
