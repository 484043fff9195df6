//! A trace as a space-time diagram: lanes, time downwards, messages from lane to lane.

mod text;

pub use text::text;
