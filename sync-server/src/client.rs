//! An authenticated client and the requests it may make.

use std::sync::Arc;

use super::budget::{self, Grant};
use super::hooks::{Access, Principal, PushJudge};
use super::ops::{Acknowledgement, AppendContext, ChangesReply, Noted, check_by_row};
use super::record::{Fork, Owner, ServerScope};
use super::service::{Inner, Server, ServerOptions};
use super::visible::Visible;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{
    Change, Collection, Cursor, Limits, PushBatch, PushId, Rejection, RejectionCode, ReplicaId,
    Reset, Scope, Seq, Verdict, VerdictKind, Verdicts,
};
use sync_core::protocol::{Ack, Greeting, ScopeWelcome};

/// How many times over the limit a batch is refused as a whole. A smaller excess is refused change
/// by change: the limit may have been higher when its transaction was written, and the replica has
/// to move the changes to the quarantine.
const ABUSIVE: usize = 4;

/// An authenticated client and the requests it may make.
#[derive(Clone, Debug)]
pub struct AuthenticatedClient {
    pub(super) server: Server,
    pub(super) principal: Principal,
    pub(super) replica: ReplicaId,
}

pub(super) fn denied(scope: &Scope) -> Error {
    Error::new(ErrorKind::PermissionDenied, "this scope may not be seen").with("scope", scope)
}

impl AuthenticatedClient {
    /// Returns the principal of the client.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Returns the same principal with another of its replicas, for a request that names the
    /// replica in its body, which is read only after the sender is authenticated.
    #[must_use]
    pub fn with_replica(self, replica: ReplicaId) -> Self {
        Self { replica, ..self }
    }

    pub(super) async fn access(&self, scope: &Scope) -> Result<Access> {
        // A local scope exists on one device only, whatever the app's hook returns.
        if scope.is_local() {
            return Ok(Access::NONE);
        }
        self.server.0.hooks.authorise.scope(&self.principal, scope).await
    }

    pub(super) async fn visible(&self, scope: &Scope) -> Result<Visible> {
        self.access(scope).await?.read.ok_or_else(|| denied(scope))
    }

    /// Checks that a scope may be seen, before anything is read.
    ///
    /// # Errors
    /// `PermissionDenied` if not.
    pub async fn check(&self, scope: &Scope) -> Result<()> {
        self.visible(scope).await.map(drop)
    }

    pub(super) async fn greet_scope(&self, greeting: &Greeting) -> Result<ScopeWelcome> {
        let Greeting { scope, cursor, digest } = greeting;
        let mut row = self.server.find_scope(scope).await?;
        let mut reset = None;
        if let Some(fork) = self.fork(&row, scope, cursor).await? {
            let answer = self.server.reset_for(scope, cursor.epoch, fork).await?;
            reset = Some(answer);
            row = self.server.find_scope(scope).await?;
        } else if let (Some(epoch), Some(_)) = (cursor.epoch, digest)
            && cursor.floor.is_none()
            && cursor.backfills.is_empty()
        {
            let (scope, seq, digest) = (scope.clone(), cursor.after, *digest);
            let mark = cursor.mark.clone();
            reset = self.acknowledge(&Ack { scope, epoch, seq, digest, mark }).await?;
            // The returned head is not older than the one at which digests were compared.
            row = self.server.find_scope(&greeting.scope).await?;
        }
        let (_, last_push) = self.server.0.storage.replica(scope.clone(), self.replica).await?;
        Ok(ScopeWelcome {
            scope: scope.clone(),
            epoch: row.epoch,
            head: row.head,
            horizon: row.horizon,
            last_push: last_push.unwrap_or(PushId(0)),
            reset,
        })
    }

    /// Returns the problem with a cursor, if there is one. A mark with an old start is compared by
    /// the storage.
    async fn fork(
        &self,
        row: &ServerScope,
        scope: &Scope,
        cursor: &Cursor,
    ) -> Result<Option<Fork>> {
        if let Some(checked) = check_by_row(row, cursor) {
            return Ok(checked.err());
        }
        let (scope, cursor) = (scope.clone(), cursor.clone());
        let least = Limits { documents: 1, bytes: 1 };
        let reply = self.server.0.storage.changes(scope, cursor, least, Visible::All).await?;
        Ok(match reply {
            ChangesReply::Chunk(_) => None,
            ChangesReply::Reset(fork) => Some(fork),
        })
    }

    /// Appends a push, and wakes the sessions and followers of the scope. If the future is dropped
    /// the append may still commit; they are woken then, too.
    ///
    /// A batch that may not be pushed at all gets a rejection for each change, and is recorded, so
    /// that it does not block the outbox.
    ///
    /// # Errors
    /// `InvalidInput` for a batch of another replica, `TooLarge` for one that is many times over
    /// the limit, `Overloaded` if there is no room for it; else as the storage.
    pub async fn push(&self, batch: PushBatch) -> Result<Verdicts> {
        let Inner { hooks, options, environment, start, .. } = &*self.server.0;
        if batch.replica != self.replica {
            let message = "the batch belongs to another replica than the connection";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let most = options.push_limits.documents.saturating_mul(ABUSIVE);
        if batch.changes.len() > most {
            let message = format!(
                "a batch of {} documents is far over the limit of {}, and is rejected as a whole",
                batch.changes.len(),
                options.push_limits.documents
            );
            return Err(Error::new(ErrorKind::TooLarge, message).with("scope", &batch.scope));
        }
        let room = self.room_for(&batch)?;
        let scope = batch.scope.clone();
        let access = self.access(&scope).await?;
        if let Some(refused) = self.refused_whole(&access, &batch).await? {
            return Ok(refused);
        }
        let judge = PushJudge {
            hooks: hooks.clone(),
            principal: self.principal.clone(),
            scope,
            refuse_all: refusal(&access, &batch, options),
            body_bytes: options.body_bytes,
            body_depth: options.body_depth,
            visible: access.read.unwrap_or_default(),
        };
        let visible = judge.visible.clone();
        let collections: Vec<Collection> =
            batch.changes.iter().map(|c| c.collection.clone()).collect();
        let cx = AppendContext {
            now: environment.now(),
            start: *start,
            drift: options.drift,
            fresh: self.server.new_log(&batch.scope),
            owner: self.owner(),
        };
        // A connection that ends drops its work, but an append that was begun commits all the same,
        // and the listeners have to be woken for it.
        let server = self.server.clone();
        let appended = tokio::spawn(async move {
            let _room = room;
            server.append(cx, batch, Arc::new(judge)).await
        });
        let broke_off =
            |e| Error::new(ErrorKind::Internal, "the append was interrupted").because(e);
        let mut verdicts = appended.await.map_err(broke_off)??;
        if let Verdicts::Decided { verdicts, .. } = &mut verdicts {
            // Verdicts that are returned again may name states that the principal cannot see any
            // more.
            for (verdict, collection) in verdicts.iter_mut().zip(&collections) {
                verdict.current = verdict.current.take().filter(|_| visible.includes(collection));
            }
        }
        Ok(verdicts)
    }

    /// Reserves memory for a batch until it is appended: its bodies, and the metadata of each
    /// change.
    fn room_for(&self, batch: &PushBatch) -> Result<Option<Grant>> {
        let size = batch.weight().saturating_add(batch.changes.len() * size_of::<Change>());
        if size <= budget::FREE {
            return Ok(None);
        }
        let grant = self.server.0.incoming.try_take(size, Some(&self.principal));
        grant.map(Some).ok_or_else(|| budget::full("the server holds as many pushes as it may"))
    }

    /// Returns the verdicts on a batch whose principal may not write to the scope. Nothing of the
    /// scope is changed, unless the server may have appended the batch before, and has to return
    /// its verdicts again.
    async fn refused_whole(&self, access: &Access, batch: &PushBatch) -> Result<Option<Verdicts>> {
        let Some(rejection) = may_not_write(access) else { return Ok(None) };
        let (scope, replica) = (batch.scope.clone(), batch.replica);
        let (_, last) = self.server.0.storage.replica(scope, replica).await?;
        if last.is_some_and(|last| last >= batch.id) {
            return Ok(None);
        }
        if batch.recall.is_some() {
            return Err(denied(&batch.scope));
        }
        let row = self.server.find_scope(&batch.scope).await?;
        let kind = VerdictKind::Rejected(rejection);
        let one = |_| Verdict { seq: Seq(0), kind: kind.clone(), current: None };
        let verdicts = batch.changes.iter().map(one).collect();
        Ok(Some(Verdicts::Decided { epoch: row.epoch, mark: None, verdicts }))
    }

    /// Returns the owner of this client's replicas; none if the server admits all clients.
    fn owner(&self) -> Option<Owner> {
        (!self.server.admits_all()).then(|| Owner::of(&self.principal.name))
    }

    /// Records how far the replica is.
    ///
    /// # Errors
    /// `PermissionDenied` for a scope that may not be seen; else as the storage.
    pub async fn acknowledge(&self, ack: &Ack) -> Result<Option<Reset>> {
        let access = self.access(&ack.scope).await?;
        let visible = access.read.ok_or_else(|| denied(&ack.scope))?;
        let noted = match self.owner() {
            _ if !access.write => Noted::Never,
            Some(owner) => Noted::Of(owner),
            None => Noted::Always,
        };
        // A principal that sees only a part rightly has another digest.
        let digest = ack.digest.filter(|_| visible == Visible::All);
        let Ack { ref scope, epoch, seq, ref mark, .. } = *ack;
        let at = Acknowledgement { epoch, seq, digest, mark: mark.clone(), noted };
        match self.server.0.storage.acknowledge(scope.clone(), self.replica, at).await {
            Ok(None) => Ok(None),
            Ok(Some(fork)) => self.server.reset_for(scope, Some(epoch), fork).await.map(Some),
            // Nothing was written to the scope yet, so there is nothing to record.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Authenticates again with another token, and continues as its principal.
    ///
    /// # Errors
    /// `Unauthenticated` for a wrong token.
    pub async fn renew(&mut self, token: &str) -> Result<()> {
        self.principal = self.server.0.hooks.authenticate.authenticate(Some(token)).await?;
        Ok(())
    }
}

fn may_not_write(access: &Access) -> Option<Rejection> {
    if access.read.is_some() && access.write {
        return None;
    }
    let reason = "this scope may not be written to".to_owned();
    Some(Rejection { code: RejectionCode::Forbidden, reason })
}

/// Returns the reason for which a whole batch is refused permanently, if there is one.
fn refusal(access: &Access, batch: &PushBatch, options: &ServerOptions) -> Option<Rejection> {
    if let Some(rejection) = may_not_write(access) {
        return Some(rejection);
    }
    let documents = batch.changes.len();
    let bytes: usize = batch.changes.iter().map(Change::weight).sum();
    let Limits { documents: most, bytes: most_bytes } = options.push_limits;
    // Base bodies are added to what the replica counted.
    if documents > most || (bytes > most_bytes.saturating_mul(2) && documents > 1) {
        let reason = format!(
            "a batch of {documents} documents and {bytes} bytes is over the limit of {most} and {most_bytes}"
        );
        return Some(Rejection { code: RejectionCode::TooLarge, reason });
    }
    None
}
