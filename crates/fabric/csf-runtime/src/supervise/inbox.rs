//! A supervisor's messages, taken in order or, while it waits for one child's end, around the others.

use std::collections::VecDeque;
use std::future::poll_fn;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::supervisor::Call;
use super::{ExitReason, Pid};

pub(super) enum Message {
    /// A child ended.
    Exit { pid: Pid, reason: ExitReason },
    /// Who started this supervisor wants it to stop, or is gone.
    Parent(ExitReason),
    /// The supervisor to itself: a start failed, try once more, after what came in meanwhile.
    TryAgain(Target),
    /// From outside.
    Call(Call),
}

/// A child that waits for its restart: a static one by place, a dynamic one by the instance that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Static(u64),
    Dynamic(Pid),
}

/// Unbounded, but not unlimited: a child sends one `Exit`, a caller waits for its answer before it calls again.
pub(super) struct Inbox {
    queue: UnboundedReceiver<Message>,
    set_aside: VecDeque<Message>,
}

impl Inbox {
    pub(super) fn new() -> (UnboundedSender<Message>, Self) {
        let (sender, queue) = unbounded_channel();
        (sender, Self { queue, set_aside: VecDeque::new() })
    }

    /// The oldest message. Cancel safe.
    pub(super) async fn next(&mut self) -> Message {
        match self.set_aside.pop_front() {
            Some(message) => message,
            None => self.receive().await,
        }
    }

    /// Waits for the end of `pid`; everything else keeps its order. Cancel safe.
    pub(super) async fn exit_of(&mut self, pid: Pid) -> ExitReason {
        self.exit_matching(|p| p == pid).await.1
    }

    /// Waits for the end of one that `wanted` names. Cancel safe.
    pub(super) async fn exit_matching(&mut self, wanted: impl Fn(Pid) -> bool) -> (Pid, ExitReason) {
        let is_wanted = |message: &Message| matches!(message, Message::Exit { pid, .. } if wanted(*pid));
        if let Some(at) = self.set_aside.iter().position(is_wanted)
            && let Some(Message::Exit { pid, reason }) = self.set_aside.remove(at)
        {
            return (pid, reason);
        }
        loop {
            match self.receive().await {
                Message::Exit { pid, reason } if wanted(pid) => return (pid, reason),
                other => self.set_aside.push_back(other),
            }
        }
    }

    async fn receive(&mut self) -> Message {
        // The supervisor holds a sender of its own, so the queue never closes.
        poll_fn(|cx| match self.queue.poll_recv(cx) {
            std::task::Poll::Ready(Some(message)) => std::task::Poll::Ready(message),
            _ => std::task::Poll::Pending,
        })
        .await
    }
}
