//! The description of the routes.

/// The OpenAPI 3.1 document that the server serves.
pub const DOCUMENT: &str = include_str!("openapi.json");
