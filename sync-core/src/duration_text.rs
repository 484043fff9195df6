//! Durations as text for people, such as `"250ms"`, `"30s"` or `"1m 30s"`: for `#[serde(with =
//! "…")]`.
//!
//! ```
//! use std::time::Duration;
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Settings {
//!     #[serde(with = "sync_core::duration_text")]
//!     wait: Duration,
//! }
//! let settings: Settings = serde_json::from_str(r#"{"wait":"90s"}"#)?;
//! assert_eq!(settings.wait, Duration::from_secs(90));
//! assert_eq!(serde_json::to_string(&settings)?, r#"{"wait":"1m 30s"}"#);
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

/// Writes a duration with the largest units that fit, down to nanoseconds.
///
/// # Errors
/// As the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}

/// Reads a duration: whole numbers, each with a unit (`ms`, `s`, `m`, `h`, `d` and others).
///
/// # Errors
/// If it is something else, and then says what is wanted.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|e| {
        D::Error::custom(format!("{text:?} is no duration such as \"250ms\" or \"30s\": {e}"))
    })
}
