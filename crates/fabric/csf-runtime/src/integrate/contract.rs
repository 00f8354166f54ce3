//! A call whose input is checked before anything happens (FRM-015).

use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// An input that passed [`IntegrationContract::validate_input`]: nothing else makes one, so nothing else reaches `execute`.
#[derive(Debug)]
pub struct Valid<T>(T);

impl<T> Valid<T> {
    /// The input.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> std::ops::Deref for Valid<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// What one part of a system offers to another.
pub trait IntegrationContract: Sync {
    /// What it takes.
    type Input: Serialize + DeserializeOwned + Send;
    /// What it gives.
    type Output: Serialize + DeserializeOwned + Send;
    /// Why it does not.
    type Error: Send;

    /// Whether it may be executed.
    ///
    /// # Errors
    /// What is wrong with the input.
    fn validate_input(&self, input: &Self::Input) -> Result<(), Self::Error>;

    /// Does it. Cancel safe where the implementation is.
    fn execute(&self, input: Valid<Self::Input>) -> impl Future<Output = Result<Self::Output, Self::Error>> + Send;

    /// Checks the input, then executes: the only way to.
    ///
    /// # Errors
    /// What is wrong with the input, or why it failed.
    fn call(&self, input: Self::Input) -> impl Future<Output = Result<Self::Output, Self::Error>> + Send {
        async move {
            self.validate_input(&input)?;
            self.execute(Valid(input)).await
        }
    }
}
