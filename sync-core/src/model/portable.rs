//! JSON that common readers accept.
//!
//! RFC 8259 allows a reader to bound the nesting, and common ones do, at 64 to 10,000 levels; some
//! reject half a surrogate pair. A document that a reader rejects keeps it from reading everything
//! that follows in the log.

/// The deepest nesting of arrays and objects.
pub(super) const DEPTH: usize = 128;

/// Properties of JSON that some readers reject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Oddities {
    /// How deep arrays and objects are nested.
    pub(super) depth: usize,
    /// Whether a string or a key holds half of a surrogate pair.
    pub(super) has_half_pair: bool,
}

/// Scans a text that is valid JSON.
pub(super) fn oddities(json: &[u8]) -> Oddities {
    let mut found = Oddities::default();
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => {
                let (length, is_whole) = string(&json[at..]);
                found.has_half_pair |= !is_whole;
                at += length;
                continue;
            }
            b'[' | b'{' => {
                depth += 1;
                found.depth = found.depth.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    found
}

/// Returns the length of a string with its quotes, and whether all its surrogate pairs are whole.
fn string(json: &[u8]) -> (usize, bool) {
    let (mut at, mut is_whole) = (1, true);
    loop {
        match json.get(at) {
            Some(b'\\') if json.get(at + 1) == Some(&b'u') => {
                let first = unit(json, at + 2);
                at += 6;
                let is_next = json.get(at..at + 2) == Some(b"\\u");
                match first {
                    0xd800..=0xdbff if is_next && matches!(unit(json, at + 2), 0xdc00..=0xdfff) => {
                        at += 6;
                    }
                    0xd800..=0xdfff => is_whole = false,
                    _ => {}
                }
            }
            Some(b'\\') => at += 2,
            Some(b'"') | None => return (at + 1, is_whole),
            Some(_) => at += 1,
        }
    }
}

/// Reads the four hexadecimal digits of an escape.
fn unit(json: &[u8], at: usize) -> u32 {
    let digits = json.get(at..at + 4).and_then(|d| std::str::from_utf8(d).ok());
    digits.and_then(|d| u32::from_str_radix(d, 16).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_some_readers_refuse_is_found() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert_eq!(oddities(nested(DEPTH).as_bytes()).depth, DEPTH);
        assert_eq!(oddities(nested(DEPTH + 1).as_bytes()).depth, DEPTH + 1);
        let wide = format!("[{}]", vec!["{\"a\":[]}"; 1_000].join(","));
        assert_eq!(oddities(wide.as_bytes()).depth, 3);
        for whole in [r#""\ud83d\ude00""#, r#""\\ud800""#, r#"{"\u00e9":"[[[\"{"}"#, r#""\"""#] {
            assert!(!oddities(whole.as_bytes()).has_half_pair, "{whole}");
        }
        for half in [r#""\ud800""#, r#""\udc00""#, r#""\ud800\ud800""#, r#"{"\ud83dx":1}"#] {
            assert!(oddities(half.as_bytes()).has_half_pair, "{half}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_odd_about_what_serde_writes(text in any::<String>()) {
            let json = serde_json::json!({ text.clone(): [text] }).to_string();
            prop_assert_eq!(oddities(json.as_bytes()), Oddities { depth: 2, has_half_pair: false });
        }
    }
}
