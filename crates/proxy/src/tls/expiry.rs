//! When a certificate ends: the one field of X.509 that the proxy reads itself (RFC 5280 section 4.1.2.5).

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use plan::time::Timestamp;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`: the version, which certificates of version 1 do not have.
const VERSION: u8 = 0xa0;

/// The end of the validity of a certificate in DER; `None` where it cannot be read.
pub(super) fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let mut outer = Der(certificate);
    let mut certificate = Der(outer.take(SEQUENCE)?);
    let mut signed = Der(certificate.take(SEQUENCE)?);
    let _version = signed.take(VERSION);
    let _serial_number = signed.take(INTEGER)?;
    let _signature = signed.take(SEQUENCE)?;
    let _issuer = signed.take(SEQUENCE)?;
    let mut validity = Der(signed.take(SEQUENCE)?);
    let (_not_before, _) = validity.next()?;
    let (tag, text) = validity.next()?;
    let text = std::str::from_utf8(text).ok()?;
    match tag {
        // Two digits of a year stand for 1950 to 2049.
        UTC_TIME => {
            let century = if text < "50" { "20" } else { "19" };
            instant(&format!("{century}{text}"))
        }
        GENERALIZED_TIME => instant(text),
        _ => None,
    }
}

/// Of a time in the form `20261231235959Z`.
fn instant(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix('Z')?;
    let time = DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    let time = TimeZone::UTC.to_timestamp(time).ok()?;
    Some(Timestamp(time.as_microsecond()))
}

/// Elements of DER, one after the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next element, if it has this tag; otherwise nothing is taken.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let before = self.0;
        match self.next() {
            Some((found, content)) if found == tag => Some(content),
            _ => {
                self.0 = before;
                None
            }
        }
    }

    /// Tag and content of the next element. Tags of more than a byte do not come before what is read here.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, mut rest) = rest.split_first()?;
        let length = match usize::from(*first) {
            short @ ..=0x7f => short,
            long @ 0x81..=0x84 => {
                let (digits, behind) = rest.split_at_checked(long - 0x80)?;
                rest = behind;
                digits
                    .iter()
                    .fold(0, |length, digit| length << 8 | usize::from(*digit))
            }
            _ => return None,
        };
        let (content, behind) = rest.split_at_checked(length)?;
        self.0 = behind;
        Some((*tag, content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let mut element = vec![tag];
        match u8::try_from(length) {
            Ok(short) if short < 0x80 => element.push(short),
            _ => element.extend([0x82, (length >> 8) as u8, length as u8]),
        }
        element.extend_from_slice(content);
        element
    }

    /// A certificate as far as it is read, with a long name so that lengths take more than a byte.
    fn certificate(has_version: bool, tag: u8, end: &str) -> Vec<u8> {
        let validity = [
            element(UTC_TIME, b"200101000000Z"),
            element(tag, end.as_bytes()),
        ];
        let version = element(VERSION, &element(INTEGER, &[2]));
        let signed = [
            if has_version { version } else { Vec::new() },
            element(INTEGER, &[1; 20]),
            element(SEQUENCE, &[]),
            element(SEQUENCE, &[0; 300]),
            element(SEQUENCE, &validity.concat()),
        ];
        element(SEQUENCE, &element(SEQUENCE, &signed.concat()))
    }

    fn seconds(tag: u8, end: &str) -> Option<i64> {
        let [with, without] = [true, false].map(|has| not_after(&certificate(has, tag, end)));
        assert_eq!(with, without);
        with.map(|end| end.0 / 1_000_000)
    }

    #[test]
    fn both_forms_of_time_are_read() {
        assert_eq!(seconds(UTC_TIME, "300101000000Z"), Some(1_893_456_000));
        assert_eq!(seconds(UTC_TIME, "991231235959Z"), Some(946_684_799));
        assert_eq!(
            seconds(GENERALIZED_TIME, "20500101000000Z"),
            Some(2_524_608_000)
        );
        for odd in ["", "Z", "300101000000", "301301000000Z", "3001010000Z", "x"] {
            assert_eq!(seconds(UTC_TIME, odd), None, "{odd}");
        }
        assert_eq!(seconds(INTEGER, "300101000000Z"), None);
    }

    #[test]
    fn what_is_cut_or_garbled_is_not_read_and_does_no_harm() {
        let whole = certificate(true, UTC_TIME, "300101000000Z");
        for length in 0..whole.len() {
            assert_eq!(not_after(&whole[..length]), None);
            let mut garbled = whole.clone();
            garbled[length] ^= 0xff;
            let _ = not_after(&garbled);
        }
    }
}
