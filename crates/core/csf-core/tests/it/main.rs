//! The words of the core as their users see them.

mod phase_packet;

use csf_core::{Attributes, BusError, ClockDomain, MeasuredAt, Priority, Stamp};
use proptest::prelude::*;

fn priority() -> impl Strategy<Value = Priority> {
    prop_oneof![Just(Priority::Low), Just(Priority::Normal), Just(Priority::High), Just(Priority::Critical)]
}

proptest! {
    #[test]
    fn each_builder_call_changes_its_own_field_only(
        (urgency, other) in (priority(), priority()),
        deadline in prop::option::of(any::<u64>()),
        targets in any::<u64>(),
        (ns, new) in (any::<u64>(), any::<u64>()),
    ) {
        let before = Attributes {
            measured_at: Some(MeasuredAt::new(ClockDomain::intern("px4").unwrap(), ns)),
            priority: urgency,
            deadline: deadline.map(Stamp),
            targets,
        };
        let with = before;
        prop_assert_eq!(with.with_priority(other), Attributes { priority: other, ..before });
        prop_assert_eq!(with.with_deadline(Stamp(new)), Attributes { deadline: Some(Stamp(new)), ..before });
        prop_assert_eq!(with.with_targets(new), Attributes { targets: new, ..before });
        let measured_at = MeasuredAt::new(ClockDomain::OS, new);
        prop_assert_eq!(with.with_measured_at(measured_at), Attributes { measured_at: Some(measured_at), ..before });
    }
}

#[test]
fn every_bus_error_says_what_the_interface_promises() {
    let text = |s: &str| s.to_owned();
    let cases = [
        (BusError::SubscriptionNotFound { subscription_id: 7 }, "Subscription not found: 7"),
        (BusError::DeliveryFailed { details: text("d") }, "Message delivery failed: d"),
        (BusError::TemporalViolation { details: text("d") }, "Temporal violation: d"),
        (BusError::ResourceExhausted { resource: text("r"), details: text("d") }, "Resource exhausted: r - d"),
        (BusError::SerializationFailed { details: text("d") }, "Serialization failed: d"),
        (BusError::InitializationFailed { component: text("c"), reason: text("r") }, "Initialization failed: c - r"),
        (BusError::Internal { details: text("d") }, "Internal error: d"),
    ];
    for (error, expected) in cases {
        assert_eq!(error.to_string(), expected);
    }
}
