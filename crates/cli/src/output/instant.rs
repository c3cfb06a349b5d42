//! Instants as people and logs read them: `2026-11-24 16:00:16Z`, in UTC as in the server's log.

/// An instant given in seconds since the epoch, to the second; `-` where no calendar has it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "`as` saturates; jiff refuses what it cannot say"
)]
pub(crate) fn utc(seconds: f64) -> String {
    let instant = jiff::Timestamp::from_second(seconds.floor() as i64);
    instant.map_or_else(
        |_| "-".to_owned(),
        |instant| instant.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_to_the_second_and_in_utc() {
        assert_eq!(utc(0.0), "1970-01-01 00:00:00Z");
        assert_eq!(utc(1_700_000_000.9), "2023-11-14 22:13:20Z");
        assert_eq!(utc(f64::INFINITY), "-");
        assert_eq!(utc(f64::NAN), "1970-01-01 00:00:00Z");
    }
}
