//! The words of the core as their users see them.

use csf_core::BusError;

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
