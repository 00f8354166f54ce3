//! The peers, one file each, at exact versions. Each does what its documentation recommends for speed.

pub mod crossbeam;
pub mod disruptor;
pub mod duroxide;
pub mod erlang;
pub mod flume;
pub mod iceoryx2;
pub mod kameo;
pub mod kanal;
pub mod minstant;
pub mod photon;
pub mod process;
pub mod quanta;
pub mod ractor;
pub mod redis;
pub mod restate;
pub mod rtrb;
pub mod tasks;
pub mod thingbuf;
pub mod tokio;
pub mod tower_resilience;
pub mod uhlc;
#[cfg(feature = "zenoh")]
pub mod zenoh;
