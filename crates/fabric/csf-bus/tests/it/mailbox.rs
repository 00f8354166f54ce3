//! Mailboxes: lanes shared, owned, given back; room, closing, and reading along.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use csf_bus::{Interest, Mailbox, Refused};
use csf_core::{Attributes, Header};

use super::bus;

const PLAIN: Attributes =
    Attributes { measured_at: None, priority: csf_core::Priority::Normal, deadline: None, targets: u64::MAX };

fn take(mailbox: &mut Mailbox<u64>) -> Option<(Header, u64)> {
    let (header, value) = mailbox.peek()?;
    let taken = (header, *value);
    mailbox.advance();
    Some(taken)
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn clones_share_a_lane_and_an_own_lane_is_merged_by_stamp() {
    let bus = bus();
    let (mut mailbox, one) = bus.mailbox::<u64>("actor.a", 8).unwrap();
    let (two, own) = (one.clone(), one.own_lane("b").unwrap());
    for (sender, value) in [(&one, 1), (&own, 2), (&two, 3), (&own, 4), (&one, 5)] {
        sender.try_send(value, &PLAIN, None).unwrap();
    }
    let taken: Vec<_> = std::iter::from_fn(|| take(&mut mailbox)).collect();
    let lanes: BTreeSet<_> = taken.iter().map(|(header, _)| header.id.lane).collect();
    assert_eq!(lanes.len(), 2);
    assert!(taken.windows(2).all(|pair| pair[0].0.stamp <= pair[1].0.stamp), "{taken:?}");
    let of = |own: bool| taken.iter().filter(|(_, v)| (v % 2 == 0) == own).map(|(_, v)| *v).collect::<Vec<_>>();
    assert_eq!((of(false), of(true)), (vec![1, 3, 5], vec![2, 4]), "each lane in order");
}

#[test]
fn a_full_mailbox_gives_the_value_back_and_a_sender_that_waits_gets_the_next_room() {
    let bus = bus();
    let (mut mailbox, sender) = bus.mailbox::<u64>("actor.a", 2).unwrap();
    sender.try_send(1, &PLAIN, None).unwrap();
    sender.try_send(2, &PLAIN, None).unwrap();
    assert_eq!(sender.try_send(3, &PLAIN, None), Err(Refused::Full(3)));
    let other = sender.clone();
    let (mut first, mut second) = (pin!(sender.send(3, &PLAIN, None)), pin!(other.send(4, &PLAIN, None)));
    assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
    assert_eq!(take(&mut mailbox).unwrap().1, 1);
    assert!(poll(second.as_mut()).is_pending(), "the other one waited first");
    assert!(poll(first.as_mut()).is_ready());
    assert_eq!(take(&mut mailbox).unwrap().1, 2);
    assert!(poll(second.as_mut()).is_ready());
    let rest: Vec<u64> = std::iter::from_fn(|| take(&mut mailbox)).map(|(_, v)| v).collect();
    assert_eq!(rest, [3, 4]);
}

#[test]
fn a_dropped_wait_has_sent_nothing_and_leaves_its_turn() {
    let bus = bus();
    let (mut mailbox, sender) = bus.mailbox::<u64>("actor.a", 2).unwrap();
    sender.try_send(1, &PLAIN, None).unwrap();
    sender.try_send(2, &PLAIN, None).unwrap();
    {
        let mut dropped = Box::pin(sender.send(3, &PLAIN, None));
        assert!(poll(dropped.as_mut()).is_pending());
    }
    let mut next = pin!(sender.send(4, &PLAIN, None));
    assert!(poll(next.as_mut()).is_pending());
    assert_eq!(take(&mut mailbox).unwrap().1, 1);
    assert!(poll(next.as_mut()).is_ready());
    let rest: Vec<u64> = std::iter::from_fn(|| take(&mut mailbox)).map(|(_, v)| v).collect();
    assert_eq!(rest, [2, 4]);
}

#[test]
fn closing_keeps_what_was_accepted_and_gives_waiting_values_back() {
    let bus = bus();
    let (mut mailbox, sender) = bus.mailbox::<u64>("actor.a", 2).unwrap();
    let own = sender.own_lane("b").unwrap();
    for value in [1, 2] {
        own.try_send(value, &PLAIN, None).unwrap();
    }
    let mut waiting = pin!(own.send(3, &PLAIN, None));
    assert!(poll(waiting.as_mut()).is_pending());
    sender.close();
    assert_eq!(poll(waiting.as_mut()), Poll::Ready(Err(Refused::Closed(3))));
    assert_eq!(sender.try_send(4, &PLAIN, None), Err(Refused::Closed(4)));
    assert_eq!(mailbox.lag(), 2);
    let rest: Vec<u64> = std::iter::from_fn(|| take(&mut mailbox)).map(|(_, v)| v).collect();
    assert_eq!(rest, [1, 2]);
    sender.open();
    sender.try_send(5, &PLAIN, None).unwrap();
    assert_eq!(take(&mut mailbox).unwrap().1, 5);
    drop(mailbox);
    assert_eq!(sender.try_send(6, &PLAIN, None), Err(Refused::Closed(6)), "nobody reads any more");
}

#[test]
fn any_number_of_short_lived_senders_and_mailboxes_uses_few_lanes() {
    let bus = bus();
    let mut ids = BTreeSet::new();
    // More than the 65,536 lanes of a start.
    for round in 0..70_000u64 {
        let (mut mailbox, sender) = bus.mailbox::<u64>("actor.group", 2).unwrap();
        for value in 0..2 {
            ids.insert(sender.own_lane("visitor").unwrap().try_send(round * 4 + value, &PLAIN, None).unwrap());
        }
        assert_eq!(mailbox.lanes(), 2);
        // One is left unread: the next mailbox must not see it.
        assert_eq!(take(&mut mailbox).unwrap().1, round * 4);
        // Whichever end goes last gives the lanes back.
        if round % 2 == 0 {
            drop(mailbox);
        }
    }
    assert_eq!(ids.len(), 140_000, "an id was used twice");
    assert_eq!(bus.topic("actor.group").unwrap().lanes().len(), 2);
}

#[test]
fn stamps_of_a_lane_grow_over_its_owners_and_after_a_cause() {
    let bus = bus();
    let (mut far, sender) = bus.mailbox::<u64>("actor.far", 2).unwrap();
    sender.try_send(1, &PLAIN, None).unwrap();
    let (cause, _) = take(&mut far).unwrap();
    let mut last = cause.stamp;
    for _ in 0..3 {
        let (mut mailbox, sender) = bus.mailbox::<u64>("actor.group", 2).unwrap();
        let mut far_cause = cause;
        far_cause.stamp = last.after(1_000_000);
        sender.try_send(1, &PLAIN, Some(&far_cause)).unwrap();
        let (header, _) = take(&mut mailbox).unwrap();
        assert!(header.stamp > far_cause.stamp && header.cause == Some(cause.id));
        last = header.stamp;
    }
    let (mut mailbox, sender) = bus.mailbox::<u64>("actor.group", 2).unwrap();
    sender.try_send(1, &PLAIN, None).unwrap();
    let (header, _) = take(&mut mailbox).unwrap();
    assert!(header.stamp > last, "the clock is behind, the lane is not");
    assert_eq!(
        sender.try_send(2, &PLAIN, Some(&Header { id: header.id.lane.message(9), ..header })),
        Err(Refused::FutureCause(2))
    );
}

#[test]
fn who_reads_along_sees_the_same_packets() {
    let bus = bus();
    let (mut mailbox, sender) = bus.mailbox::<u64>("actor.a", 8).unwrap();
    let mut tap = sender.tap(Interest::new());
    let id = sender.try_send(7, &PLAIN, None).unwrap();
    let seen = tap.poll(|header, value| (*header, *value)).unwrap();
    assert_eq!(take(&mut mailbox).unwrap(), seen);
    assert_eq!((seen.0.id, seen.1), (id, 7));
}
