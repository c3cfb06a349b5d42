//! API keys of an endpoint, on the wire.

use serde::{Deserialize, Serialize};
use spec::Secret;

/// `POST /v1/services/NAME/keys`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CreateKeyRequest {
    /// What its owner calls it; may be empty. At most 64 characters.
    #[serde(default)]
    pub name: String,
}

/// Answer to [`CreateKeyRequest`]: the only time that the key is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreatedKey {
    /// By what it is revoked.
    pub id: String,
    /// The key.
    pub key: Secret,
    /// Whether until now everyone could use the endpoint.
    pub first: bool,
    /// Whether the proxy accepts it already.
    pub in_force: bool,
}

/// `GET /v1/services/NAME/keys`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyList {
    /// Whether a key is asked for at the endpoint.
    pub required: bool,
    /// Keys, revoked ones too, oldest first.
    pub keys: Vec<KeyRecord>,
}

/// What is known of an API key; the key itself is not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// By what it is revoked.
    pub id: String,
    /// What its owner calls it; may be empty.
    pub name: String,
    /// When it was made, seconds since the epoch.
    pub created_at: f64,
    /// When it was revoked, seconds since the epoch.
    pub revoked_at: Option<f64>,
}

/// Answer to `DELETE /v1/services/NAME/keys/ID` and `DELETE /v1/services/NAME/keys`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeysChanged {
    /// A sentence for the person.
    pub message: String,
    /// Whether the proxy acts upon it already.
    pub in_force: bool,
}
