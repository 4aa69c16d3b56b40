//! Times as the providers write them. All in UTC, in seconds since 1970.

use std::time::{SystemTime, UNIX_EPOCH};

/// What our clock shows.
pub(super) fn now() -> i64 {
    seconds(SystemTime::now())
}

pub(super) fn seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs() as i64,
        Err(before) => -(before.duration().as_secs() as i64),
    }
}

/// A time as in RFC 3339, such as `2026-11-28T06:00:00Z`. Parts of a second are left out.
pub(super) fn rfc3339(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits
            .bytes()
            .all(|digit| digit.is_ascii_digit())
            .then(|| digits.parse().ok())?
    };
    let byte = |at: usize| text.as_bytes().get(at).copied();
    let separated = byte(4) == Some(b'-')
        && byte(7) == Some(b'-')
        && matches!(byte(10)?, b'T' | b't' | b' ')
        && byte(13) == Some(b':')
        && byte(16) == Some(b':');
    if !separated {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !((1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60) {
        return None;
    }
    let rest = text.get(19..)?;
    let zone = match rest.strip_prefix('.') {
        Some(parts) => parts.trim_start_matches(|digit: char| digit.is_ascii_digit()),
        None => rest,
    };
    let offset = match zone {
        "Z" | "z" => 0,
        zone if zone.len() == 6 && zone.is_ascii() && &zone[3..4] == ":" => {
            let sign = match &zone[..1] {
                "+" => 1,
                "-" => -1,
                _ => return None,
            };
            let part = |range: std::ops::Range<usize>| zone[range].parse::<u8>().ok();
            sign * (i64::from(part(1..3)?) * 3600 + i64::from(part(4..6)?) * 60)
        }
        _ => return None,
    };
    Some(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset)
}

/// `20261128T060000`, as AWS takes it.
pub(super) fn basic(time: i64) -> String {
    let (day, second) = (time.div_euclid(86_400), time.rem_euclid(86_400));
    let (year, month, date) = date(day);
    let (hour, minute) = (second / 3600, second % 3600 / 60);
    format!(
        "{year:04}{month:02}{date:02}T{hour:02}{minute:02}{:02}",
        second % 60
    )
}

/// Days since 1970 of a date: years begin in March here, so that the day that leap years have more
/// is their last one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The other way round.
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (text, time) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2016-07-11T22:14:10Z", 1_468_275_250),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2024-12-31T00:00:00.123456Z", 1_735_603_200),
            ("2024-12-31T02:30:00+02:30", 1_735_603_200),
            ("2024-12-30T22:00:00-02:00", 1_735_603_200),
        ] {
            assert_eq!(rfc3339(text), Some(time), "{text}");
        }
        for text in [
            "",
            "2016-07-11",
            "2016-07-11T22:14:10",
            "2016-13-11T22:14:10Z",
            "2016-07-11T22:14:10+0200",
            "2016-07-11T22:14:10Zulu",
            "2016-07-11T22:14:+1Z",
            "2016-07-11T22:14:10+é:0",
        ] {
            assert_eq!(rfc3339(text), None, "{text}");
        }
        assert_eq!(basic(1_468_275_250), "20160711T221410");
    }

    #[test]
    fn days_and_dates_are_each_others_inverse() {
        for day in (-200_000..200_000).step_by(61) {
            let (year, month, date) = date(day);
            assert_eq!(days(year, month, date), day);
        }
    }
}
