//! A stamp as RFC 3339 text in UTC with nanoseconds: sorts like time.

use csf_core::Stamp;

/// `2026-11-21T12:20:03.000000042Z`.
pub(super) fn format(stamp: Stamp) -> String {
    let (seconds, nanos) = (stamp.0 / 1_000_000_000, stamp.0 % 1_000_000_000);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days; days are since 1970-01-01, so never negative here.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_read_as_date_says() {
        // `date -u -d @SECONDS +%FT%TZ`
        let second = 1_000_000_000;
        assert_eq!(format(Stamp(0)), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(format(Stamp(951_782_400 * second)), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(format(Stamp(1_795_262_301 * second + 42)), "2026-11-21T11:58:21.000000042Z");
        assert_eq!(format(Stamp(4_107_542_399 * second)), "2100-02-28T23:59:59.000000000Z");
        assert_eq!(format(Stamp(4_107_542_400 * second)), "2100-03-01T00:00:00.000000000Z");
    }
}
