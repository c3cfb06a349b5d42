//! What may stand where, byte by byte.

use memchr::memchr;

/// `tchar` of RFC 9110 section 5.6.2.
const TOKEN: u8 = 1;
/// May stand in a request target: anything visible, but for `#`, which begins what is never sent (RFC 9112 section 3.2);
/// bytes above 127 are tolerated, as browsers send them.
const TARGET: u8 = 2;
/// May stand in a field value: visible, space, tab, bytes above 127 (RFC 9110 section 5.5).
const VALUE: u8 = 4;
/// May stand in a name of a host (`reg-name`, RFC 3986 section 3.2.2). Not all that could: what is percent-encoded
/// two programs may read as two names, and a comma joins two `Host` headers that somebody made one of.
const HOST: u8 = 8;
/// May stand between the brackets of a host (`IPv6address`, RFC 3986 section 3.2.2).
const IPV6: u8 = 16;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation)]
        let character = byte as u8;
        let mut class = 0;
        if character.is_ascii_alphanumeric() {
            class |= TOKEN | HOST;
        }
        if matches!(
            character,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        ) {
            class |= TOKEN;
        }
        if matches!(
            character,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b';'
                | b'='
        ) {
            class |= HOST;
        }
        if character.is_ascii_hexdigit() || character == b':' || character == b'.' {
            class |= IPV6;
        }
        if character > b' ' && character != 127 {
            class |= VALUE;
            if character != b'#' {
                class |= TARGET;
            }
        }
        if character == b' ' || character == b'\t' {
            class |= VALUE;
        }
        classes[byte] = class;
        byte += 1;
    }
    classes
}

fn all(bytes: &[u8], class: u8) -> bool {
    bytes
        .iter()
        .all(|byte| CLASSES[*byte as usize] & class != 0)
}

/// Whether `bytes` are a token (RFC 9110 section 5.6.2): at least one byte, all of them `tchar`.
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TOKEN)
}

pub(crate) fn is_target(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TARGET)
}

pub(crate) fn is_value(bytes: &[u8]) -> bool {
    all(bytes, VALUE)
}

pub(crate) fn is_value_byte(byte: u8) -> bool {
    CLASSES[byte as usize] & VALUE != 0
}

/// Whether `bytes` are `host [":" port]` (RFC 9110 section 4.2.1), without user information.
pub(crate) fn is_host(bytes: &[u8]) -> bool {
    let (host, class, rest) = match bytes {
        [b'[', inside @ ..] => match memchr(b']', inside) {
            Some(end) => {
                let (host, rest) = inside.split_at(end);
                (host, IPV6, rest.get(1..).unwrap_or_default())
            }
            None => return false,
        },
        _ => {
            let (host, rest) = bytes.split_at(memchr(b':', bytes).unwrap_or(bytes.len()));
            (host, HOST, rest)
        }
    };
    let is_port = match rest {
        [] => true,
        [b':', port @ ..] => port.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    !host.is_empty() && all(host, class) && is_port
}

/// `bytes` without spaces and tabs at either end (`OWS`, RFC 9110 section 5.6.3).
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let start = bytes
        .iter()
        .position(|byte| !is_space(byte))
        .unwrap_or(bytes.len());
    let end = bytes
        .iter()
        .rposition(|byte| !is_space(byte))
        .map_or(start, |last| last + 1);
    bytes.get(start..end).unwrap_or_default()
}
