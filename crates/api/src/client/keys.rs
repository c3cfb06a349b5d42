//! API keys of an endpoint.

use http::Method;

use super::{Client, ClientError, connection, percent_encode, service_path};
use crate::keys::{CreateKeyRequest, CreatedKey, KeyList, KeysChanged};

impl Client {
    /// `POST /v1/services/NAME/keys`: a new API key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_key(
        &self,
        service: &str,
        request: &CreateKeyRequest,
    ) -> Result<CreatedKey, ClientError> {
        self.post(keys_path(service), request, self.timeout).await
    }

    /// `GET /v1/services/NAME/keys`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn keys(&self, service: &str) -> Result<KeyList, ClientError> {
        self.get(keys_path(service), self.timeout).await
    }

    /// `DELETE /v1/services/NAME/keys/ID`: the key may not be used any more.
    ///
    /// # Errors
    /// [`ClientError`]; not found when there is no such key.
    pub async fn revoke_key(&self, service: &str, id: &str) -> Result<KeysChanged, ClientError> {
        let path = format!("{}/{}", keys_path(service), percent_encode(id));
        self.delete(path).await
    }

    /// `DELETE /v1/services/NAME/keys`: every key is revoked and forgotten, and none is asked for.
    ///
    /// # Errors
    /// [`ClientError`]; a conflict while the service's YAML asks for keys.
    pub async fn disable_keys(&self, service: &str) -> Result<KeysChanged, ClientError> {
        self.delete(keys_path(service)).await
    }

    async fn delete(&self, path: String) -> Result<KeysChanged, ClientError> {
        let request = connection::request(Method::DELETE, &path, Vec::new())?;
        self.exchange(request, self.timeout).await
    }
}

fn keys_path(service: &str) -> String {
    format!("{}/keys", service_path(service))
}
