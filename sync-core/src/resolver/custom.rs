//! Resolvers that are closures.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Conflict, ConflictResolver, Resolution};
use crate::error::Result;
use crate::model::{Body, DocumentKey, DocumentState};

/// A resolver that is a closure: made by [`resolve_with`].
pub struct FnResolver<F> {
    name: &'static str,
    decide: F,
}

/// Makes a resolver of a closure over the states. It has to be deterministic, like every resolver.
///
/// ```
/// use sync_core::resolver::{Resolution, resolve_with};
/// let longest = resolve_with("longest", |conflict| {
///     let length = |body: Option<&sync_core::model::Body>| body.map_or(0, |b| b.len());
///     let remote = length(conflict.remote.and_then(|r| r.body.as_ref()));
///     Ok(if length(conflict.local.body.as_ref()) > remote { Resolution::Local } else { Resolution::Remote })
/// });
/// # let _ = longest;
/// ```
pub fn resolve_with<F>(name: &'static str, decide: F) -> FnResolver<F>
where
    F: Fn(&Conflict<'_>) -> Result<Resolution> + Send + Sync + 'static,
{
    FnResolver { name, decide }
}

impl<F> fmt::Debug for FnResolver<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FnResolver").field(&self.name).finish()
    }
}

impl<F> ConflictResolver for FnResolver<F>
where
    F: Fn(&Conflict<'_>) -> Result<Resolution> + Send + Sync + 'static,
{
    fn name(&self) -> &str {
        self.name
    }

    /// Returns true: whether the closure reads the base is not known.
    fn needs_base(&self) -> bool {
        true
    }

    fn resolve(&self, conflict: &Conflict<'_>) -> Result<Resolution> {
        (self.decide)(conflict)
    }
}

/// A conflict whose bodies were deserialized into a type.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TypedConflict<'a, T> {
    /// The document.
    pub key: &'a DocumentKey,
    /// The value that the local edit was made on; none for an insert, and for a deleted document.
    pub base: Option<T>,
    /// The replica's edit; none if it deletes.
    pub local: Option<T>,
    /// The server's value; none if it was deleted there.
    pub remote: Option<T>,
    /// Whether the replica's edit was written later.
    pub local_is_later: bool,
}

/// The resolution of a [typed conflict](TypedConflict).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypedResolution<T> {
    /// As [`Resolution::Remote`].
    Remote,
    /// As [`Resolution::Local`].
    Local,
    /// This value, merged from both.
    Merge(T),
    /// As [`Resolution::Delete`].
    Delete,
    /// As [`Resolution::Defer`].
    Defer,
}

/// A resolver that is a closure over values: made by [`resolve_typed`].
pub struct TypedResolver<T, F> {
    name: &'static str,
    decide: F,
    of: PhantomData<fn() -> T>,
}

/// Makes a resolver of a closure over values of a type. A body of another type defers the conflict,
/// as every error does.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use sync_core::resolver::{TypedResolution, resolve_typed};
///
/// #[derive(Serialize, Deserialize)]
/// struct Counter {
///     count: i64,
/// }
///
/// // Both counted up from the same base: both counts are added.
/// let counters = resolve_typed("counters", |conflict| {
///     let base = conflict.base.map_or(0, |c: Counter| c.count);
///     Ok(match (conflict.local, conflict.remote) {
///         (Some(ours), Some(theirs)) => {
///             TypedResolution::Merge(Counter { count: ours.count + theirs.count - base })
///         }
///         _ => TypedResolution::Delete,
///     })
/// });
/// # let _ = counters;
/// ```
pub fn resolve_typed<T, F>(name: &'static str, decide: F) -> TypedResolver<T, F>
where
    T: Serialize + DeserializeOwned + 'static,
    F: Fn(TypedConflict<'_, T>) -> Result<TypedResolution<T>> + Send + Sync + 'static,
{
    TypedResolver { name, decide, of: PhantomData }
}

impl<T, F> fmt::Debug for TypedResolver<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedResolver").field(&self.name).finish()
    }
}

impl<T, F> ConflictResolver for TypedResolver<T, F>
where
    T: Serialize + DeserializeOwned + 'static,
    F: Fn(TypedConflict<'_, T>) -> Result<TypedResolution<T>> + Send + Sync + 'static,
{
    fn name(&self) -> &str {
        self.name
    }

    fn needs_base(&self) -> bool {
        true
    }

    fn resolve(&self, conflict: &Conflict<'_>) -> Result<Resolution> {
        let read = |state: Option<&DocumentState>| -> Result<Option<T>> {
            state.and_then(|s| s.body.as_ref()).map(Body::to).transpose()
        };
        let typed = TypedConflict {
            key: conflict.key,
            base: read(conflict.base)?,
            local: read(Some(conflict.local))?,
            remote: read(conflict.remote)?,
            local_is_later: conflict.local_is_later(),
        };
        Ok(match (self.decide)(typed)? {
            TypedResolution::Remote => Resolution::Remote,
            TypedResolution::Local => Resolution::Local,
            TypedResolution::Merge(value) => Resolution::Merge(Body::from_value(&value)?),
            TypedResolution::Delete => Resolution::Delete,
            TypedResolution::Defer => Resolution::Defer,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};
    use crate::model::{Collection, DocumentId, ReplicaId, Revision, Scope, Stamp};
    use crate::resolver::Resolvers;

    fn decide(
        resolver: impl ConflictResolver,
        [base, local, remote]: [Option<&str>; 3],
    ) -> Resolution {
        let state = |millis, body: Option<&str>| {
            let revision = Revision { stamp: Stamp::new(millis, 0), replica: ReplicaId([1; 16]) };
            let body = body.map(|b| Body::parse(b.to_owned()).unwrap());
            DocumentState::new(revision, body)
        };
        let (collection, id) = (Collection::new("c").unwrap(), DocumentId::new("d").unwrap());
        let key = DocumentKey::new(Scope::default(), collection, id);
        let (base, local, remote) =
            (base.map(|b| state(1, Some(b))), state(3, local), state(2, remote));
        Resolvers::new(resolver).decide(&Conflict::new(&key, base.as_ref(), &local, Some(&remote)))
    }

    fn sum(conflict: TypedConflict<'_, i64>) -> Result<TypedResolution<i64>> {
        assert!(conflict.local_is_later);
        Ok(match (conflict.base, conflict.local, conflict.remote) {
            (_, None, _) => TypedResolution::Delete,
            (_, _, None) => TypedResolution::Local,
            (base, Some(ours), Some(theirs)) => {
                TypedResolution::Merge(ours + theirs - base.unwrap_or(0))
            }
        })
    }

    #[test]
    fn a_typed_resolver_reads_values_and_returns_a_value() {
        let merged = |three| decide(resolve_typed("sum", sum), three);
        let body = |text: &'static str| Resolution::Merge(Body::parse(text).unwrap());
        assert_eq!(merged([Some("1"), Some("3"), Some("5")]), body("7"));
        assert_eq!(merged([None, Some("3"), Some("5")]), body("8"));
        assert_eq!(merged([Some("1"), None, Some("5")]), Resolution::Delete);
        assert_eq!(merged([Some("1"), Some("3"), None]), Resolution::Local);
    }

    #[test]
    fn a_body_of_another_type_and_an_error_leave_the_decision_to_the_app() {
        let typed = resolve_typed("sum", sum);
        assert_eq!(decide(typed, [Some("1"), Some("3"), Some("\"x\"")]), Resolution::Defer);
        let fails = resolve_with("fails", |_| Err(Error::new(ErrorKind::Internal, "no")));
        assert_eq!(decide(fails, [None, Some("1"), Some("2")]), Resolution::Defer);
        let panics = resolve_with("panics", |_| panic!("no"));
        assert_eq!(decide(panics, [None, Some("1"), Some("2")]), Resolution::Defer);
    }
}
