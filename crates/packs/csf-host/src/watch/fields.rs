//! Which fields are watched, on which side, and how small a standard deviation is believed for each.
//!
//! The floors are what a machine's figures scatter by when nobody would call it an event: below them a quiet field would alarm on
//! dust. They are in the field's own unit and can be set by option. Order here is the order of the charts in a snapshot.

use csf_core::{Event, Message};

use crate::message::{Clock, Cpu, Disk, Memory, Network, Pressure, Process};

/// On which side leaving the chart is an anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Above,
    Below,
    Both,
}

impl Side {
    pub(crate) fn includes(self, score: f64) -> bool {
        match self {
            Self::Above => score > 0.0,
            Self::Below => score < 0.0,
            Self::Both => true,
        }
    }
}

/// A watched field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Field {
    /// Name of the message.
    pub(crate) message: &'static str,
    /// Name in the message.
    pub(crate) name: &'static str,
    pub(crate) side: Side,
    /// Smallest believed standard deviation of one sample.
    pub(crate) floor: f64,
}

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;

macro_rules! watched {
    ($($message:ident { $($field:ident: $side:ident, $floor:expr;)* })*) => {
        /// Every watched field, message by message.
        pub(crate) const FIELDS: &[&[Field]] = &[$(&[$(
            Field { message: $message::NAME, name: stringify!($field), side: Side::$side, floor: $floor },
        )*],)*];

        /// The fields of the event's message and their values, in the same order; `None` for a message not watched.
        pub(crate) fn values(event: &Event<'_>) -> Option<(&'static [Field], Vec<f64>)> {
            let mut index = 0;
            $(
                if let Some(message) = event.try_get::<$message>() {
                    return Some((FIELDS[index], vec![$(message.$field as f64),*]));
                }
                index += 1;
            )*
            let _ = index;
            None
        }
    };
}

watched! {
    Cpu {
        busy_share: Above, 0.06;
        system_share: Above, 0.04;
        iowait_share: Above, 0.04;
        steal_share: Above, 0.03;
        load_1m: Above, 0.25;
        context_switches_per_s: Above, 1000.0;
        interrupts_per_s: Above, 1000.0;
    }
    Memory {
        used_share: Above, 0.01;
        swap_used_bytes: Above, 16.0 * MIB;
        dirty_bytes: Above, 32.0 * MIB;
        page_faults_per_s: Above, 5000.0;
        major_faults_per_s: Above, 50.0;
    }
    Disk {
        read_bytes_per_s: Above, 4.0 * MIB;
        write_bytes_per_s: Above, 8.0 * MIB;
        busy_share: Above, 0.08;
        filesystem_free_bytes: Below, 64.0 * MIB;
    }
    Network {
        received_bytes_per_s: Above, 512.0 * KIB;
        sent_bytes_per_s: Above, 512.0 * KIB;
        errors_per_s: Above, 0.5;
        dropped_per_s: Above, 2.0;
    }
    Pressure {
        cpu_some_share: Above, 0.04;
        memory_some_share: Above, 0.01;
        memory_full_share: Above, 0.01;
        io_some_share: Above, 0.03;
        io_full_share: Above, 0.03;
    }
    Process {
        cpu_share: Above, 0.08;
        resident_bytes: Above, 4.0 * MIB;
        threads: Both, 2.0;
        open_files: Above, 8.0;
    }
    Clock {
        tsc_minus_os_ns: Both, 1000.0;
        uncertainty_ns: Above, 500.0;
        wall_step_ns: Both, 100_000.0;
    }
}

/// `host.cpu.busy_share`: how options name a field.
pub(crate) fn full_name(field: &Field) -> String {
    format!("{}.{}", field.message, field.name)
}

/// Whether an option's name is a watched field's.
pub(crate) fn is_watched(name: &str) -> bool {
    FIELDS.iter().copied().flatten().any(|field| full_name(field) == name)
}
