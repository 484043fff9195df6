//! Content negotiation.

/// Returns the best of `offered` (in order of preference) for an `Accept` header; none if the
/// client accepts none of them.
///
/// If several ranges match, the most specific one determines the quality (RFC 9110, 12.5.1).
/// Parameters other than `q` are not compared: the offered types have none.
pub(super) fn best<T: Copy>(accept: Option<&str>, offered: &[(T, &'static str)]) -> Option<T> {
    let Some(accept) = accept.filter(|a| !a.trim().is_empty()) else {
        return offered.first().map(|(content, _)| *content);
    };
    let mut best = None;
    for (content, name) in offered {
        let liked = quality(accept, name);
        if liked > best.map_or(0, |(quality, _)| quality) {
            best = Some((liked, *content));
        }
    }
    best.map(|(_, content)| content)
}

/// Returns the quality of a content type, in thousandths.
fn quality(accept: &str, name: &str) -> u16 {
    let mut found = (0, 0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let specific = match parts.next() {
            Some("*/*") => 1,
            Some(range) if range.eq_ignore_ascii_case(name) => 3,
            Some(range) if covers(range, name) => 2,
            _ => continue,
        };
        let q = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
        // A quality that cannot be parsed does not mean "not at all".
        let q = q.map_or(1_000, |q| thousandths(q).unwrap_or(1_000));
        if specific > found.0 {
            found = (specific, q);
        }
    }
    found.1
}

/// Returns whether a range like `text/*` covers a type.
fn covers(range: &str, name: &str) -> bool {
    let kind = range.strip_suffix("/*");
    let own = name.split_once('/').map(|(kind, _)| kind);
    kind.zip(own).is_some_and(|(range, own)| range.eq_ignore_ascii_case(own))
}

/// Parses a quality: `0.5` becomes 500.
fn thousandths(q: &str) -> Option<u16> {
    let (whole, rest) = q.split_once('.').unwrap_or((q, ""));
    if rest.len() > 3 || !rest.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = format!("{rest:0<3}").parse::<u16>().ok()?;
    match whole {
        "0" => Some(digits),
        "1" if digits == 0 => Some(1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{EVENTS, FRAME, JSON};

    const OFFERED: [(char, &str); 3] = [('j', JSON), ('f', FRAME), ('e', EVENTS)];

    #[test]
    fn the_content_with_the_highest_quality_is_chosen() {
        for (accept, chosen) in [
            (None, Some('j')),
            (Some(""), Some('j')),
            (Some("*/*"), Some('j')),
            (Some("application/*"), Some('j')),
            (Some("application/vnd.twotide.v1"), Some('f')),
            (Some("Application/Vnd.Twotide.V1; q=0.1"), Some('f')),
            (Some("text/event-stream"), Some('e')),
            (Some("text/*, */*;q=0.1"), Some('e')),
            (Some("application/json;q=0.5,application/vnd.twotide.v1"), Some('f')),
            (Some("application/json;q=0, */*"), Some('f')),
            (Some("*/*;q=0.5, text/event-stream;q=0.501"), Some('e')),
            (Some("text/html, application/xhtml+xml, */*;q=0.8"), Some('j')),
            (Some("application/json;q=nonsense"), Some('j')),
            (Some("text/html"), None),
            (Some("*/*;q=0"), None),
            (Some("application/json;q=0.000"), None),
            (Some(";;,,"), None),
        ] {
            assert_eq!(best(accept, &OFFERED), chosen, "{accept:?}");
        }
    }
}
