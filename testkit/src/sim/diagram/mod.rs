//! A trace as a space-time diagram: lanes, time downwards, messages from lane to lane.

mod html;
mod text;

pub use html::{html, html_of};
pub use text::text;
