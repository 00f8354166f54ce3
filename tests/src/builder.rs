//! A test with what it needs, built, run and cleared away, however it ends.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;

use crate::{Backing, IntegrationTestHarness, Migration, TestError};

/// What a test's database and cache hold before it starts.
#[derive(Debug, Clone, Default)]
pub struct TestDataBuilder {
    migrations: Vec<Migration>,
    rows: Vec<String>,
    cached: Vec<(String, String)>,
}

impl TestDataBuilder {
    /// With this step of the schema.
    #[must_use]
    pub fn migration(mut self, name: &'static str, sql: &'static str) -> Self {
        self.migrations.push(Migration { name, sql });
        self
    }

    /// With what this statement inserts.
    #[must_use]
    pub fn rows(mut self, sql: impl Into<String>) -> Self {
        self.rows.push(sql.into());
        self
    }

    /// With this in the cache.
    #[must_use]
    pub fn cached(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.cached.push((key.into(), value.into()));
        self
    }

    async fn lay_out(&self, harness: &IntegrationTestHarness) -> Result<(), TestError> {
        harness.test_db.run_migrations(&self.migrations)?;
        for sql in &self.rows {
            harness.test_db.execute(sql)?;
        }
        for (key, value) in &self.cached {
            harness.test_cache.set(key, value).await?;
        }
        Ok(())
    }
}

/// What a running test sees.
pub struct IntegrationTestContext {
    /// What it stands on.
    pub harness: IntegrationTestHarness,
    components: BTreeMap<&'static str, Box<dyn Any + Send + Sync>>,
}

impl IntegrationTestContext {
    /// A component that the test brought.
    ///
    /// # Errors
    /// [`TestError::NoComponent`].
    pub fn get_component<T: Any>(&self, name: &str) -> Result<&T, TestError> {
        let found = self.components.get(name).and_then(|component| component.downcast_ref());
        found.ok_or_else(|| TestError::NoComponent { name: name.to_owned() })
    }
}

/// A test in the making.
pub struct IntegrationTestBuilder {
    backing: Backing,
    components: BTreeMap<&'static str, Box<dyn Any + Send + Sync>>,
    test_data: TestDataBuilder,
}

/// What a test does; it borrows its context.
pub type TestBody<'a> = Pin<Box<dyn Future<Output = Result<(), TestError>> + 'a>>;

impl IntegrationTestBuilder {
    /// A test on this backing.
    #[must_use]
    pub fn new(backing: Backing) -> Self {
        Self { backing, components: BTreeMap::new(), test_data: TestDataBuilder::default() }
    }

    /// With a component, for [`IntegrationTestContext::get_component`].
    #[must_use]
    pub fn with_component<T: Any + Send + Sync>(mut self, name: &'static str, component: T) -> Self {
        self.components.insert(name, Box::new(component));
        self
    }

    /// With data.
    #[must_use]
    pub fn with_test_data(mut self, data: TestDataBuilder) -> Self {
        self.test_data = data;
        self
    }

    /// Makes the harness and lays the data out.
    ///
    /// # Errors
    /// [`TestError`].
    pub async fn build_context(self) -> Result<IntegrationTestContext, TestError> {
        let harness = IntegrationTestHarness::start(self.backing).await?;
        self.test_data.lay_out(&harness).await?;
        Ok(IntegrationTestContext { harness, components: self.components })
    }

    /// Builds the context, runs the test, and clears everything away, whether it succeeds, fails or panics.
    ///
    /// # Errors
    /// [`TestError`]; a panic is [`TestError::Failed`] with its words.
    pub async fn test(
        self,
        body: impl for<'a> FnOnce(&'a IntegrationTestContext) -> TestBody<'a>,
    ) -> Result<(), TestError> {
        let context = self.build_context().await?;
        let mut running = body(&context);
        let outcome = std::future::poll_fn(|cx| {
            let polled = std::panic::catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx)));
            polled.unwrap_or_else(|panic| std::task::Poll::Ready(Err(TestError::Failed(words(panic.as_ref())))))
        })
        .await;
        drop(running);
        context.harness.close().await;
        outcome
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".to_owned())
}
