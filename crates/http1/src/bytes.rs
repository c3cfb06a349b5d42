//! What may stand where, byte by byte.

/// `tchar` of RFC 9110 section 5.6.2.
const TOKEN: u8 = 1;
/// May stand in a request target: anything visible, but for `#`, which begins what is never sent (RFC 9112 section 3.2);
/// bytes above 127 are tolerated, as browsers send them.
const TARGET: u8 = 2;
/// May stand in a field value: visible, space, tab, bytes above 127 (RFC 9110 section 5.5).
const VALUE: u8 = 4;
/// May stand in `host [":" port]` (RFC 3986 section 3.2.2), user information not included.
const HOST: u8 = 8;

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
                | b'%'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'['
                | b']'
        ) {
            class |= HOST;
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

pub(crate) fn is_host(bytes: &[u8]) -> bool {
    all(bytes, HOST)
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
