//! The registry inside the node, and its watchers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use csf_core::port::{
    Lease, OrchestrationError, RegistryError, RegistryFuture, ServiceCapabilities, ServiceChange, ServiceChanges,
    ServiceCondition, ServiceHealth, ServiceId, ServiceNeed, ServiceRecord, ServiceRegistry, ServiceWatch, Timer,
    within,
};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::book::Book;

/// How much the registry takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistryLimits {
    /// Services at once.
    pub services_max: usize,
    /// Shortest lease: renewing it costs a lock.
    pub lease_min: Duration,
    /// Longest lease: so long may a dead service stay.
    pub lease_max: Duration,
    /// Changes kept for a slow watcher, at least 1.
    pub changes_max: usize,
}

impl Default for RegistryLimits {
    /// 10,000 services, leases from 100 ms to an hour, 1,024 changes.
    fn default() -> Self {
        Self {
            services_max: 10_000,
            lease_min: Duration::from_millis(100),
            lease_max: Duration::from_secs(3_600),
            changes_max: 1_024,
        }
    }
}

/// The services of one node, in memory: it lives as long as the process, like the services in it. Clones are the same registry.
///
/// Every call takes effect, whole, at the first poll of its future, which is then ready: a future dropped before had no effect.
#[derive(Clone)]
pub struct EmbeddedRegistry(Arc<Shared>);

struct Shared {
    timer: Arc<dyn Timer>,
    book: Mutex<Book>,
    changes: broadcast::Sender<ServiceChange>,
}

impl Shared {
    /// The book as it is now: without what is over. Changes are told under its lock, so that their order is that of the book.
    fn open(&self) -> (Duration, MutexGuard<'_, Book>) {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.timer.now();
        book.expire(now).into_iter().for_each(|change| self.tell(change));
        (now, book)
    }

    fn left_of_next_lease(&self) -> Option<Duration> {
        let (now, book) = self.open();
        book.next_end().map(|end| end.saturating_sub(now))
    }

    fn tell(&self, change: ServiceChange) {
        // Nobody may be watching.
        let _ = self.changes.send(change);
    }
}

impl EmbeddedRegistry {
    /// Without services. `timer` is the time of the leases.
    #[must_use]
    pub fn new(timer: Arc<dyn Timer>, limits: RegistryLimits) -> Self {
        let (changes, _) = broadcast::channel(limits.changes_max.max(1));
        Self(Arc::new(Shared { timer, book: Mutex::new(Book::new(limits)), changes }))
    }

    fn with_book<T>(&self, act: impl FnOnce(&Shared, Duration, &mut Book) -> T) -> T {
        let (now, mut book) = self.0.open();
        act(&self.0, now, &mut book)
    }
}

impl ServiceRegistry for EmbeddedRegistry {
    fn register(
        &self,
        service: ServiceId,
        capabilities: ServiceCapabilities,
        lease: Duration,
    ) -> RegistryFuture<'_, Result<Lease, RegistryError>> {
        Box::pin(async move {
            self.with_book(|shared, now, book| {
                let (lease, change) = book.register(now, service, capabilities, lease)?;
                shared.tell(change);
                Ok(lease)
            })
        })
    }

    fn renew(&self, lease: &Lease, condition: ServiceCondition) -> RegistryFuture<'_, Result<(), RegistryError>> {
        let lease = lease.clone();
        Box::pin(async move {
            self.with_book(|shared, now, book| {
                book.renew(now, &lease, condition)?.into_iter().for_each(|change| shared.tell(change));
                Ok(())
            })
        })
    }

    fn deregister(&self, lease: &Lease) -> RegistryFuture<'_, Result<(), RegistryError>> {
        let lease = lease.clone();
        Box::pin(async move {
            self.with_book(|shared, _, book| {
                shared.tell(book.deregister(&lease)?);
                Ok(())
            })
        })
    }

    fn observe(&self, service: &ServiceId, health: ServiceHealth) -> RegistryFuture<'_, Result<(), RegistryError>> {
        let service = service.clone();
        Box::pin(async move {
            self.with_book(|shared, now, book| {
                book.observe(now, &service, health)?.into_iter().for_each(|change| shared.tell(change));
                Ok(())
            })
        })
    }

    fn discover(&self, need: &ServiceNeed) -> RegistryFuture<'_, Result<Vec<ServiceRecord>, RegistryError>> {
        let need = need.clone();
        Box::pin(async move { Ok(self.with_book(|_, now, book| book.discover(now, &need))) })
    }

    fn select_optimal_service(
        &self,
        step: &str,
        need: &ServiceNeed,
    ) -> RegistryFuture<'_, Result<ServiceRecord, OrchestrationError>> {
        let (step, need) = (step.to_owned(), need.clone());
        Box::pin(async move { self.with_book(|_, now, book| book.select(now, &step, &need)) })
    }

    fn watch(&self) -> RegistryFuture<'_, Result<ServiceWatch, RegistryError>> {
        Box::pin(async move {
            Ok(self.with_book(|shared, now, book| {
                let changes = Changes { shared: self.0.clone(), news: shared.changes.subscribe() };
                ServiceWatch { services: book.all(now), changes: Box::new(changes) }
            }))
        })
    }
}

struct Changes {
    shared: Arc<Shared>,
    news: broadcast::Receiver<ServiceChange>,
}

impl Changes {
    async fn wait(&mut self) -> Result<ServiceChange, RegistryError> {
        loop {
            let left = self.shared.left_of_next_lease();
            match self.news.try_recv() {
                Ok(change) => return Ok(change),
                Err(TryRecvError::Lagged(missed)) => return Err(RegistryError::Lagged { missed }),
                // It is not closed: the sender is in `shared`.
                Err(TryRecvError::Empty | TryRecvError::Closed) => {}
            }
            // A lease that begins meanwhile is news; one that is renewed only ends later, and then this looks again.
            let news = self.news.recv();
            let received = match left {
                Some(left) => within(&*self.shared.timer, left, news).await,
                None => Some(news.await),
            };
            match received {
                Some(Ok(change)) => return Ok(change),
                Some(Err(RecvError::Lagged(missed))) => return Err(RegistryError::Lagged { missed }),
                Some(Err(RecvError::Closed)) | None => {}
            }
        }
    }
}

impl ServiceChanges for Changes {
    fn next(&mut self) -> RegistryFuture<'_, Result<ServiceChange, RegistryError>> {
        Box::pin(self.wait())
    }
}
