//! API keys: who may use an endpoint.

use std::str::FromStr;

use plan::routing::ApiKeyHash;

/// The keys of a table. A key is known by its BLAKE3 hash; comparing hashes takes the same time wherever they differ.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    hashes: Vec<blake3::Hash>,
}

impl Keys {
    /// A hash that is none opens nothing.
    pub(crate) fn new(hashes: &[ApiKeyHash]) -> Self {
        let hashes = hashes
            .iter()
            .filter_map(|hash| blake3::Hash::from_str(&hash.0).ok());
        Self {
            hashes: hashes.collect(),
        }
    }

    /// Whether the value of an `Authorization` header shows one of the keys (RFC 6750 section 2.1).
    pub(crate) fn admit(&self, authorization: Option<&[u8]>) -> bool {
        let Some(key) = authorization.and_then(bearer) else {
            return false;
        };
        let shown = blake3::hash(key);
        // All are compared, so that it does not show which one it was.
        self.hashes
            .iter()
            .fold(false, |admitted, hash| admitted | (*hash == shown))
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| key.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(key: &str) -> ApiKeyHash {
        ApiKeyHash(blake3::hash(key.as_bytes()).to_hex().to_string())
    }

    #[test]
    fn only_a_key_that_was_made_is_admitted() {
        let keys = Keys::new(&[hash("one"), ApiKeyHash("nonsense".to_owned()), hash("two")]);
        for (value, admitted) in [
            (Some("Bearer one"), true),
            (Some("bearer two"), true),
            (Some("Bearer  two "), true),
            (Some("Bearer three"), false),
            (Some("Bearer nonsense"), false),
            (Some("Bearer "), false),
            (Some("Bearer"), false),
            (Some("Basic one"), false),
            (Some("one"), false),
            (Some(""), false),
            (None, false),
        ] {
            let value = value.map(str::as_bytes);
            assert_eq!(keys.admit(value), admitted, "{value:?}");
        }
        assert!(!Keys::new(&[]).admit(Some(b"Bearer one")));
    }
}
