//! Times in the form that front ends expect: milliseconds since 1970, as a number.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use sync_core::model::Stamp;

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn time<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(millis(*time))
}

pub(crate) fn maybe<S: Serializer>(time: &Option<SystemTime>, to: S) -> Result<S::Ok, S::Error> {
    time.map(millis).serialize(to)
}

pub(crate) fn stamp<S: Serializer>(stamp: &Stamp, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(stamp.millis())
}
