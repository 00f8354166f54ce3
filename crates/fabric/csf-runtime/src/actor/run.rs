//! One instance of an actor: message after message, heartbeats and ticks between them, an orderly end.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use csf_bus::Mailbox;
use csf_core::port::{Sleep, Timer};

use super::address::limited;
use super::definition::Settings;
use super::desk::{Desk, Ledger, Seat, Sitting, Turn, answer};
use super::{ActorContext, ActorState, MailboxOnRestart, SupervisorMessage};
use crate::exec::step_back;
use crate::supervise::{ChildContext, ExitReason};

/// Messages handled before other tasks get their turn.
const BATCH: u32 = 128;

pub(super) async fn run<S: ActorState>(mut sitting: Sitting<S>, child: ChildContext) -> ExitReason {
    let (seat, desk) = sitting.parts();
    let (ledger, settings) = (&desk.address.ledger, &desk.settings);
    if settings.on_restart == MailboxOnRestart::Drop && ledger.starts.load(Ordering::Relaxed) > 0 {
        seat.clear(ledger);
    }
    Ledger::<S::Message>::count(&ledger.starts);
    desk.address.sender.open();
    let cx = ActorContext { child: &child, address: &desk.address, header: None, is_done: false };
    let mut instance = Instance { state: (desk.make)(), cx, desk, pulse: Pulse::new(settings, &child) };
    instance.register();
    match instance.live(seat).await {
        Ok(reason) => {
            instance.unregister();
            reason
        }
        Err(reason) => reason,
    }
}

struct Instance<'a, S: ActorState> {
    state: S,
    cx: ActorContext<'a, S>,
    desk: &'a Desk<S>,
    pulse: Pulse,
}

/// Why an idle actor goes on.
enum Wake {
    Mail,
    Tick,
    Stop,
}

impl<S: ActorState> Instance<'_, S> {
    /// Until the end: orderly, or with the failure.
    async fn live(&mut self, seat: &mut Seat<S>) -> Result<ExitReason, ExitReason> {
        self.state.on_start(&mut self.cx).await.map_err(ExitReason::failed)?;
        loop {
            if self.cx.is_done {
                return Ok(ExitReason::Normal);
            }
            if self.cx.child.is_stopping() {
                return self.stop(seat).await;
            }
            if self.batch(seat).await? {
                let is_tick = poll_fn(|task| Poll::Ready(self.pulse.poll(task))).await;
                if is_tick {
                    self.tick().await?;
                }
                step_back().await;
                continue;
            }
            if self.cx.is_done {
                continue;
            }
            match wait(&mut seat.mailbox, self.cx.child, &mut self.pulse).await {
                Wake::Tick => self.tick().await?,
                Wake::Mail | Wake::Stop => {}
            }
        }
    }

    /// Handles what is there; true when there may be more.
    async fn batch(&mut self, seat: &mut Seat<S>) -> Result<bool, ExitReason> {
        let (limits, ledger) = (self.desk.settings.limits, &self.desk.address.ledger);
        for _ in 0..BATCH {
            let (header, letter) = match seat.turn(limits.attempts, ledger) {
                Turn::Empty => return Ok(false),
                Turn::Buried => continue,
                Turn::Try(header, letter) => (header, letter),
            };
            self.cx.header = Some(header);
            let work = self.state.handle(&mut self.cx, letter.message());
            let outcome = match limits.message_timeout {
                None => work.await.map_err(|fault| fault.to_string()),
                Some(limit) => match limited(&*self.desk.address.timer, limit, work).await {
                    Some(outcome) => outcome.map_err(|fault| fault.to_string()),
                    None => Err(format!("packet {} took longer than the message timeout, {limit:?}", header.id)),
                },
            };
            self.cx.header = None;
            match outcome {
                Ok(reply) => answer(letter, Ok(reply), ledger),
                Err(reason) => {
                    let reason: Arc<str> = reason.into();
                    seat.failed(reason.clone(), limits.attempts, ledger);
                    return Err(ExitReason::Failed(reason));
                }
            }
            seat.mailbox.advance();
            Ledger::<S::Message>::count(&ledger.handled);
            if self.cx.is_done {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn tick(&mut self) -> Result<(), ExitReason> {
        self.state.on_tick(&mut self.cx).await.map_err(ExitReason::failed)
    }

    /// Takes nothing more, handles what was accepted. The supervisor's patience is the limit.
    async fn stop(&mut self, seat: &mut Seat<S>) -> Result<ExitReason, ExitReason> {
        self.desk.address.sender.close();
        while self.batch(seat).await? {
            step_back().await;
        }
        self.state.on_stop(&mut self.cx).await;
        Ok(ExitReason::Shutdown)
    }

    fn register(&self) {
        if let Some((heartbeat, watch)) = &self.desk.settings.heartbeat {
            let (child_id, child_addr) = (self.cx.child.id().clone(), self.cx.child.process());
            // A full mailbox of the watch: the next heartbeat registers too.
            let _ = watch.try_tell(SupervisorMessage::RegisterChild { child_id, child_addr, heartbeat: *heartbeat });
        }
    }

    fn unregister(&self) {
        if let Some((_, watch)) = &self.desk.settings.heartbeat {
            // What ended is forgotten anyway.
            let _ = watch.try_tell(SupervisorMessage::UnregisterChild { child: self.cx.child.pid() });
        }
    }
}

async fn wait<M, R>(mailbox: &mut Mailbox<super::Envelope<M, R>>, child: &ChildContext, pulse: &mut Pulse) -> Wake
where
    M: csf_bus::Content,
    R: Send + 'static,
{
    poll_fn(|task| {
        // The process's task is woken by its signals.
        if child.is_stopping() {
            return Poll::Ready(Wake::Stop);
        }
        if pin!(mailbox.ready()).poll(task).is_ready() {
            return Poll::Ready(Wake::Mail);
        }
        if pulse.poll(task) { Poll::Ready(Wake::Tick) } else { Poll::Pending }
    })
    .await
}

/// Tells the watch that the instance is alive.
type Beat = Box<dyn Fn() + Send + Sync>;

/// What an actor does by the clock.
struct Pulse {
    timer: Arc<dyn Timer>,
    beat: Option<(Duration, Sleep, Beat)>,
    tick: Option<(Duration, Sleep)>,
}

impl Pulse {
    fn new(settings: &Arc<Settings>, child: &ChildContext) -> Self {
        let timer = child.env().timer().clone();
        let beat = settings.heartbeat.as_ref().map(|(heartbeat, watch)| {
            let (watch, heartbeat) = (watch.clone(), *heartbeat);
            let (child_id, process) = (child.id().clone(), child.process());
            let beat = move || {
                let (child_id, child_addr) = (child_id.clone(), process.clone());
                // A full mailbox of the watch: it hears the next one.
                let _ = watch.try_tell(SupervisorMessage::Heartbeat { child_id, child_addr, heartbeat });
            };
            (heartbeat.every, timer.sleep(heartbeat.every), Box::new(beat) as Beat)
        });
        let tick = settings.tick.map(|every| (every, timer.sleep(every)));
        Self { timer, beat, tick }
    }

    /// Beats when it is time to; true when a tick is due.
    fn poll(&mut self, task: &mut Context<'_>) -> bool {
        if let Some((every, sleep, beat)) = &mut self.beat
            && sleep.as_mut().poll(task).is_ready()
        {
            beat();
            *sleep = self.timer.sleep(*every);
            // Registers for the next one.
            let _ = sleep.as_mut().poll(task);
        }
        let Some((every, sleep)) = &mut self.tick else { return false };
        let is_due = sleep.as_mut().poll(task).is_ready();
        if is_due {
            *sleep = self.timer.sleep(*every);
        }
        is_due
    }
}
