//! Versions of a document's type: old bodies are upgraded when they are read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{Body, Collection as Name};

type Upgrade = dyn Fn(u32, &Body) -> Result<Body> + Send + Sync;

/// The version of a collection's type, and the closure that upgrades older bodies.
#[derive(Clone)]
pub(crate) struct Versions {
    current: u32,
    upgrade: Arc<Upgrade>,
}

impl fmt::Debug for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Versions").field("current", &self.current).finish_non_exhaustive()
    }
}

/// The versions that were declared, by collection. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct AllVersions(Arc<BTreeMap<Name, Versions>>);

impl AllVersions {
    pub(crate) fn new(declared: BTreeMap<Name, Versions>) -> Self {
        Self(Arc::new(declared))
    }

    pub(crate) fn of(&self, collection: &Name) -> Option<&Versions> {
        self.0.get(collection)
    }
}

/// The field of a body that names its version.
pub(crate) const FIELD: &str = "_version";

/// The part of a body that is read to find its version.
#[derive(Deserialize)]
struct VersionOf {
    #[serde(default, rename = "_version")]
    version: u32,
}

impl Versions {
    pub(crate) fn new(
        current: u32,
        upgrade: impl Fn(u32, &Body) -> Result<Body> + Send + Sync + 'static,
    ) -> Self {
        Self { current, upgrade: Arc::new(upgrade) }
    }

    /// Returns the body with the current version in it.
    pub(crate) fn mark(&self, body: &Body) -> Result<Body> {
        let text = body.as_str();
        let Some(fields) = text.strip_prefix('{') else {
            let message = "a document of a versioned collection is an object";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        };
        let comma = if fields == "}" { "" } else { "," };
        Body::parse(format!("{{\"{FIELD}\":{}{comma}{fields}", self.current))
    }

    /// Returns the body with a version in it: its own, or else the current one.
    pub(crate) fn marked(&self, body: Body) -> Result<Body> {
        #[derive(Deserialize)]
        struct Marked {
            #[serde(rename = "_version")]
            version: Option<IgnoredAny>,
        }
        match body.to::<Marked>()?.version {
            Some(_) => Ok(body),
            None => self.mark(&body),
        }
    }

    /// Returns the body, upgraded to the current version.
    pub(crate) fn upgraded<'b>(&self, body: &'b Body) -> Result<Cow<'b, Body>> {
        let VersionOf { version } = body.to()?;
        if version > self.current {
            let message = "the document was written by a newer version of the app";
            return Err(Error::new(ErrorKind::Incompatible, message)
                .with("version", version)
                .with("known", self.current));
        }
        if version == self.current {
            return Ok(Cow::Borrowed(body));
        }
        let upgraded = (self.upgrade)(version, body);
        upgraded.map(Cow::Owned).map_err(|e| e.with("version", version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions() -> Versions {
        Versions::new(2, |_, body| Ok(body.clone()))
    }

    fn body(text: &str) -> Body {
        Body::parse(text.to_owned()).unwrap()
    }

    #[test]
    fn a_version_is_written_into_objects_and_read_back() {
        for (plain, marked) in
            [("{}", r#"{"_version":2}"#), (r#"{"n":1.10}"#, r#"{"_version":2,"n":1.10}"#)]
        {
            let found = versions().mark(&body(plain)).unwrap();
            assert_eq!(found.as_str(), marked);
            assert!(matches!(versions().upgraded(&found).unwrap(), Cow::Borrowed(_)));
        }
        for (given, marked) in [
            (r#"{"n":1}"#, r#"{"_version":2,"n":1}"#),
            (r#"{"n":1,"_version":1}"#, r#"{"n":1,"_version":1}"#),
        ] {
            assert_eq!(versions().marked(body(given)).unwrap().as_str(), marked);
        }
        assert_eq!(versions().mark(&body("[1]")).unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn a_newer_version_is_incompatible() {
        let error = versions().upgraded(&body(r#"{"_version":3}"#)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible);
        assert!(versions().upgraded(&body(r#"{"_version":"x"}"#)).is_err());
    }
}
