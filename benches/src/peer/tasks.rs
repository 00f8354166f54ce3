//! Bare tokio tasks: what an actor on tokio cannot beat by much.

use tokio::sync::{mpsc, oneshot};

use crate::clock::ticks;
use crate::load::{Missing, Samples, on_workers, rate};
use crate::stats::Figures;

fn missing(error: impl std::fmt::Display) -> Missing {
    Missing(error.to_string())
}

/// A task that sums what comes in a channel of 1,024.
pub fn tell(senders: u64, count: u64) -> Result<Figures, Missing> {
    on_workers(2, async move {
        let (tx, mut rx) = mpsc::channel::<u64>(1024);
        let from = ticks();
        let each = count / senders;
        for _ in 0..senders {
            let tx = tx.clone();
            tokio::spawn(async move {
                for number in 0..each {
                    tx.send(number).await.expect("the task lives");
                }
            });
        }
        drop(tx);
        let task = tokio::spawn(async move {
            let mut sum = 0u64;
            while let Some(number) = rx.recv().await {
                sum = sum.wrapping_add(number);
            }
            sum
        });
        let sum = task.await.map_err(missing)?;
        assert_eq!(sum, senders * (each * (each - 1) / 2), "a message was lost, doubled or torn");
        Ok(rate(each * senders, from))
    })
}

/// A request in a channel, its answer in a oneshot.
pub fn ask(count: u64) -> Result<Figures, Missing> {
    on_workers(1, async move {
        let (tx, mut rx) = mpsc::channel::<(u64, oneshot::Sender<u64>)>(1024);
        tokio::spawn(async move {
            while let Some((number, reply)) = rx.recv().await {
                let _ = reply.send(number);
            }
        });
        let mut samples = Samples::of(count);
        for number in 0..samples.total() {
            let from = ticks();
            let (reply, answer) = oneshot::channel();
            tx.send((number, reply)).await.map_err(missing)?;
            answer.await.map_err(missing)?;
            samples.add(number, ticks() - from);
        }
        Ok(samples.latency())
    })
}

/// Tasks that wait for ever, each asked for by a message and answered.
pub fn start(count: u64) -> Result<Figures, Missing> {
    on_workers(1, async move {
        let (tx, mut rx) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
        tokio::spawn(async move {
            while let Some(reply) = rx.recv().await {
                tokio::spawn(std::future::pending::<()>());
                let _ = reply.send(());
            }
        });
        let from = ticks();
        for _ in 0..count {
            let (reply, answer) = oneshot::channel();
            tx.send(reply).map_err(missing)?;
            answer.await.map_err(missing)?;
        }
        Ok(rate(count, from))
    })
}
