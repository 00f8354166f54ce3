//! Rates from two readings of a counter.
//!
//! Counters only grow, until they wrap or start anew (a device replaced, an interface reset). Invariant: no rate is negative.

/// Growth of a 64-bit counter. One that fell began anew from zero: it grew by what it shows.
pub(crate) fn growth(old: u64, new: u64) -> u64 {
    if new >= old { new - old } else { new }
}

/// Growth of a counter that wraps after 32 bits, such as the milliseconds a disk was busy.
pub(crate) fn growth_32(old: u64, new: u64) -> u64 {
    const WRAP: u64 = 1 << 32;
    match new.checked_sub(old) {
        Some(growth) => growth,
        // Only a counter in the upper half can have wrapped between two readings; a lower one began anew.
        None if (WRAP / 2..WRAP).contains(&old) && new < WRAP / 2 => new + WRAP - old,
        None => new,
    }
}

/// Growth per second.
pub(crate) fn per_second(old: u64, new: u64, seconds: f64) -> f64 {
    growth(old, new) as f64 / seconds
}

/// `part / whole` within `0..=1`; zero of nothing.
pub(crate) fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { (part / whole).clamp(0.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_counter_that_began_anew_grew_by_what_it_shows() {
        assert_eq!(growth(1000, 1300), 300);
        assert_eq!(growth(1000, 20), 20);
    }

    #[test]
    fn a_32_bit_counter_goes_on_over_its_wrap() {
        assert_eq!(growth_32(u64::from(u32::MAX) - 9, 90), 100);
        assert_eq!(growth_32(5000, 90), 90, "it was far from its wrap, so it began anew");
        assert_eq!(growth_32(1 << 40, 90), 90, "it is no 32-bit counter");
    }

    #[test]
    fn a_share_of_nothing_is_zero() {
        assert_eq!(share(1.0, 0.0), 0.0);
        assert_eq!(share(3.0, 2.0), 1.0);
    }

    proptest! {
        #[test]
        fn growth_never_exceeds_the_new_reading_of_a_counter_that_fell(old: u64, new: u64) {
            prop_assert!(growth(old, new) <= new);
            prop_assert!(growth_32(old, new) <= new.max(1 << 32));
        }
    }
}
