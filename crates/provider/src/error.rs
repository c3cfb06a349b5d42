//! What can go wrong at a provider.

use plan::observation::ErrorClass;

/// An error of a provider: a class for the planner and a sentence for the person.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// What the planner may conclude.
    pub class: ErrorClass,
    /// What was wrong and what to do about it.
    pub message: String,
}

impl ProviderError {
    /// An error of the given class.
    #[must_use]
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
        }
    }
}
