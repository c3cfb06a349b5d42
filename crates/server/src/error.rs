//! The one place that turns an error into an API response.

use api::{ApiError, ErrorCode};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use controller::{ControllerError, SnapshotError};
use plan::ServiceState;
use plan::routing::Version;
use store::StoreError;

/// An [`ApiError`] as a response.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) ApiError);

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(ApiError {
            code,
            message: message.into(),
        })
    }

    /// There is no such version, or none any more.
    pub(crate) fn no_such_version(state: &ServiceState, version: Version) -> Self {
        let known: Vec<String> = state.versions.keys().map(ToString::to_string).collect();
        let gone = if version > 0 && version < state.newest() {
            "is not kept any more"
        } else {
            "does not exist"
        };
        let (name, known) = (&state.name, known.join(", "));
        let message = format!(
            "Version {version} of service '{name}' {gone}. Versions that are kept: {known}."
        );
        Self::new(ErrorCode::NotFound, message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, message)
    }
}

impl From<ControllerError> for Refusal {
    fn from(error: ControllerError) -> Self {
        let code = match &error {
            ControllerError::NoSuchService(_)
            | ControllerError::NoSuchReplica { .. }
            | ControllerError::NoSuchKey { .. } => ErrorCode::NotFound,
            ControllerError::Conflict(_)
            | ControllerError::KeyIdTaken(_)
            | ControllerError::Store(StoreError::NameTaken(_)) => ErrorCode::Conflict,
            ControllerError::Store(_) | ControllerError::Ending => ErrorCode::Internal,
        };
        match &error {
            ControllerError::Store(StoreError::NameTaken(name)) => Self::new(
                code,
                format!(
                    "Service '{name}' already exists. To update it, run: sky serve update {name} <YAML>"
                ),
            ),
            _ => Self::new(code, error.to_string()),
        }
    }
}

impl From<SnapshotError> for Refusal {
    fn from(error: SnapshotError) -> Self {
        let code = match &error {
            SnapshotError::Files(_) => ErrorCode::Invalid,
            SnapshotError::Copy { .. } => ErrorCode::Internal,
        };
        Self::new(code, with_causes(&error))
    }
}

/// An error and what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let next = source.to_string();
        if !line.ends_with(&next) {
            line = format!("{line}: {next}");
        }
        cause = source.source();
    }
    line
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.0.code {
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            ErrorCode::Conflict => StatusCode::CONFLICT,
            ErrorCode::Invalid => StatusCode::BAD_REQUEST,
            ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(self.0)).into_response()
    }
}
