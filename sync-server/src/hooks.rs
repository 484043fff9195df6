//! Hooks of the app's server: authentication, authorisation, validation and conflict resolution.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use async_trait::async_trait;

use super::ops::Judge;
use super::visible::Visible;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{Body, Change, DocumentState, Rejection, RejectionCode, Scope};
use sync_core::resolver::{Resolution, Resolvers};

/// An authenticated account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The name, for logs and hooks. It identifies an account and stays the same: replicas belong
    /// to the name under which they pushed first, and a replica that connects under another name
    /// takes a new identity.
    pub name: String,
}

/// Turns a token into a principal.
#[async_trait]
pub trait Authenticate: Send + Sync + fmt::Debug + 'static {
    /// Returns the principal that the token belongs to. Called for every connection and every new
    /// token.
    ///
    /// # Errors
    /// `Unauthenticated` for a missing, wrong or expired token.
    async fn authenticate(&self, token: Option<&str>) -> Result<Principal>;

    /// Returns whether every client is admitted, with any token or none. Such a server should
    /// answer only requests to the names of its machine: else any web page that is open in a
    /// browser on that machine can reach it. Default no.
    fn admits_all(&self) -> bool {
        false
    }
}

/// The access of a principal to a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The collections that may be read; none for a scope that may not even be seen.
    pub read: Option<Visible>,
    /// Whether pushes are accepted at all.
    pub write: bool,
}

impl Access {
    /// Everything.
    pub const FULL: Self = Self { read: Some(Visible::All), write: true };
    /// Nothing.
    pub const NONE: Self = Self { read: None, write: false };
}

/// Decides what a principal may see and do.
#[async_trait]
pub trait Authorise: Send + Sync + fmt::Debug + 'static {
    /// Returns the access to a scope. Called on every request.
    ///
    /// # Errors
    /// Any failure to decide; the request then fails.
    async fn scope(&self, principal: &Principal, scope: &Scope) -> Result<Access>;

    /// Decides whether a change may be made to the current state, after [`scope`](Self::scope)
    /// gave write access. Called inside the transaction that appends: it must be quick and must not
    /// block. The default allows every change.
    ///
    /// # Errors
    /// The refusal, which moves the edit into the replica's quarantine.
    fn change(
        &self,
        principal: &Principal,
        scope: &Scope,
        change: &Change,
        current: Option<&DocumentState>,
    ) -> Result<(), Rejection> {
        let _ = (principal, scope, change, current);
        Ok(())
    }
}

/// Decides whether a document is valid.
pub trait Validate: Send + Sync + fmt::Debug + 'static {
    /// Decides whether a change makes a valid document. Called inside the transaction that appends:
    /// it must be quick and must not block.
    ///
    /// # Errors
    /// The refusal, which moves the edit into the replica's quarantine.
    fn change(
        &self,
        scope: &Scope,
        change: &Change,
        current: Option<&DocumentState>,
    ) -> Result<(), Rejection>;
}

/// The hooks of a server.
#[derive(Clone, Debug)]
pub struct Hooks {
    /// Token to principal.
    pub authenticate: Arc<dyn Authenticate>,
    /// Principal to access.
    pub authorise: Arc<dyn Authorise>,
    /// Decides whether a document is valid.
    pub validate: Arc<dyn Validate>,
    /// The resolvers of the collections whose conflicts the server resolves.
    pub resolvers: Resolvers,
}

impl Default for Hooks {
    /// Allows everything to every client, accepts every document, and leaves conflicts to the
    /// replicas.
    fn default() -> Self {
        let open = Arc::new(Open);
        Self {
            authenticate: open.clone(),
            authorise: open.clone(),
            validate: open,
            resolvers: Resolvers::default(),
        }
    }
}

/// Admits every client as `anonymous`, allows everything, and accepts every document.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open;

#[async_trait]
impl Authenticate for Open {
    async fn authenticate(&self, _: Option<&str>) -> Result<Principal> {
        Ok(Principal { name: "anonymous".to_owned() })
    }

    fn admits_all(&self) -> bool {
        true
    }
}

#[async_trait]
impl Authorise for Open {
    async fn scope(&self, _: &Principal, _: &Scope) -> Result<Access> {
        Ok(Access::FULL)
    }
}

impl Judge for Open {}

impl Validate for Open {
    fn change(&self, _: &Scope, _: &Change, _: Option<&DocumentState>) -> Result<(), Rejection> {
        Ok(())
    }
}

/// A fixed list of bearer tokens.
///
/// A name may have several: while its token is replaced, the old one and the new one are both good.
#[derive(Clone, Default)]
pub struct StaticTokens(Vec<(String, String)>);

impl StaticTokens {
    /// Makes a list of pairs of a principal's name and its token.
    #[must_use]
    pub fn new(tokens: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(tokens.into_iter().collect())
    }
}

impl fmt::Debug for StaticTokens {
    /// Prints only names: tokens stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[async_trait]
impl Authenticate for StaticTokens {
    async fn authenticate(&self, token: Option<&str>) -> Result<Principal> {
        let refuse = |why: &str| Err(Error::new(ErrorKind::Unauthenticated, why));
        let Some(token) = token else {
            return refuse("this server wants a token, and none was given");
        };
        // Every token is compared to its end, so that the time does not reveal how much of a guess
        // was right.
        let mut found = None;
        for (name, secret) in &self.0 {
            if same(secret.as_bytes(), token.as_bytes()) {
                found = Some(Principal { name: name.clone() });
            }
        }
        found.map_or_else(|| refuse("the token is not one that this server knows"), Ok)
    }
}

fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (x, y)| diff | (x ^ y)) == 0
}

/// Calls a hook. One that panics over a change refuses it: the batch is immutable, and would fail
/// forever.
fn contained(hook: &str, ask: impl FnOnce() -> Result<(), Rejection>) -> Result<(), Rejection> {
    catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|_| {
        tracing::error!(hook, "a hook panicked over a change, which is refused");
        let reason = format!("the server could not check this change: its hook `{hook}` panicked");
        Err(Rejection { code: RejectionCode::Invalid, reason })
    })
}

/// The judge of one push: the hooks, for one principal.
#[derive(Debug)]
pub(super) struct PushJudge {
    pub(super) hooks: Hooks,
    pub(super) principal: Principal,
    pub(super) scope: Scope,
    /// The rejection of every change of the batch, if it is refused as a whole.
    pub(super) refuse_all: Option<Rejection>,
    /// The largest body in bytes.
    pub(super) body_bytes: usize,
    /// The deepest nesting of a body.
    pub(super) body_depth: usize,
    /// The collections that the principal may see: it may not write others.
    pub(super) visible: Visible,
}

impl Judge for PushJudge {
    fn admit(&self, change: &Change, current: Option<&DocumentState>) -> Result<(), Rejection> {
        if let Some(rejection) = &self.refuse_all {
            return Err(rejection.clone());
        }
        if !self.visible.includes(&change.collection) {
            let reason = "this collection may not be seen".to_owned();
            return Err(Rejection { code: RejectionCode::Forbidden, reason });
        }
        if let Some(body) = &change.state.body {
            if body.len() > self.body_bytes {
                let reason = format!(
                    "the body has {} bytes and {} is the most",
                    body.len(),
                    self.body_bytes
                );
                return Err(Rejection { code: RejectionCode::TooLarge, reason });
            }
            if let Err(error) = Body::parse(body.as_bytes().clone()) {
                let reason = error.message().to_owned();
                return Err(Rejection { code: RejectionCode::Invalid, reason });
            }
            let most = self.body_depth;
            let depth = if most < Body::DEPTH { body.depth() } else { 0 };
            if depth > most {
                let reason =
                    format!("the body is nested {depth} levels deep and {most} is the most");
                return Err(Rejection { code: RejectionCode::Invalid, reason });
            }
        }
        contained("authorise", || {
            self.hooks.authorise.change(&self.principal, &self.scope, change, current)
        })?;
        contained("validate", || self.hooks.validate.change(&self.scope, change, current))
    }

    fn resolve(
        &self,
        scope: &Scope,
        change: &Change,
        current: Option<&DocumentState>,
    ) -> Option<Resolution> {
        self.hooks.resolvers.decide_pushed(scope, change, current)
    }
}
