//! `Share`: which requests belong to a share of the traffic, exactly so many and at moments that nobody can foresee.
//!
//! Stratified sampling: the requests' weights are laid end to end on a line, and in each unit of that line one point is
//! drawn at random; the requests on which a point falls belong to the share. Of any number n of requests in a row from the
//! first on, n times the weight belong to it, give or take one: a random draw would be off by some 22 of 500. Yet no client
//! can come to be in step with it, as with every twentieth request: which of the twenty it is, is drawn anew each time.

use crate::hash::mix;
use crate::turn::Turn;

/// A share of the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u64);

impl Weight {
    const WHOLE: u64 = 1 << 32;

    /// A share in percent, to a billionth of the traffic. What is below 0 or no number is 0, what is above 100 is 100.
    #[must_use]
    pub fn from_percent(percent: f64) -> Self {
        // `as` takes what is no number for 0.
        Self((percent.clamp(0.0, 100.0) / 100.0 * Self::WHOLE as f64).round() as u64)
    }

    /// Whether a session belongs to the share. It always does or never does while the weight stands, and does still when
    /// the weight grows. `hash`: [`session_hash`](crate::session_hash) of its value. `salt`: shares of other salts are of
    /// other sessions, so that it is not always the same people who try what is new.
    #[must_use]
    pub fn has_session(self, hash: u64, salt: u64) -> bool {
        // Mixed once more: the hash itself says where the session stands on the ring.
        mix(hash ^ mix(salt.wrapping_add(1))) >> 32 < self.0
    }
}

/// See the module above. One for each serving thread and service: the share is exact for each, and nothing is shared.
#[derive(Clone, Debug)]
pub struct Share {
    random: Turn,
    /// Where on the line the next request begins, and where the point of that unit is; in 2⁻³² of a unit.
    at: u64,
    point: u64,
    is_passed: bool,
    /// Points that fell on a request which had one already.
    owed: u64,
}

impl Share {
    /// Begins anywhere in a unit.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Turn::new(seed);
        Self {
            point: random.fraction(),
            random,
            at: 0,
            is_passed: false,
            owed: 0,
        }
    }

    /// Whether the next request belongs to the share. The weight may be another each time.
    pub fn has_next(&mut self, weight: Weight) -> bool {
        if weight.0 == 0 || weight.0 >= Weight::WHOLE {
            return weight.0 != 0;
        }
        self.at += weight.0;
        self.pass();
        if self.at >= Weight::WHOLE {
            self.at -= Weight::WHOLE;
            self.point = self.random.fraction();
            self.is_passed = false;
            self.pass();
        }
        let is_owed = self.owed > 0;
        self.owed -= u64::from(is_owed);
        is_owed
    }

    fn pass(&mut self) {
        if !self.is_passed && self.point < self.at {
            self.is_passed = true;
            self.owed += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session_hash;

    #[test]
    fn at_every_moment_the_share_is_exact() {
        for percent in [0.01, 0.5, 1.0, 5.0, 12.5, 33.3, 50.0, 66.7, 95.0, 99.9] {
            for seed in 0..20 {
                let mut share = Share::new(seed);
                let weight = Weight::from_percent(percent);
                let mut count = 0_u32;
                for request in 1..=10_000_u32 {
                    count += u32::from(share.has_next(weight));
                    let exact = f64::from(request) * percent / 100.0;
                    let off = (f64::from(count) - exact).abs();
                    assert!(off <= 1.001, "{count} of {request} at {percent} %");
                }
            }
        }
    }

    #[test]
    fn nothing_and_all_are_never_missed() {
        let mut share = Share::new(1);
        for percent in [50.0, 100.0, 30.0, 0.0, 100.0, f64::NAN, 200.0, -3.0] {
            let weight = Weight::from_percent(percent);
            let count = (0..1000).filter(|_| share.has_next(weight)).count();
            match percent {
                100.0 | 200.0 => assert_eq!(count, 1000),
                50.0 | 30.0 => {}
                _ => assert_eq!(count, 0, "{percent}"),
            }
        }
    }

    #[test]
    fn the_share_stays_exact_while_the_weight_changes() {
        let mut share = Share::new(9);
        let (mut count, mut exact) = (0_u32, 0.0);
        for request in 0..30_000 {
            let percent = [5.0, 50.0, 20.0, 0.0, 80.0][request / 700 % 5];
            count += u32::from(share.has_next(Weight::from_percent(percent)));
            exact += percent / 100.0;
        }
        assert!((f64::from(count) - exact).abs() < 2.0, "{count} of {exact}");
    }

    /// A client whose every twentieth request is of another kind must not find that kind always, or never, in the share.
    #[test]
    fn no_client_is_in_step_with_it() {
        let mut share = Share::new(3);
        let weight = Weight::from_percent(5.0);
        let mut hits = [0; 20];
        for request in 0..200_000 {
            hits[request % 20] += usize::from(share.has_next(weight));
        }
        // 500 each on average.
        assert!(
            hits.iter().all(|&hits| (380..620).contains(&hits)),
            "{hits:?}"
        );
    }

    #[test]
    fn sessions_stay_and_none_leaves_when_the_weight_grows() {
        let hash = |session: u32| session_hash(format!("session-{session}").as_bytes());
        for percent in [1.0, 5.0, 50.0] {
            let weight = Weight::from_percent(percent);
            let more = Weight::from_percent(percent + 20.0);
            let mut count = 0;
            for session in 0..20_000 {
                let is_in = weight.has_session(hash(session), 7);
                assert_eq!(weight.has_session(hash(session), 7), is_in);
                assert!(!is_in || more.has_session(hash(session), 7));
                count += u32::from(is_in);
            }
            let exact = percent * 200.0;
            let deviation = (exact * (1.0 - percent / 100.0)).sqrt();
            assert!(
                (f64::from(count) - exact).abs() < 4.0 * deviation,
                "{count}"
            );
        }
        let half = Weight::from_percent(50.0);
        let both = (0..20_000).filter(|&session| {
            half.has_session(hash(session), 1) && half.has_session(hash(session), 2)
        });
        let both = both.count();
        assert!((4700..5300).contains(&both), "{both}");
        assert!(!(0..999).any(|session| Weight::from_percent(0.0).has_session(hash(session), 1)));
        assert!((0..999).all(|session| Weight::from_percent(100.0).has_session(hash(session), 1)));
    }
}
