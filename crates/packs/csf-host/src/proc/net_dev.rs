//! `/proc/net/dev`: traffic per network interface of this network namespace.

use super::{Line, ProcError, lines};

const FILE: &str = "net/dev";
/// Lines of headings.
const HEADINGS: usize = 2;

/// Counters of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceCounters {
    /// Its name; `lo` is loopback.
    pub name: String,
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets received.
    pub received_packets: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Errors, both directions.
    pub errors: u64,
    /// Packets dropped, both directions.
    pub dropped: u64,
}

/// Parses the file.
///
/// # Errors
/// [`ProcError`].
pub fn parse(text: &str) -> Result<Vec<InterfaceCounters>, ProcError> {
    lines(text).filter(|(number, _)| *number > HEADINGS).map(|(number, text)| counters(number, text)).collect()
}

fn counters(number: usize, text: &str) -> Result<InterfaceCounters, ProcError> {
    // Before Linux 3 the first number followed the colon without a space; names may hold a colon, numbers do not.
    let (name, rest) = text
        .rsplit_once(':')
        .ok_or_else(|| Line::new(FILE, number, "").error("interface", "followed by a colon", text))?;
    let mut line = Line::new(FILE, number, rest);
    let received_bytes = line.number("receive bytes")?;
    let received_packets = line.number("receive packets")?;
    let receive_errors: u64 = line.number("receive errs")?;
    let receive_dropped: u64 = line.number("receive drop")?;
    line.skip(4);
    let sent_bytes = line.number("transmit bytes")?;
    let sent_packets = line.number("transmit packets")?;
    let errors = receive_errors.saturating_add(line.number("transmit errs")?);
    let dropped = receive_dropped.saturating_add(line.number("transmit drop")?);
    Ok(InterfaceCounters {
        name: name.trim().to_owned(),
        received_bytes,
        received_packets,
        sent_bytes,
        sent_packets,
        errors,
        dropped,
    })
}
