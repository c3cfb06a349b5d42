//! Numbers as text, without the machinery of formatting: access lines and metrics have many of them.

/// Appends a number.
pub(crate) fn push_number(text: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    for place in digits.iter_mut().rev() {
        *place = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        start -= 1;
        if number == 0 {
            break;
        }
    }
    text.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// Three digits of a number, leading zeros included.
pub(crate) fn digits3(number: u64) -> [u8; 3] {
    let digit = |value: u64| b'0' + u8::try_from(value % 10).unwrap_or(0);
    [digit(number / 100), digit(number / 10), digit(number)]
}

/// Appends microseconds as seconds, with six decimals.
pub(crate) fn push_seconds(text: &mut Vec<u8>, micros: u64) {
    push_number(text, micros / 1_000_000);
    text.push(b'.');
    text.extend(digits3(micros / 1000 % 1000));
    text.extend(digits3(micros % 1000));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_whole() {
        for number in [0, 7, 10, 12_345, u64::MAX] {
            let mut text = Vec::new();
            push_number(&mut text, number);
            assert_eq!(text, number.to_string().into_bytes());
        }
        assert_eq!(digits3(7), *b"007");
    }

    #[test]
    fn seconds_have_six_decimals() {
        for (micros, expected) in [
            (0, "0.000000"),
            (1, "0.000001"),
            (60_012_034, "60.012034"),
            (999_999, "0.999999"),
        ] {
            let mut text = Vec::new();
            push_seconds(&mut text, micros);
            assert_eq!(String::from_utf8(text).unwrap(), expected);
        }
    }
}
