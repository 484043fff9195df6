//! The cases, by subject. Each takes a fresh harness and panics if the promise is not kept.

pub mod access;
pub mod greeting;
pub mod links;
pub mod live;
pub mod pending;
pub mod pulling;
pub mod pushing;
pub mod whole;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, poll};
use sync_core::error::{Error, ErrorKind, Result, Retry};
use sync_core::model::{
    Body, Collection, Cursor, Digest, Epoch, Limits, PushId, Reset, ResetReason, Seq, VerdictKind,
};
use sync_core::protocol::{Ack, Goodbye, VERSIONS};
use sync_core::transport::{Connection, Delivery};

use super::access_switch::{OTHER, OTHER_TOKEN, REASON, REFUSED, TOKEN};
use super::fixture::{
    Fixture, NOTES, assert_accepted, batch, chunk_of, decided, error_of, hello, insert, large,
    name, pull, pull_few, replica, scope, text, within,
};
use super::harness::TransportHarness;
use super::pending::Pending;
use super::reader::{Live, Reader};
use crate::conformance::{Outcome, Skipped};
