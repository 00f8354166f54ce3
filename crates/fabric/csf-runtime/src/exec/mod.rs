//! Execution: dispatchers run components, the recorder makes their world durable.

mod dispatcher;
mod recorder;
mod stats;
mod watermark;

pub use dispatcher::{Dispatcher, DispatcherHandle, PathLatencies, Runner, Timers};
pub(crate) use dispatcher::{Parts, handle};
pub use recorder::{Recorder, RecorderHandle};
pub use stats::{ComponentStats, Latency, LatencySummary, RunState, ServiceStats};
pub use watermark::{Committed, CommittedPacket, DurableFeed};
