//! Takes what is in the outbox into the log, in the order of the transactions.

use std::sync::Arc;
use std::time::Duration;

use csf_core::port::{Append, EventLog, LogError, Timer, within};
use tokio::sync::{Notify, watch};

use super::DataError;
use super::outbox::{self, Waiting};
use super::pool::Pool;
use crate::cache::QueryCache;

pub(super) struct Relay {
    pub(super) pool: Arc<Pool>,
    pub(super) log: Arc<dyn EventLog>,
    pub(super) cache: QueryCache,
    pub(super) timer: Arc<dyn Timer>,
    pub(super) every: Duration,
    pub(super) news: Arc<Notify>,
    pub(super) closed: watch::Receiver<bool>,
}

impl Relay {
    /// Until the layer is closed, or the log.
    pub(super) async fn run(mut self) {
        loop {
            let more = match self.page().await {
                Ok(more) => more,
                Err(DataError::Closed | DataError::Log(LogError::Closed)) => return,
                Err(error) => {
                    tracing::warn!(%error, "the outbox is tried again");
                    false
                }
            };
            if *self.closed.borrow() {
                return;
            }
            if !more {
                let news = async {
                    tokio::select! {
                        () = self.news.notified() => {}
                        // A layer that is gone is closed.
                        _ = self.closed.changed() => {}
                    }
                };
                // Others may have put something in.
                let _ = within(&*self.timer, self.every, news).await;
            }
        }
    }

    /// Appends what waits; whether there was anything. A row goes after its append was answered: a crash in between appends it again, under the
    /// same ids.
    async fn page(&self) -> Result<bool, DataError> {
        let waiting: Vec<Waiting> = self.pool.transact(|sql| outbox::waiting(sql)).await?;
        let mut done = Vec::new();
        let mut failed = None;
        for transaction in &waiting {
            match self.log.append(Append::events(transaction.events.clone())).await {
                Ok(_) => done.push(transaction.number),
                Err(LogError::Refused(refused)) => {
                    let (number, reason) = (transaction.number, refused.to_string());
                    tracing::error!(number, reason, "the log does not take what was committed; it is set aside");
                    self.pool.transact(move |sql| outbox::set_aside(sql, number, &reason)).await?;
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        // A process that died between its commit and this has left old answers.
        self.cache.invalidate(waiting.iter().flat_map(Waiting::touched)).await;
        if !done.is_empty() {
            self.pool.transact(move |sql| outbox::remove(sql, &done)).await?;
        }
        failed.map_or(Ok(!waiting.is_empty()), |error| Err(error.into()))
    }
}
