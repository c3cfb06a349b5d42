//! The fair games behind [`judge`](super::judge): stakes that grow only where the new version is worse than allowed.
//!
//! # Two versions in one period
//!
//! In a period the new version answered n₁ requests and the old one n₀. Choose a point (θ₁, θ₀) with θ₁ = θ₀ + δ, where δ
//! is the increase allowed, and bets a₁ ≥ 0 and a₀ ≤ 0 with n₁a₁ + n₀a₀ = 0. Each request of version g multiplies the stake
//! by 1 + a(y − θ), where y is 1 if it failed, else 0. If the requests fail independently, with shares p₁ and p₀ on average
//! over the period, then, as 1 + x ≤ exp(x),
//!
//! E[factor] = Π (1 + a(pᵢ − θ)) ≤ exp(n₁a₁(p₁ − θ₁) + n₀a₀(p₀ − θ₀)) = exp(n₁a₁(p₁ − p₀ − δ)) ≤ 1 whenever p₁ ≤ p₀ + δ.
//!
//! That holds for every choice of θ and a made without regard to the answers, for all counts, and for shares that change
//! within a period and between periods: the stakes of periods multiply. (For independent periods it is the e-variable of
//! Turner, Ly and Grünwald, "Generic E-variables for exact sequential k-sample tests", 2024, in the form of a bet.) Not
//! knowing which point and which bets grow best, we start with the mean of a table of them ([`TABLE`]), which is as fair.
//!
//! # One share
//!
//! The same with one version: 1 + a(y − θ) with a ≥ 0 is fair or worse while the share is at most θ, and with a ≤ 0 while it
//! is at least θ.

/// θ₀ of the table: failures are rare in most services, and between the two rates in all.
const BASES: [f64; 7] = [0.001, 0.004, 0.015, 0.05, 0.15, 0.35, 0.6];
/// How boldly is bet: parts of the largest bet that cannot lose everything.
const BOLDNESS: [f64; 5] = [0.02, 0.07, 0.2, 0.5, 0.9];
/// Games that are played side by side.
pub(super) const TABLE: usize = BASES.len() * BOLDNESS.len();

/// Requests and failures of one version in one period.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) errors: u64,
}

/// What a period adds to the logarithms of the stakes of all games of the table: tests that the share of the new version
/// is at most `increase` above that of the old.
pub(super) fn period(new: Counts, old: Counts, increase: f64) -> [f64; TABLE] {
    let mut logs = [0.0; TABLE];
    // Without either side there is nothing to compare and nothing is bet.
    if new.requests == 0 || old.requests == 0 {
        return logs;
    }
    let ratio = old.requests as f64 / new.requests as f64;
    let games = BASES
        .iter()
        .flat_map(|base| BOLDNESS.iter().map(move |boldness| (*base, *boldness)));
    for (log, (base, boldness)) in logs.iter_mut().zip(games) {
        let (theta_new, theta_old) = (base + increase, base);
        if theta_new >= 1.0 {
            continue;
        }
        let most = (1.0 / theta_new).min(ratio / (1.0 - theta_old));
        let bet = boldness * most;
        *log = gain(new, theta_new, bet) + gain(old, theta_old, -bet / ratio);
    }
    logs
}

/// The logarithm of the mean stake.
pub(super) fn mean(logs: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = logs.clone().count().max(1);
    let most = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logs.map(|log| (log - most).exp()).sum();
    most + (sum / count as f64).ln()
}

/// How certain it is that a share is above `theta`, of which `hits` of `count` were seen: a logarithm of a stake.
pub(super) fn is_above(hits: u64, count: u64, theta: f64) -> f64 {
    one_sided(hits, count, theta, 1.0 / theta)
}

/// How certain it is that a share is below `theta`.
pub(super) fn is_below(hits: u64, count: u64, theta: f64) -> f64 {
    one_sided(hits, count, theta, -1.0 / (1.0 - theta))
}

fn one_sided(hits: u64, count: u64, theta: f64, most: f64) -> f64 {
    let counts = Counts {
        requests: count,
        errors: hits.min(count),
    };
    mean(
        BOLDNESS
            .iter()
            .map(|boldness| gain(counts, theta, boldness * most)),
    )
}

/// The logarithm of the factors of all requests of one version.
fn gain(counts: Counts, theta: f64, bet: f64) -> f64 {
    let errors = counts.errors.min(counts.requests) as f64;
    let good = counts.requests as f64 - errors;
    errors * (bet * (1.0 - theta)).ln_1p() + good * (-bet * theta).ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binomial(n: u64, k: u64, p: f64) -> f64 {
        let choose = (0..k).fold(1.0, |sum, i| sum * (n - i) as f64 / (i + 1) as f64);
        choose * p.powi(k as i32) * (1.0 - p).powi((n - k) as i32)
    }

    /// The promise itself, worked out exactly: no rate within what is allowed gives any game an expectation above 1.
    #[test]
    fn no_game_favours_us_while_the_new_version_is_good_enough() {
        let rates: [f64; 9] = [0.0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.8, 0.99, 1.0];
        for (n_new, n_old) in [(1, 1), (1, 19), (2, 5), (5, 2), (12, 12)] {
            for increase in [0.0, 0.01, 0.2] {
                for old_rate in rates {
                    let allowed = (old_rate + increase).min(1.0);
                    for new_rate in [allowed, allowed / 2.0, 0.0] {
                        let mut expected = [0.0; TABLE];
                        for new in 0..=n_new {
                            for old in 0..=n_old {
                                let chance =
                                    binomial(n_new, new, new_rate) * binomial(n_old, old, old_rate);
                                let counts = |requests, errors| Counts { requests, errors };
                                let logs = period(counts(n_new, new), counts(n_old, old), increase);
                                for (sum, log) in expected.iter_mut().zip(logs) {
                                    *sum += chance * log.exp();
                                }
                            }
                        }
                        assert!(
                            expected.iter().all(|value| *value <= 1.0 + 1e-9),
                            "{n_new}/{n_old}, {new_rate} against {old_rate} + {increase}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn one_share_is_a_fair_game_too() {
        for theta in [0.05, 0.5] {
            for rate in [0.0, 0.02, 0.05, 0.3, 0.5, 0.9, 1.0] {
                let expected = |certainty: fn(u64, u64, f64) -> f64| -> f64 {
                    (0..=40)
                        .map(|hits| binomial(40, hits, rate) * certainty(hits, 40, theta).exp())
                        .sum()
                };
                if rate <= theta {
                    assert!(expected(is_above) <= 1.0 + 1e-9, "{rate} {theta}");
                }
                if rate >= theta {
                    assert!(expected(is_below) <= 1.0 + 1e-9, "{rate} {theta}");
                }
            }
        }
    }

    #[test]
    fn more_failures_are_more_evidence() {
        for count in [1, 7, 50] {
            for hits in 0..count {
                assert!(is_above(hits + 1, count, 0.05) > is_above(hits, count, 0.05));
                assert!(is_below(hits + 1, count, 0.5) < is_below(hits, count, 0.5));
            }
        }
    }

    #[test]
    fn a_side_that_is_missing_bets_nothing() {
        let (none, bad) = (
            Counts {
                requests: 0,
                errors: 0,
            },
            Counts {
                requests: 1000,
                errors: 1000,
            },
        );
        assert_eq!(period(bad, none, 0.0), [0.0; TABLE]);
        assert_eq!(period(none, bad, 0.0), [0.0; TABLE]);
    }
}
