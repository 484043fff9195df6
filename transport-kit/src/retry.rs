//! Limits on how long a server may make a client wait.

use std::time::{Duration, UNIX_EPOCH};

use sync_core::clock::Now;

/// The longest wait that a server may request: a day. A longer one is a mistake.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest wait that a gateway, a proxy or the page of a network may request: five minutes.
/// They are not part of the service, and may not be on the path in the next network.
const LONGEST_OF_GATEWAYS: Duration = Duration::from_secs(5 * 60);

/// Returns the wait of the header `Retry-After`: seconds, or a date, which is compared with the
/// sender's `Date` if there is one, and else with this machine's clock. At most a day; none for a
/// value that is neither.
#[must_use]
pub fn retry_after(asked: &str, date: Option<&str>, now: Now) -> Option<Duration> {
    if let Ok(seconds) = asked.trim().parse() {
        return Some(Duration::from_secs(seconds).min(LONGEST_WAIT));
    }
    let of_date = |text: &str| {
        let date = httpdate::parse_http_date(text.trim()).ok()?;
        date.duration_since(UNIX_EPOCH).ok()
    };
    let now = date.and_then(of_date).unwrap_or(Duration::from_millis(now.0));
    let wait = of_date(asked)?.saturating_sub(now);
    Some(Duration::from_secs(wait.as_secs()).min(LONGEST_WAIT))
}

/// Returns the part of such a wait that is respected if the answer does not come from the server:
/// at most five minutes.
#[must_use]
pub fn gateway_wait(asked: Duration) -> Duration {
    asked.min(LONGEST_OF_GATEWAYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_in_seconds_or_as_a_date() {
        let now = Now(1_800_000_000_000); // in January 2027
        let wait = |asked: &str, date| retry_after(asked, date, now).map(|wait| wait.as_secs());
        let noon = Some("Wed, 21 Oct 2026 12:00:00 GMT");
        assert_eq!(wait(" 7", None), Some(7));
        assert_eq!(wait("99999999999", None), Some(24 * 60 * 60));
        assert_eq!(wait("Wed, 21 Oct 2026 12:01:30 GMT", noon), Some(90));
        assert_eq!(wait("Wed, 21 Oct 2026 11:00:00 GMT", noon), Some(0));
        assert_eq!(wait("Wed, 21 Oct 2015 11:00:00 GMT", None), Some(0));
        assert_eq!(wait("Mon, 21 Oct 2126 11:00:00 GMT", None), Some(24 * 60 * 60));
        for bad in ["soon", "-1", "1.5", "", "99999999999999999999999"] {
            assert_eq!(wait(bad, noon), None, "{bad}");
        }
    }
}
