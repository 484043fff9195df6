//! The hooks of the suite's server: they decide which tokens are accepted, which scopes are
//! visible, and which requests fail or wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{Change, DocumentState, Rejection, RejectionCode, Scope};
use sync_server::{Access, Authenticate, Authorise, Hooks, Principal};
use tokio::sync::watch;

/// The token of the principal in most cases, and its name.
pub(super) const TOKEN: &str = "token-of-alice";
/// The token of another principal.
pub(super) const OTHER_TOKEN: &str = "token-of-bob";
/// The name of that principal.
pub(super) const OTHER: &str = "bob";
/// Changes in this collection are refused.
pub(super) const REFUSED: &str = "refused";
/// The reason.
pub(super) const REASON: &str = "nobody writes here: ünïcode";

#[derive(Debug, Default)]
struct Rules {
    /// Scopes that only one principal may read.
    owned: BTreeMap<Scope, String>,
    /// Scopes in which every request fails.
    failing: BTreeMap<Scope, Error>,
}

/// Hooks whose decisions a case sets.
#[derive(Debug, Default)]
pub(super) struct AccessSwitch {
    rules: Mutex<Rules>,
    /// Scopes in which every request waits.
    held: watch::Sender<BTreeSet<Scope>>,
    /// How many requests wait.
    waiting: watch::Sender<usize>,
}

impl AccessSwitch {
    pub(super) fn hooks(self: &Arc<Self>) -> Hooks {
        Hooks { authenticate: self.clone(), authorise: self.clone(), ..Hooks::default() }
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets only that principal read the scope from now on.
    pub(super) fn reserve(&self, scope: &Scope, principal: &str) {
        self.rules().owned.insert(scope.clone(), principal.to_owned());
    }

    /// Makes every request in the scope fail from now on, or none any more.
    pub(super) fn fail(&self, scope: &Scope, with: Option<Error>) {
        let mut rules = self.rules();
        match with {
            Some(error) => rules.failing.insert(scope.clone(), error),
            None => rules.failing.remove(scope),
        };
    }

    /// Makes requests in the scope wait from now on.
    pub(super) fn hold(&self, scope: &Scope) {
        self.held.send_modify(|held| {
            held.insert(scope.clone());
        });
    }

    /// Releases all waiting requests.
    pub(super) fn release(&self) {
        self.held.send_modify(BTreeSet::clear);
    }

    /// Returns when at least so many requests wait.
    pub(super) async fn holds(&self, requests: usize) {
        // The sender lives as long as these hooks.
        let _ = self.waiting.subscribe().wait_for(|n| *n >= requests).await;
    }
}

/// Counts a waiting request until it is dropped.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn begin(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|n| *n += 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

#[async_trait]
impl Authenticate for AccessSwitch {
    async fn authenticate(&self, token: Option<&str>) -> Result<Principal> {
        let name = match token {
            Some(TOKEN) => "alice",
            Some(OTHER_TOKEN) => OTHER,
            _ => return Err(Error::new(ErrorKind::Unauthenticated, "nobody has this token")),
        };
        Ok(Principal { name: name.to_owned() })
    }
}

#[async_trait]
impl Authorise for AccessSwitch {
    async fn scope(&self, principal: &Principal, scope: &Scope) -> Result<Access> {
        if self.held.borrow().contains(scope) {
            let _waiting = Waiting::begin(&self.waiting);
            let _ = self.held.subscribe().wait_for(|held| !held.contains(scope)).await;
        }
        let rules = self.rules();
        if let Some(error) = rules.failing.get(scope) {
            return Err(error.clone());
        }
        let is_others = rules.owned.get(scope).is_some_and(|owner| *owner != principal.name);
        Ok(if is_others { Access::NONE } else { Access::FULL })
    }

    fn change(
        &self,
        _: &Principal,
        _: &Scope,
        change: &Change,
        _: Option<&DocumentState>,
    ) -> Result<(), Rejection> {
        if change.collection.as_str() == REFUSED {
            return Err(Rejection { code: RejectionCode::Invalid, reason: REASON.to_owned() });
        }
        Ok(())
    }
}
