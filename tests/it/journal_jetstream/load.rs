//! What a commit in JetStream costs, beside plain publishing; prints figures.
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::sync::Arc;

use csf_core::Stamp;
use csf_core::port::{EventLog, Journal, NewEvent};
use csf_data::SharedLog;
use serde_json::json;

use super::World;
use crate::say;

/// How many events a second, from 64 callers, each waiting for its own.
///
/// `cargo test --release -p csf-tests --test it -- journal_jetstream::load --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run it by hand, in release"]
async fn load() {
    const CALLERS: u64 = 64;
    const EACH: u64 = 500;
    let Some(world) = World::new("") else { return };
    let world = Arc::new(world);
    let text: Arc<str> = "x".repeat(1000).into();
    for round in 0..3 {
        let name = format!("load-{round}");
        let log = Arc::new(SharedLog::start(Box::new(world.open(&name, &name))).unwrap());
        let began = std::time::Instant::now();
        let callers = (0..CALLERS).map(|caller| {
            let (log, text) = (log.clone(), text.clone());
            tokio::spawn(async move {
                for n in 0..EACH {
                    let data = json!({ "n": n, "text": &*text });
                    let event = NewEvent::new(format!("load-{caller}"), "placed", Stamp(n), data);
                    log.append(event.into()).await.unwrap();
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
        let ours = (CALLERS * EACH) as f64 / began.elapsed().as_secs_f64();
        drop(log);

        let client = async_nats::connect(world.options("plain").url).await.unwrap();
        let context = async_nats::jetstream::new(client);
        let name = format!("plain-{round}");
        let config = async_nats::jetstream::stream::Config {
            name: name.clone(),
            subjects: vec![name.clone()],
            ..Default::default()
        };
        context.create_stream(config).await.unwrap();
        let began = std::time::Instant::now();
        let callers = (0..CALLERS).map(|_| {
            let (context, text, name) = (context.clone(), text.clone(), name.clone());
            tokio::spawn(async move {
                for n in 0..EACH {
                    let data = json!({ "n": n, "text": &*text }).to_string();
                    context.publish(name.clone(), data.into()).await.unwrap().await.unwrap();
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
        let plain = (CALLERS * EACH) as f64 / began.elapsed().as_secs_f64();
        say(&format!("round {round}: {ours:.0} events/s in the journal, {plain:.0} messages/s published plainly"));
    }
    let began = std::time::Instant::now();
    let journal = world.open("load-0", "anew");
    let rate = journal.position() as f64 / began.elapsed().as_secs_f64();
    say(&format!("index built anew: {rate:.0} events/s"));
}
