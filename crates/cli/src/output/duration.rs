//! Durations as SkyServe prints them: absolute (`1m 41s`) and relative (`2 mins ago`).

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// Up to so many seconds are "a few".
const FEW_SECONDS: u64 = 10;

/// A length of time in calendar units; months and years are counted back from `end`.
struct Parts {
    years: u64,
    months: u64,
    weeks: u64,
    days: u64,
    hours: u64,
    minutes: u64,
    seconds: u64,
}

/// How long from `start` to `end` (seconds since the epoch): `1d 1h 1m 1s`, `< 1s`.
pub(crate) fn absolute(start: f64, end: f64) -> String {
    let Some(parts) = parts(start, end) else {
        return "< 1s".to_owned();
    };
    let years = match parts.years {
        0 => None,
        1 => Some("1 year".to_owned()),
        years => Some(format!("{years} years")),
    };
    let units = [
        (parts.months, "mo"),
        (parts.weeks, "w"),
        (parts.days, "d"),
        (parts.hours, "h"),
        (parts.minutes, "m"),
        (parts.seconds, "s"),
    ];
    let rest = units
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(n, unit)| format!("{n}{unit}"));
    years.into_iter().chain(rest).collect::<Vec<_>>().join(" ")
}

/// How long ago `start` was at `end`: `21 secs ago`, `< 1 sec`. The largest unit, rounded up when the next is nearly
/// full, as the library that SkyServe uses does.
pub(crate) fn relative(start: f64, end: f64) -> String {
    let Some(parts) = parts(start, end) else {
        return "< 1 sec".to_owned();
    };
    let (count, unit) = parts.rounded();
    if unit == "sec" && count <= FEW_SECONDS {
        return "a few secs ago".to_owned();
    }
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} ago")
}

impl Parts {
    fn rounded(&self) -> (u64, &'static str) {
        let days = self.weeks * 7 + self.days;
        if self.years > 0 {
            (self.years + u64::from(self.months > 6), "year")
        } else if self.months == 11 && days > 15 {
            (1, "year")
        } else if self.months > 0 {
            (self.months + u64::from(days >= 27), "month")
        } else if self.weeks > 0 {
            (self.weeks + u64::from(self.days > 3), "week")
        } else if self.days > 0 {
            (self.days + u64::from(self.hours >= 22), "day")
        } else if self.hours > 0 {
            (self.hours, "hr")
        } else if self.minutes > 0 {
            (self.minutes, "min")
        } else {
            (self.seconds, "sec")
        }
    }
}

/// `None` below one second.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates; a negative length is no length"
)]
fn parts(start: f64, end: f64) -> Option<Parts> {
    let total = (end - start).floor().max(0.0) as u64;
    if total == 0 {
        return None;
    }
    let (months, days) = calendar(start, end).unwrap_or((0, total / DAY));
    Some(Parts {
        years: months / 12,
        months: months % 12,
        weeks: days / 7,
        days: days % 7,
        hours: total % DAY / HOUR,
        minutes: total % HOUR / MINUTE,
        seconds: total % MINUTE,
    })
}

/// Calendar months from `start` to `end` in UTC, and the days beyond them. Where the day of the month has not been
/// reached yet, the days are borrowed from the month before `end`, whose length decides whether it is full.
fn calendar(start: f64, end: f64) -> Option<(u64, u64)> {
    let (start, end) = (utc(start)?, utc(end)?);
    let mut days = i64::from(end.day()) - i64::from(start.day());
    if start.time() > end.time() {
        days -= 1;
    }
    let mut months = 12 * (i64::from(end.year()) - i64::from(start.year()))
        + i64::from(end.month())
        - i64::from(start.month());
    if days < 0 {
        let before = end.date().first_of_month().yesterday().ok()?;
        let (last, this) = (
            i64::from(before.days_in_month()),
            i64::from(end.days_in_month()),
        );
        if days == this - last {
            days = 0;
        } else {
            let borrowed = if days < this - last {
                last.max(i64::from(start.day()))
            } else {
                last
            };
            days += borrowed;
            months -= 1;
        }
    }
    Some((u64::try_from(months).ok()?, u64::try_from(days).ok()?))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "`as` saturates; jiff refuses what it cannot say"
)]
fn utc(seconds: f64) -> Option<jiff::civil::DateTime> {
    let timestamp = jiff::Timestamp::from_second(seconds.floor() as i64).ok()?;
    Some(
        timestamp
            .to_zoned_datetime(jiff::tz::TimeZone::UTC)
            .datetime(),
    )
}
