//! The description of the routes.

/// An OpenAPI 3.1 document, as the server gives it out.
pub const DOCUMENT: &str = include_str!("openapi.json");
