//! Execution: dispatchers run components, the recorder makes their world durable.

mod dispatcher;
mod handler;
mod latency;
mod paths;
mod recorder;
mod stats;
mod turn;
mod watermark;
mod worker;

pub use dispatcher::{ComponentObserver, Dispatcher, DispatcherHandle, Outputs, Runner, Timers};
pub(crate) use handler::{Parts, hand_over, handle, panic_text};
pub use latency::{Latency, LatencySummary};
pub use paths::{ComponentPaths, PathLatencies};
pub use recorder::{Recorder, RecorderHandle};
pub use stats::{ComponentStats, RunState, ServiceStats};
pub use watermark::{Committed, CommittedPacket, DurableFeed};
pub(crate) use worker::step_back;
