//! Runs the suite for resolvers on the example's resolver.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use rest_backend::notes::{FieldByField, Note};
use twotide::prelude::Body;

fn notes() -> Vec<Body> {
    let parts =
        [("Shopping", "milk"), ("Shopping", "milk, bread"), ("On Friday", "milk"), ("", "")];
    parts.iter().map(|(title, text)| Body::from_value(&Note::new(title, text)).unwrap()).collect()
}

testkit::resolver_conformance!(FieldByField, notes());
