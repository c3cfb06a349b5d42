//! What an unquoted scalar means: the YAML 1.1 rules of PyYAML's `SafeLoader`, which SkyPilot reads
//! files with.
//!
//! They differ from YAML 1.2: `yes`, `no`, `on` and `off` are booleans, `010` is eight, `1:30` is
//! ninety, `1_000` is a thousand, and `1e3` is a string because a float needs a point.

use crate::node::Value;

/// Why a scalar has no value.
pub(crate) type Refusal = String;

/// The value of an unquoted scalar without a tag.
pub(crate) fn resolve(text: &str) -> Result<Value, Refusal> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "=" => return Err("a lone `=` has no meaning here; quote it".to_owned()),
        _ => {}
    }
    if let Some(flag) = boolean(text) {
        return Ok(Value::Bool(flag));
    }
    if is_float(text) {
        return float(text)
            .map(Value::Float)
            .ok_or_else(|| format!("`{text}` is not a number"));
    }
    if is_integer(text) {
        return integer(text);
    }
    if is_timestamp(text) {
        return timestamp(text);
    }
    Ok(Value::Str(text.to_owned()))
}

/// The value of a scalar with a tag of YAML's core schema, such as `!!int`.
pub(crate) fn tagged(tag: &str, text: &str) -> Result<Value, Refusal> {
    let refusal = || format!("`{text}` cannot be read as {tag}");
    match tag {
        "!" | "tag:yaml.org,2002:str" => Ok(Value::Str(text.to_owned())),
        "tag:yaml.org,2002:null" => Ok(Value::Null),
        "tag:yaml.org,2002:bool" => boolean(&text.to_ascii_lowercase())
            .map(Value::Bool)
            .ok_or_else(refusal),
        "tag:yaml.org,2002:int" => integer(text),
        "tag:yaml.org,2002:float" => float(&text.to_ascii_lowercase())
            .map(Value::Float)
            .ok_or_else(refusal),
        "tag:yaml.org,2002:timestamp" if is_timestamp(text) => timestamp(text),
        _ => Err(format!("the tag `{tag}` is not supported")),
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['+', '-']).unwrap_or(text)
}

fn all(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    text.bytes().all(allowed)
}

fn digit_or_underscore(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'_'
}

/// `:[0-5]?[0-9]` one or more times.
fn is_sexagesimal_tail(text: &str) -> bool {
    let Some(tail) = text.strip_prefix(':') else {
        return false;
    };
    tail.split(':').all(|part| match part.as_bytes() {
        [ones] => ones.is_ascii_digit(),
        [tens, ones] => (b'0'..=b'5').contains(tens) && ones.is_ascii_digit(),
        _ => false,
    })
}

fn is_float(text: &str) -> bool {
    let body = unsigned(text);
    if matches!(body, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let Some((whole, rest)) = body.split_once('.') else {
        return false;
    };
    let (fraction, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    if !all(fraction, digit_or_underscore) {
        return false;
    }
    let exponent_fits = exponent.is_none_or(|exponent| {
        exponent
            .strip_prefix(['+', '-'])
            .is_some_and(|digits| !digits.is_empty() && all(digits, |byte| byte.is_ascii_digit()))
    });
    if whole.is_empty() {
        // `.5` is a float but `-.5` is not: the sign is not in that branch of PyYAML's pattern.
        return body == text && fraction.starts_with(|c: char| c.is_ascii_digit()) && exponent_fits;
    }
    if !whole.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    match whole.find(':') {
        Some(at) => {
            exponent.is_none()
                && all(&whole[..at], digit_or_underscore)
                && is_sexagesimal_tail(&whole[at..])
        }
        None => all(whole, digit_or_underscore) && exponent_fits,
    }
}

fn float(text: &str) -> Option<f64> {
    let cleaned = text.replace('_', "").to_ascii_lowercase();
    let sign = if cleaned.starts_with('-') { -1.0 } else { 1.0 };
    let body = unsigned(&cleaned);
    match body {
        ".inf" => return Some(sign * f64::INFINITY),
        ".nan" => return Some(f64::NAN),
        _ => {}
    }
    if body.contains(':') {
        let mut value = 0.0;
        for part in body.split(':') {
            value = value * 60.0 + part.parse::<f64>().ok()?;
        }
        return Some(sign * value);
    }
    body.parse::<f64>().ok().map(|value| sign * value)
}

fn is_integer(text: &str) -> bool {
    let body = unsigned(text);
    if let Some(digits) = body.strip_prefix("0b") {
        return !digits.is_empty() && all(digits, |byte| matches!(byte, b'0' | b'1' | b'_'));
    }
    if let Some(digits) = body.strip_prefix("0x") {
        return !digits.is_empty() && all(digits, |byte| byte.is_ascii_hexdigit() || byte == b'_');
    }
    if let Some(digits) = body.strip_prefix('0') {
        return all(digits, |byte| (b'0'..=b'7').contains(&byte) || byte == b'_');
    }
    if !body.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    match body.find(':') {
        Some(at) => all(&body[..at], digit_or_underscore) && is_sexagesimal_tail(&body[at..]),
        None => all(body, digit_or_underscore),
    }
}

fn integer(text: &str) -> Result<Value, Refusal> {
    let refusal = || format!("`{text}` is not an integer of a size that can be read");
    let cleaned = text.replace('_', "");
    let body = unsigned(&cleaned);
    let magnitude = if let Some(digits) = body.strip_prefix("0b") {
        i128::from_str_radix(digits, 2).ok()
    } else if let Some(digits) = body.strip_prefix("0x") {
        i128::from_str_radix(digits, 16).ok()
    } else if body.len() > 1 && body.starts_with('0') {
        i128::from_str_radix(body, 8).ok()
    } else if body.contains(':') {
        body.split(':').try_fold(0_i128, |value, part| {
            value
                .checked_mul(60)?
                .checked_add(part.parse::<i128>().ok()?)
        })
    } else {
        body.parse::<i128>().ok()
    };
    let magnitude = magnitude
        .filter(|_| !body.starts_with(['+', '-']))
        .ok_or_else(refusal)?;
    Ok(Value::Int(if cleaned.starts_with('-') {
        -magnitude
    } else {
        magnitude
    }))
}

/// A date `2024-01-31`, or a date and time.
fn is_timestamp(text: &str) -> bool {
    date_and_time(text).is_some()
}

/// The parts of a timestamp: date fields, time fields, fraction, zone.
struct Moment<'t> {
    date: [u32; 3],
    time: Option<([u32; 3], &'t str, Option<&'t str>)>,
}

fn number(text: &str, lengths: std::ops::RangeInclusive<usize>) -> Option<u32> {
    (lengths.contains(&text.len()) && all(text, |byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())?
}

fn date_and_time(text: &str) -> Option<Moment<'_>> {
    let date_end = text.find(['T', 't', ' ', '\t']).unwrap_or(text.len());
    let (date, rest) = text.split_at(date_end);
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let lengths = if rest.is_empty() { 2..=2 } else { 1..=2 };
    let date = [
        number(year, 4..=4)?,
        number(month, lengths.clone())?,
        number(day, lengths)?,
    ];
    if rest.is_empty() {
        return Some(Moment { date, time: None });
    }
    let rest = match rest.strip_prefix(['T', 't']) {
        Some(rest) => rest,
        None => rest.trim_start_matches([' ', '\t']),
    };
    let time_end = rest
        .find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.')
        .unwrap_or(rest.len());
    let (time, zone) = rest.split_at(time_end);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = clock.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !all(fraction, |byte| byte.is_ascii_digit()) {
        return None;
    }
    let time = [
        number(hour, 1..=2)?,
        number(minute, 2..=2)?,
        number(second, 2..=2)?,
    ];
    let zone = zone.trim_start_matches([' ', '\t']);
    let zone = if zone.is_empty() {
        None
    } else {
        Some(zone).filter(|zone| is_zone(zone))?.into()
    };
    Some(Moment {
        date,
        time: Some((time, fraction, zone)),
    })
}

fn is_zone(zone: &str) -> bool {
    if zone == "Z" {
        return true;
    }
    let Some(offset) = zone.strip_prefix(['+', '-']) else {
        return false;
    };
    let (hours, minutes) = offset.split_once(':').unwrap_or((offset, "00"));
    number(hours, 1..=2).is_some() && number(minutes, 2..=2).is_some()
}

fn timestamp(text: &str) -> Result<Value, Refusal> {
    let refusal = || format!("`{text}` is not a date of the calendar; quote it if it is text");
    let moment = date_and_time(text).ok_or_else(refusal)?;
    let [year, month, day] = moment.date;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => 0,
    };
    if year == 0 || day == 0 || day > days {
        return Err(refusal());
    }
    let date = format!("{year:04}-{month:02}-{day:02}");
    let Some(([hour, minute, second], fraction, zone)) = moment.time else {
        return Ok(Value::Timestamp(date));
    };
    if hour > 23 || minute > 59 || second > 59 {
        return Err(refusal());
    }
    let fraction = match fraction.trim_end_matches('0') {
        "" => String::new(),
        _ => format!(".{:0<6}", &fraction[..fraction.len().min(6)]),
    };
    let zone = match zone {
        None => String::new(),
        Some("Z") => "+00:00".to_owned(),
        Some(zone) => {
            let (hours, minutes) = zone.split_once(':').unwrap_or((zone, "00"));
            format!("{}{:0>2}:{minutes}", &hours[..1], &hours[1..])
        }
    };
    Ok(Value::Timestamp(format!(
        "{date} {hour:02}:{minute:02}:{second:02}{fraction}{zone}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        resolve(text).expect("resolved")
    }

    #[test]
    fn scalars_mean_what_yaml_1_1_says() {
        for (text, expected) in [
            ("yes", Value::Bool(true)),
            ("Off", Value::Bool(false)),
            ("y", Value::Str("y".into())),
            ("010", Value::Int(8)),
            ("0o10", Value::Str("0o10".into())),
            ("08", Value::Str("08".into())),
            ("0x_1F", Value::Int(31)),
            ("-0b101", Value::Int(-5)),
            ("+3", Value::Int(3)),
            ("1_000", Value::Int(1000)),
            ("1:30", Value::Int(90)),
            ("1:60", Value::Str("1:60".into())),
            ("1:30.5", Value::Float(90.5)),
            ("1e3", Value::Str("1e3".into())),
            ("1.0e3", Value::Str("1.0e3".into())),
            ("1.0e+3", Value::Float(1000.0)),
            ("1.", Value::Float(1.0)),
            (".5", Value::Float(0.5)),
            ("-.5", Value::Str("-.5".into())),
            ("-.inf", Value::Float(f64::NEG_INFINITY)),
            ("1.2.3", Value::Str("1.2.3".into())),
            ("2024-01-31", Value::Timestamp("2024-01-31".into())),
            ("2024-1-31", Value::Str("2024-1-31".into())),
            (
                "2024-01-31T1:02:03Z",
                Value::Timestamp("2024-01-31 01:02:03+00:00".into()),
            ),
            ("127.0.0.1:80", Value::Str("127.0.0.1:80".into())),
            ("~", Value::Null),
            ("", Value::Null),
        ] {
            assert_eq!(value(text), expected, "{text:?}");
        }
        assert!(matches!(value(".nan"), Value::Float(number) if number.is_nan()));
    }

    #[test]
    fn what_pyyaml_cannot_construct_is_refused() {
        for text in ["2024-13-01", "2023-02-29", "0b_", "0x_", "="] {
            assert!(resolve(text).is_err(), "{text:?}");
        }
        assert!(tagged("tag:yaml.org,2002:int", "abc").is_err());
        assert!(tagged("!mine", "3").is_err());
        assert_eq!(tagged("tag:yaml.org,2002:int", "3"), Ok(Value::Int(3)));
        assert!(resolve(&"9".repeat(60)).is_err());
    }
}
