//! The caller's part in a fallback: how another service is called, and how an answer is made without some features.

use std::future::Future;
use std::pin::Pin;

type Answer<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;
type Way<'a, A, T, E> = Box<dyn Fn(A) -> Answer<'a, T, E> + Send + Sync + 'a>;

/// What a call can do when its service does not answer. The policy says whether and in which order.
pub struct Standby<'a, T, E> {
    pub(crate) alternative: Option<Way<'a, String, T, E>>,
    pub(crate) degraded: Option<Way<'a, Vec<String>, T, E>>,
}

impl<'a, T, E> Standby<'a, T, E> {
    /// Nothing of its own: cached and default answers need none.
    #[must_use]
    pub fn new() -> Self {
        Self { alternative: None, degraded: None }
    }

    /// Calls the service of this name instead. Give that service a guard of its own.
    #[must_use]
    pub fn alternative<F>(mut self, call: impl Fn(String) -> F + Send + Sync + 'a) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'a,
    {
        self.alternative = Some(Box::new(move |service| Box::pin(call(service))));
        self
    }

    /// Answers without these features.
    #[must_use]
    pub fn degraded<F>(mut self, answer: impl Fn(Vec<String>) -> F + Send + Sync + 'a) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'a,
    {
        self.degraded = Some(Box::new(move |features| Box::pin(answer(features))));
        self
    }
}

impl<T, E> Default for Standby<'_, T, E> {
    fn default() -> Self {
        Self::new()
    }
}
