//! Execution: dispatchers run components, the recorder makes their world durable.

mod crew;
mod desk;
mod dispatcher;
mod failing;
mod handler;
mod latency;
mod paths;
mod rebuild;
mod recorder;
mod repeat;
mod runner;
mod stats;
mod tie;
mod turn;
mod watermark;
mod worker;

pub(crate) use crew::{Abandoned, Look};
pub use desk::Desk;
pub use dispatcher::{Dispatcher, DispatcherHandle};
pub use failing::{Checkpoint, DeadEvent, FAILURES_MAX, Failing, Incident, IncidentSink, Rebuild};
pub(crate) use handler::{Handled, Parts, hand_over, handle, panic_text, renew};
pub use latency::{Latency, LatencySummary};
pub use paths::{ComponentPaths, PathLatencies};
pub use rebuild::Rebuilt;
pub use recorder::{Recorder, RecorderHandle};
pub(crate) use repeat::{LaneBook, RepeatWriter};
pub use runner::{ComponentObserver, Machine, Outputs, Runner, Timers};
pub use stats::{ComponentStats, RunState, ServiceStats};
pub(crate) use tie::Again;
pub use tie::Tie;
pub use watermark::{Committed, CommittedPacket, DurableFeed};
pub(crate) use worker::step_back;
