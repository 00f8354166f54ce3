//! What the parts of a configuration offer to others, as the service registry is told of it.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use csf_core::port::{SERVICE_ID_BYTES_MAX, ServiceCapabilities, ServiceId};

use super::check::{ComponentNode, ServiceNode};
use crate::config::{Located, OfferSettings, Problem, Promises};
use crate::pack::{Offer, Offers};

/// A latency or clock error that is not promised: it keeps no limit.
pub const NOT_PROMISED: Duration = Duration::MAX;
/// Requests at once of a part that does not say how many.
const CAPACITY: NonZeroU32 = NonZeroU32::new(16).expect("it is not zero");

impl ServiceNode {
    /// What it offers; `None` where that is nothing.
    #[must_use]
    pub fn capabilities(&self) -> Option<ServiceCapabilities> {
        capabilities(&self.kind.offers, &self.settings.offers)
    }
}

impl ComponentNode {
    /// As [`ServiceNode::capabilities`].
    #[must_use]
    pub fn capabilities(&self) -> Option<ServiceCapabilities> {
        capabilities(&self.kind.offers, &self.settings.offers)
    }
}

fn capabilities(of_type: &Offers, own: &OfferSettings) -> Option<ServiceCapabilities> {
    let of_type_names = of_type.operations.iter().map(|Offer { operation, .. }| (*operation).to_owned());
    let operations: BTreeSet<String> = of_type_names.chain(own.operations.iter().map(|o| o.value.clone())).collect();
    let Promises { latency, clock_error, capacity } = own.promises.or(of_type.promises);
    (!operations.is_empty()).then(|| ServiceCapabilities {
        operations,
        latency: latency.unwrap_or(NOT_PROMISED),
        clock_error: clock_error.unwrap_or(NOT_PROMISED),
        capacity: capacity.unwrap_or(CAPACITY),
    })
}

/// Whether a part's offers can be registered.
pub(super) fn check(name: &Located<String>, of_type: &Offers, own: &OfferSettings, problems: &mut Vec<Problem>) {
    for operation in &own.operations {
        if ServiceId::new(operation.value.clone()).is_err() {
            let message = format!("`{}` cannot name what is offered", operation.value);
            let help = format!("use 1 to {SERVICE_ID_BYTES_MAX} bytes without white space");
            problems.push(Problem::new("CSF-0104", message).at(&operation.at).help(help));
        }
    }
    let offers_something = !own.operations.is_empty() || !of_type.operations.is_empty();
    if let Some(at) = own.promises_at.as_ref().filter(|_| !offers_something) {
        let message = format!("`{}` promises, but offers nothing", name.value);
        let help = "add `offers = [\"…\"]`, or remove `promises`";
        problems.push(Problem::new("CSF-0104", message).at(at).help(help));
    }
    if offers_something && let Err(error) = ServiceId::new(name.value.clone()) {
        let help = "rename it, or offer nothing: the registry knows parts by their names";
        problems.push(Problem::new("CSF-0104", error.to_string()).at(&name.at).help(help));
    }
}
