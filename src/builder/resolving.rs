//! How conflicts are decided.

use std::collections::BTreeMap;
use std::sync::Arc;

use sync_core::error::Result;
use sync_core::model::Collection;
use sync_core::resolver::{ConflictResolver, ResolveOn, Resolvers};

use super::ReplicaBuilder;
use crate::Strategy;

/// The options about resolvers, set in any order.
#[derive(Debug, Default)]
pub(super) struct Resolving {
    /// The resolver of every collection without one; if not set, the config's.
    default: Option<Arc<dyn ConflictResolver>>,
    by_collection: BTreeMap<Collection, Arc<dyn ConflictResolver>>,
    on: BTreeMap<Collection, ResolveOn>,
}

impl Resolving {
    /// Discards the default, so that the next option that names a strategy decides.
    pub(super) fn forget_default(&mut self) {
        self.default = None;
    }

    pub(super) fn resolvers(mut self, strategy: Strategy) -> Resolvers {
        let default = self.default.unwrap_or_else(|| strategy.resolver());
        let mut resolvers = Resolvers::shared(Arc::clone(&default), ResolveOn::Replica);
        for (collection, resolver) in self.by_collection {
            let on = self.on.remove(&collection).unwrap_or_default();
            resolvers = resolvers.with(collection, resolver, on);
        }
        for (collection, on) in self.on {
            resolvers = resolvers.with(collection, Arc::clone(&default), on);
        }
        resolvers
    }
}

impl ReplicaBuilder {
    /// Sets the resolver that decides conflicts. The last write wins by default.
    pub fn resolver(mut self, resolver: impl ConflictResolver) -> Self {
        self.resolving.default = Some(Arc::new(resolver));
        self
    }

    /// Sets the resolver that decides conflicts, by name.
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.config.resolver = strategy;
        self.resolving.forget_default();
        self
    }

    /// Sets the resolver that decides the conflicts of one collection. It may be called before or
    /// after [`Self::resolver`] and [`Self::strategy`], which set the resolver of all other
    /// collections. [`open`](Self::open) returns the error for an invalid name.
    ///
    /// ```
    /// # use twotide::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let replica = Replica::builder()
    ///     .memory()
    ///     .resolver_for("lists", FieldMerge::new())
    ///     .resolver_for("drafts", ClientWins)
    ///     .resolver(ServerWins) // of all other collections
    ///     .open()
    ///     .await?;
    /// # replica.close().await
    /// # }
    /// ```
    pub fn resolver_for(
        mut self,
        collection: impl AsRef<str>,
        resolver: impl ConflictResolver,
    ) -> Self {
        if let Some(collection) = self.checked("resolver_for", Collection::new(collection)) {
            self.resolving.by_collection.insert(collection, Arc::new(resolver));
        }
        self
    }

    /// Sets where the conflicts of one collection are resolved. On the replica by default.
    ///
    /// For [`ResolveOn::Server`] the server must configure the same resolver for the collection, in
    /// its [`Hooks`](crate::server::Hooks). [`open`](Self::open) returns the error for an invalid
    /// name.
    ///
    /// ```
    /// use twotide::ResolveOn;
    /// # use twotide::prelude::*;
    /// # let builder = Replica::builder().memory();
    /// let builder = builder
    ///     .resolve_on("lists", ResolveOn::Server)
    ///     .resolver_for("lists", FieldMerge::new());
    /// # let _ = builder;
    /// ```
    pub fn resolve_on(mut self, collection: impl AsRef<str>, on: ResolveOn) -> Self {
        if let Some(collection) = self.checked("resolve_on", Collection::new(collection)) {
            self.resolving.on.insert(collection, on);
        }
        self
    }

    /// Returns the value, or records the error, which [`open`](Self::open) returns.
    pub(super) fn checked<T>(&mut self, option: &'static str, value: Result<T>) -> Option<T> {
        value.map_err(|error| self.bad.insert(option, error)).ok()
    }
}

#[cfg(test)]
mod tests {
    use sync_core::resolver::{ClientWins, FieldMerge};

    use super::*;
    use crate::Replica;

    #[test]
    fn the_order_of_the_calls_does_not_matter() {
        let names = |resolvers: Resolvers| format!("{resolvers:?}");
        let first = Replica::builder()
            .resolver_for("a", FieldMerge::new())
            .resolve_on("a", ResolveOn::Server)
            .resolve_on("b", ResolveOn::Server)
            .strategy(Strategy::Server)
            .resolver(ClientWins);
        let second = Replica::builder()
            .strategy(Strategy::Server)
            .resolver(ClientWins)
            .resolve_on("b", ResolveOn::Server)
            .resolve_on("a", ResolveOn::Server)
            .resolver_for("a", FieldMerge::new());
        let [first, second] = [first, second].map(|b| b.resolving.resolvers(b.config.resolver));
        assert_eq!(names(first.clone()), names(second));
        for (name, on) in
            [("a", ResolveOn::Server), ("b", ResolveOn::Server), ("c", ResolveOn::Replica)]
        {
            assert_eq!(first.resolve_on(&Collection::new(name).unwrap()), on);
        }
    }
}
