//! Times as text: a number with a unit, as everywhere in a configuration and on the command line. The only reader of them.

use std::time::Duration;

/// A day.
pub const DAY: Duration = Duration::from_secs(86_400);

/// What [`parse`] reads, as a regular expression for a JSON Schema. It also admits numbers that are no number, such as `1.2.3s`, and times
/// above 584 years.
pub const PATTERN: &str = r"^\s*[0-9][0-9.]*\s*(ns|us|µs|ms|s|min|h)\s*$";

const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads `10ms`, `1.5s`, `2 min`; the units are ns, us (or µs), ms, s, min and h. Whole numbers are exact.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = (&text[..split], text[split..].trim());
    let unit = if unit == "µs" { "us" } else { unit };
    let (_, unit_ns) = UNITS.iter().find(|(name, _)| *name == unit)?;
    if number.contains('.') {
        #[expect(clippy::cast_precision_loss, reason = "every unit is far below 2^53 ns")]
        let seconds = number.parse::<f64>().ok()? * (*unit_ns as f64 / 1e9);
        return Duration::try_from_secs_f64(seconds).ok();
    }
    number.parse::<u64>().ok()?.checked_mul(*unit_ns).map(Duration::from_nanos)
}

/// Writes a time in the largest unit that keeps it whole: `60s` is `1min`. [`parse`] reads it back exactly, up to 584 years.
#[must_use]
pub fn text(span: Duration) -> String {
    let ns = span.as_nanos();
    let fits = |unit_ns: u64| ns >= u128::from(unit_ns) && ns.is_multiple_of(u128::from(unit_ns));
    let (unit, unit_ns) = UNITS.into_iter().find(|(_, unit_ns)| fits(*unit_ns)).unwrap_or(("s", 1_000_000_000));
    format!("{}{unit}", ns / u128::from(unit_ns))
}

/// `span` times `factor`, at most the longest time there is.
#[must_use]
pub fn scaled(span: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(span.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_needs_its_unit() {
        assert_eq!(parse("10ms"), Some(Duration::from_millis(10)));
        assert_eq!(parse("1.5s"), Some(Duration::from_millis(1_500)));
        assert_eq!(parse(" 2 min "), Some(Duration::from_secs(120)));
        assert_eq!(parse("3µs"), Some(Duration::from_micros(3)));
        for bad in ["", "5", "-5s", "5 parsecs", "s", "1.2.3s", "99999999999999h", "1e3s"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    /// The schema of the configuration is tested with a real engine.
    #[test]
    fn the_pattern_names_every_unit() {
        for (unit, _) in UNITS {
            assert!(PATTERN.split(['(', ')', '|']).any(|part| part == unit), "{unit}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(ns in any::<u64>()) {
            let span = Duration::from_nanos(ns);
            prop_assert_eq!(parse(&text(span)), Some(span));
        }

        #[test]
        fn no_text_panics(text in ".{0,12}") {
            let _ = parse(&text);
        }
    }
}
