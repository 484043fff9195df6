//! Scopes and collections as small numbers.
//!
//! A collection's number identifies (scope, collection). The cache is valid within one transaction
//! or snapshot only: another process may remove a scope, and an undone transaction may have created
//! one.

use std::collections::HashMap;

use rusqlite::params;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{Collection, Scope};

use crate::columns;
use crate::core::Core;

/// The cache of one transaction.
#[derive(Debug, Default)]
pub(crate) struct Names {
    scopes: HashMap<Scope, i64>,
    collections: HashMap<(Scope, Collection), i64>,
    by_id: HashMap<i64, (Scope, Collection)>,
    /// The collection that was requested last: consecutive documents mostly share it.
    last: Option<(Scope, Collection, i64)>,
    /// Whether the replica is being loaded.
    pub(crate) loading: Option<bool>,
}

impl Names {
    /// Clears the cache.
    pub(crate) fn clear(&mut self) {
        self.scopes.clear();
        self.collections.clear();
        self.by_id.clear();
        self.last = None;
        self.loading = None;
    }

    fn known(&self, scope: &Scope, collection: &Collection) -> Option<i64> {
        let last = self.last.as_ref().filter(|(s, c, _)| c == collection && s == scope);
        last.map(|(_, _, id)| *id)
    }
}

pub(crate) const SCOPE: &str = "SELECT id FROM scope WHERE name = ?1";
pub(crate) const COLLECTION: &str = "SELECT id FROM collection \
     WHERE scope_id = (SELECT id FROM scope WHERE name = ?1) AND name = ?2";
pub(crate) const COLLECTION_BY_ID: &str = "SELECT s.name, c.name FROM collection c \
     JOIN scope s ON s.id = c.scope_id WHERE c.id = ?1";
const NEW_SCOPE: &str = "INSERT INTO scope (name) VALUES (?1)";
const NEW_COLLECTION: &str = "INSERT INTO collection (scope_id, name) VALUES (?1, ?2)";

impl<K, A> Core<K, A> {
    /// Returns the number of a scope, and creates a missing one. Only in a transaction that writes.
    pub(crate) fn intern_scope(&self, scope: &Scope) -> Result<i64> {
        if let Some(id) = self.names.borrow().scopes.get(scope) {
            return Ok(*id);
        }
        let found = self.one(SCOPE, params![scope.as_str()], |row| columns::integer(row, 0))?;
        let id = match found {
            Some(id) => id,
            None => self.insert(NEW_SCOPE, params![scope.as_str()])?,
        };
        self.names.borrow_mut().scopes.insert(scope.clone(), id);
        Ok(id)
    }

    /// Returns the number of a collection, and creates a missing one. Only in a transaction that
    /// writes.
    pub(crate) fn intern_collection(&self, scope: &Scope, collection: &Collection) -> Result<i64> {
        if let Some(id) = self.find_collection(scope, collection)? {
            return Ok(id);
        }
        let scope_id = self.intern_scope(scope)?;
        let id = self.insert(NEW_COLLECTION, params![scope_id, collection.as_str()])?;
        self.remember(scope, collection, id);
        Ok(id)
    }

    /// Returns the number of a collection, if it has one.
    pub(crate) fn find_collection(
        &self,
        scope: &Scope,
        collection: &Collection,
    ) -> Result<Option<i64>> {
        if let Some(id) = self.names.borrow().known(scope, collection) {
            return Ok(Some(id));
        }
        let name = (scope.clone(), collection.clone());
        let known = self.names.borrow().collections.get(&name).copied();
        let wanted = params![scope.as_str(), collection.as_str()];
        let found = match known {
            Some(id) => Some(id),
            None => self.one(COLLECTION, wanted, |row| columns::integer(row, 0))?,
        };
        if let Some(id) = found {
            self.remember(scope, collection, id);
        }
        Ok(found)
    }

    fn remember(&self, scope: &Scope, collection: &Collection, id: i64) {
        let mut names = self.names.borrow_mut();
        names.last = Some((scope.clone(), collection.clone(), id));
        names.collections.insert((scope.clone(), collection.clone()), id);
    }

    /// Returns the name for a collection's number.
    pub(crate) fn name_of(&self, id: i64) -> Result<(Scope, Collection)> {
        if self.connection.is_autocommit() {
            self.names.borrow_mut().clear();
        }
        if let Some(name) = self.names.borrow().by_id.get(&id) {
            return Ok(name.clone());
        }
        let name = self.one(COLLECTION_BY_ID, params![id], |row| {
            Ok((columns::scope(row, 0)?, columns::collection(row, 1)?))
        })?;
        let name = name.ok_or_else(|| {
            self.on(Error::new(ErrorKind::Incompatible, "a document's collection is missing"))
        })?;
        self.names.borrow_mut().by_id.insert(id, name.clone());
        Ok(name)
    }
}
