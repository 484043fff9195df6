//! The server: its data, what each transaction does, its sessions, and the service that ties them together.

pub mod ops;
pub mod record;
pub mod rows;
