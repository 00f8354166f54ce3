//! Services that fail: each instance of a service is doomed to end at a random moment, with an error or a panic.

use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use csf_core::port::Timer;
use csf_runtime::topology::Topology;
use csf_runtime::{BoxFuture, Service, ServiceContext, ServiceError};
use csf_sim::{SeededRng, SimExecutor};
use futures_util::future::{Either, select};

use super::Notebook;
use super::faults::milliseconds;

/// Stream of the seed that the first instance draws from.
const FIRST_STREAM: u64 = 2_000_000;

/// Who says when which instance ends, over all lives of a machine.
#[derive(Clone)]
pub(super) struct Doom {
    notebook: Notebook,
    seed: u64,
    instances: Arc<AtomicU64>,
}

struct Fragile {
    inner: Box<dyn Service>,
    name: String,
    doom: Doom,
}

impl Doom {
    pub(super) fn new(notebook: &Notebook, seed: u64) -> Self {
        Self { notebook: notebook.clone(), seed, instances: Arc::default() }
    }

    /// Makes every service of a topology fragile.
    pub(super) fn befall(&self, topology: &mut Topology) {
        for service in &mut topology.services {
            let (doom, name) = (self.clone(), service.settings.name.value.clone());
            let sound = service.factory.clone();
            service.factory = Arc::new(move || {
                Box::new(Fragile { inner: sound(), name: name.clone(), doom: doom.clone() }) as Box<dyn Service>
            });
        }
    }

    fn world(&self) -> &SimExecutor {
        &self.notebook.world
    }

    /// Two of three instances live longer than most runs; the others may end before they did anything.
    fn next(&self) -> (SeededRng, Duration) {
        let instance = self.instances.fetch_add(1, Ordering::Relaxed);
        let mut rng = SeededRng::new(self.seed).stream(FIRST_STREAM + instance);
        let at_most = [50, 3_000, 60_000][rng.below(3) as usize];
        let lifetime = milliseconds(&mut rng, 0, at_most);
        (rng, lifetime)
    }
}

impl Service for Fragile {
    fn run(self: Box<Self>, cx: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            let Self { inner, name, doom } = *self;
            let (mut rng, lifetime) = doom.next();
            let end = pin!(doom.world().sleep(lifetime));
            match select(inner.run(cx), end).await {
                Either::Left((outcome, _)) => return outcome,
                Either::Right(((), rest)) => drop(rest),
            }
            if rng.below(2) == 0 {
                doom.notebook.line(format_args!("service {name} panics"));
                // Unlike `panic!` this tells no hook: nobody has to read about it.
                resume_unwind(Box::new("a simulated panic"));
            }
            doom.notebook.line(format_args!("service {name} fails"));
            Err(ServiceError::Failed { code: "simulated", message: "a simulated failure".to_owned() })
        })
    }
}
