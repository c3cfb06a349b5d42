//! Makes API keys: 32 random bytes of the operating system, shown once, kept as their hash.

use std::fs::File;
use std::io::{self, Read};

use plan::Timestamp;
use plan::routing::ApiKeyHash;
use spec::Secret;
use store::KeyRecord;

/// What every key begins with, so that one that strayed into a log or a repository is recognised.
const PREFIX: &str = "sky-";
/// The longest name of a key, in characters.
const MOST_NAME_CHARS: usize = 64;

/// A key and what is kept of it.
#[derive(Debug)]
pub(crate) struct NewKey {
    pub(crate) key: Secret,
    pub(crate) record: KeyRecord,
}

/// Makes a key: `sky-` and 43 characters of base64url (RFC 4648 section 5), 256 bits.
pub(crate) fn make(name: &str, at: Timestamp) -> io::Result<NewKey> {
    let mut random = [0_u8; 35];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let (id, bytes) = random.split_at(3);
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let key = format!("{PREFIX}{}", base64url(bytes));
    let hash = ApiKeyHash(blake3::hash(key.as_bytes()).to_hex().to_string());
    Ok(NewKey {
        key: Secret::new(key),
        record: KeyRecord {
            id: format!("k-{id}"),
            name: name.to_owned(),
            hash,
            created_at: at,
            revoked_at: None,
        },
    })
}

/// Says what is wrong with the name of a key.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if name.chars().count() > MOST_NAME_CHARS {
        return Err(format!(
            "The name of a key may have at most {MOST_NAME_CHARS} characters."
        ));
    }
    if name.chars().any(char::is_control) {
        return Err(
            "The name of a key may not hold a line break or another control character.".to_owned(),
        );
    }
    Ok(())
}

/// Base64 with the alphabet that is safe in URLs and headers, without padding.
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = at(0) << 16 | at(1) << 8 | at(2);
        // A group of n bytes fills n + 1 digits.
        for digit in 0..=chunk.len() {
            let index = group >> (18 - 6 * digit) & 0x3f;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648 section 10, without padding, and the two digits that differ from plain base64.
    #[test]
    fn base64url_is_as_the_rfc_has_it() {
        for (bytes, expected) in [
            (&b""[..], ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg"),
            (b"fooba", "Zm9vYmE"),
            (b"foobar", "Zm9vYmFy"),
            (&[0xfb, 0xff, 0xfe], "-__-"),
        ] {
            assert_eq!(base64url(bytes), expected);
        }
    }

    #[test]
    fn a_key_is_random_and_only_its_hash_is_kept() {
        let one = make("ci", Timestamp(7)).unwrap();
        let other = make("ci", Timestamp(7)).unwrap();
        let key = one.key.reveal();
        assert_eq!(key.len(), 4 + 43);
        let digits = key.strip_prefix("sky-").unwrap();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        assert!(digits.bytes().all(fits), "{key}");
        assert_ne!(key, other.key.reveal());
        assert_ne!(one.record.id, other.record.id);
        assert_eq!((one.record.id.len(), &one.record.id[..2]), (8, "k-"));
        let hash = blake3::hash(key.as_bytes()).to_hex().to_string();
        assert_eq!(one.record.hash, ApiKeyHash(hash));
        assert!(!format!("{one:?}").contains(digits), "the key was printed");
    }

    #[test]
    fn names_are_short_and_printable() {
        assert!(check_name("").is_ok() && check_name("laptop of Ann").is_ok());
        assert!(check_name(&"x".repeat(65)).is_err() && check_name("a\nb").is_err());
    }
}
