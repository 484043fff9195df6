//! The binary forms of rows that have grown: newer fields are at the end, so that older rows can be
//! read unchanged.

use std::collections::BTreeSet;

use super::{BatchRow, Pending, Purge, ReplicaMeta, ScopeRow};
use crate::clock::{Clock, Now};
use crate::codec::{Codec, Reader};
use crate::error::Result;
use crate::model::{Checkpoint, Seq};
use crate::replica::Failures;

/// The inbox, the server's limits, the local-only collections and the latest time are at the end,
/// and only if they are not empty.
impl Codec for ReplicaMeta {
    fn encode(&self, out: &mut Vec<u8>) {
        self.replica.encode(out);
        self.clock.high_water.encode(out);
        self.clock.ahead.encode(out);
        self.clock_offset.encode(out);
        self.last_local.encode(out);
        self.last_push.encode(out);
        self.lease.encode(out);
        self.holder.encode(out);
        self.full_pulls.encode(out);
        self.last_ticket.encode(out);
        self.feed_floor.encode(out);
        let has_time = self.wall > Now(0);
        let has_local = !self.local_only.is_empty() || has_time;
        if self.inbox > 0 || self.server_limits.is_some() || has_local {
            self.inbox.encode(out);
            self.server_limits.encode(out);
        }
        if has_local {
            self.local_only.encode(out);
        }
        if has_time {
            self.wall.encode(out);
        }
    }

    fn decode(input: &mut Reader) -> Result<Self> {
        let mut meta = Self {
            replica: Codec::decode(input)?,
            clock: Clock { high_water: Codec::decode(input)?, ahead: Codec::decode(input)? },
            clock_offset: Codec::decode(input)?,
            wall: Now(0),
            last_local: Codec::decode(input)?,
            last_push: Codec::decode(input)?,
            lease: Codec::decode(input)?,
            holder: Codec::decode(input)?,
            full_pulls: Codec::decode(input)?,
            last_ticket: Codec::decode(input)?,
            feed_floor: Codec::decode(input)?,
            inbox: 0,
            server_limits: None,
            local_only: BTreeSet::new(),
        };
        if input.remaining() > 0 {
            meta.inbox = Codec::decode(input)?;
            meta.server_limits = Codec::decode(input)?;
        }
        if input.remaining() > 0 {
            meta.local_only = Codec::decode(input)?;
        }
        if input.remaining() > 0 {
            meta.wall = Codec::decode(input)?;
        }
        Ok(meta)
    }
}

/// Former states are at the end, and only if there are any. Pending state is at the end of its row.
impl Codec for Pending {
    fn encode(&self, out: &mut Vec<u8>) {
        self.edit.encode(out);
        self.deferred.encode(out);
        self.pending_remote.encode(out);
        self.in_flight.encode(out);
        self.seq_before_reset.encode(out);
        if !self.former.is_empty() {
            self.former.encode(out);
        }
    }

    fn decode(input: &mut Reader) -> Result<Self> {
        let mut pending = Self {
            edit: Codec::decode(input)?,
            deferred: Codec::decode(input)?,
            pending_remote: Codec::decode(input)?,
            in_flight: Codec::decode(input)?,
            seq_before_reset: Codec::decode(input)?,
            former: Vec::new(),
        };
        if input.remaining() > 0 {
            pending.former = Codec::decode(input)?;
        }
        Ok(pending)
    }
}

/// The attempts are at the end, and only if there were more than one.
impl Codec for BatchRow {
    fn encode(&self, out: &mut Vec<u8>) {
        self.id.encode(out);
        self.replica.encode(out);
        self.keys.encode(out);
        if self.attempts != 1 {
            self.attempts.encode(out);
        }
    }

    fn decode(input: &mut Reader) -> Result<Self> {
        let (id, replica, keys) =
            (Codec::decode(input)?, Codec::decode(input)?, Codec::decode(input)?);
        let attempts = if input.remaining() > 0 { Codec::decode(input)? } else { 1 };
        Ok(Self { id, replica, keys, attempts })
    }
}

/// At the end, and only if they are not empty, are the checkpoint's data for a custom backend, the
/// failures of the scope, what the replica leaves out, the mark of the log with what it covers, and
/// the progress of the removal of tombstones.
impl Codec for ScopeRow {
    fn encode(&self, out: &mut Vec<u8>) {
        self.checkpoint.encode(out);
        self.documents.encode(out);
        self.digest.encode(out);
        for count in [self.settled, self.pending, self.in_flight, self.deferred, self.quarantined] {
            count.encode(out);
        }
        let Checkpoint { bookmark, seen, collections, mark, covered, .. } = &self.checkpoint;
        let has_purged = self.purge != Purge::default();
        let is_marked = mark.is_some() || covered.is_some() || has_purged;
        let has_failed = self.failures != Failures::default() || is_marked;
        let is_partial = self.left_out || collections.is_some() || self.not_chosen > 0 || is_marked;
        if bookmark.is_some() || *seen > Seq(0) || has_failed || is_partial {
            bookmark.encode(out);
            seen.encode(out);
        }
        if has_failed || is_partial {
            self.failures.encode(out);
        }
        if is_partial {
            self.left_out.encode(out);
            collections.encode(out);
            self.not_chosen.encode(out);
        }
        if is_marked {
            mark.encode(out);
            covered.encode(out);
        }
        if has_purged {
            self.purge.up_to.encode(out);
            self.purge.runs.encode(out);
            self.purge.after.encode(out);
        }
    }

    fn decode(input: &mut Reader) -> Result<Self> {
        let mut row = Self {
            checkpoint: Codec::decode(input)?,
            documents: Codec::decode(input)?,
            digest: Codec::decode(input)?,
            settled: Codec::decode(input)?,
            pending: Codec::decode(input)?,
            in_flight: Codec::decode(input)?,
            deferred: Codec::decode(input)?,
            quarantined: Codec::decode(input)?,
            failures: Failures::default(),
            left_out: false,
            not_chosen: 0,
            purge: Purge::default(),
        };
        if input.remaining() > 0 {
            row.checkpoint.bookmark = Codec::decode(input)?;
            row.checkpoint.seen = Codec::decode(input)?;
        }
        if input.remaining() > 0 {
            row.failures = Codec::decode(input)?;
        }
        if input.remaining() > 0 {
            row.left_out = Codec::decode(input)?;
            row.checkpoint.collections = Codec::decode(input)?;
            row.not_chosen = Codec::decode(input)?;
        }
        if input.remaining() > 0 {
            row.checkpoint.mark = Codec::decode(input)?;
            row.checkpoint.covered = Codec::decode(input)?;
        }
        if input.remaining() > 0 {
            let (up_to, runs) = (Codec::decode(input)?, Codec::decode(input)?);
            row.purge = Purge { up_to, runs, after: Codec::decode(input)? };
        }
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::model::{
        Bookmark, Collection, DocumentId, Epoch, LogKey, LogMark, LogRun, PushId, ReplicaId,
        ServerStart, WriteLimits,
    };
    use crate::replica::Failed;

    #[test]
    fn a_stored_batch_without_an_attempt_count_is_in_its_first_attempt() {
        let new =
            BatchRow { id: PushId(1), replica: ReplicaId([7; 16]), keys: Vec::new(), attempts: 1 };
        assert_eq!(new.to_bytes().len(), 1 + 16 + 1);
        assert_eq!(BatchRow::from_bytes(new.to_bytes()).unwrap(), new);
        let again = BatchRow { attempts: 300, ..new };
        assert_eq!(BatchRow::from_bytes(again.to_bytes()).unwrap(), again);
    }

    #[test]
    fn a_replica_row_is_read_with_and_without_newer_fields() {
        let old = ReplicaMeta::new(ReplicaId([7; 16]));
        let length = old.to_bytes().len();
        assert_eq!(ReplicaMeta::from_bytes(old.to_bytes()).unwrap(), old);
        let new = ReplicaMeta { inbox: 3, server_limits: Some(WriteLimits::default()), ..old };
        assert!(new.to_bytes().len() > length);
        assert_eq!(ReplicaMeta::from_bytes(new.to_bytes()).unwrap(), new);
        let mut local = new.clone();
        local.local_only.insert(Collection::new("drafts").unwrap());
        assert!(local.to_bytes().starts_with(&new.to_bytes()));
        assert_eq!(ReplicaMeta::from_bytes(local.to_bytes()).unwrap(), local);
        let timed = ReplicaMeta { wall: Now(7), ..ReplicaMeta::new(ReplicaId([7; 16])) };
        assert_eq!(ReplicaMeta::from_bytes(timed.to_bytes()).unwrap(), timed);
    }

    #[test]
    fn each_newer_field_is_read_without_the_others() {
        let old = || ReplicaMeta::new(ReplicaId([7; 16]));
        let mut local = old();
        local.local_only.insert(Collection::new("drafts").unwrap());
        let inbox = ReplicaMeta { inbox: 1, ..old() };
        let limits = ReplicaMeta { server_limits: Some(WriteLimits::default()), ..old() };
        for meta in [inbox, limits, local, ReplicaMeta { wall: Now(7), ..old() }] {
            assert!(meta.to_bytes().len() > old().to_bytes().len());
            assert_eq!(ReplicaMeta::from_bytes(meta.to_bytes()).unwrap(), meta);
        }
    }

    #[test]
    fn a_scope_row_from_before_bookmarks_is_read() {
        let checkpoint = Checkpoint { position: Seq(7), ..Checkpoint::default() };
        let old = ScopeRow { checkpoint, quarantined: 3, ..ScopeRow::default() };
        let bytes = old.to_bytes();
        // Epoch, position, back-fills, full pull, starts; documents; the digest; five counters.
        assert_eq!(bytes.len(), 5 + 1 + 16 + 5);
        assert_eq!(ScopeRow::from_bytes(bytes).unwrap(), old);
        let mut new = old;
        new.checkpoint.bookmark = Some(Bookmark::new("2026-11-21,n7").unwrap());
        new.checkpoint.seen = Seq(9);
        assert_eq!(ScopeRow::from_bytes(new.to_bytes()).unwrap(), new);
        new.failures.add(Failed {
            kind: ErrorKind::Network,
            message: "nobody answers".to_owned(),
            at: Now(5),
            retry_at: Some(Now(7)),
        });
        assert_eq!(ScopeRow::from_bytes(new.to_bytes()).unwrap(), new);
        new.checkpoint = Checkpoint::default();
        assert_eq!(ScopeRow::from_bytes(new.to_bytes()).unwrap(), new);
        new.left_out = true;
        assert_eq!(ScopeRow::from_bytes(new.to_bytes()).unwrap(), new);
        let chosen = BTreeSet::from([Collection::new("notes").unwrap()]);
        (new.left_out, new.not_chosen, new.checkpoint.collections) = (false, 4, Some(chosen));
        assert_eq!(ScopeRow::from_bytes(new.to_bytes()).unwrap(), new);
        new.checkpoint.collections = None;
        assert_eq!(ScopeRow::from_bytes(new.to_bytes()).unwrap(), new, "a count is never lost");
        let run = LogRun { start: ServerStart(3), first: Seq(1), last: Seq(7) };
        let mark = LogMark::sign(Epoch([1; 16]), vec![run], &LogKey([7; 16]));
        let mut marked = ScopeRow::default();
        marked.checkpoint.mark = Some(mark);
        assert_eq!(ScopeRow::from_bytes(marked.to_bytes()).unwrap(), marked);
        let after = Some((Collection::new("c").unwrap(), DocumentId::new("d").unwrap()));
        let purging =
            ScopeRow { purge: Purge { up_to: Seq(9), runs: true, after }, ..ScopeRow::default() };
        assert_eq!(ScopeRow::from_bytes(purging.to_bytes()).unwrap(), purging);
        marked.checkpoint.covered = Some(BTreeSet::from([Collection::new("notes").unwrap()]));
        assert_eq!(ScopeRow::from_bytes(marked.to_bytes()).unwrap(), marked);
    }

    #[test]
    fn a_checkpoint_that_names_server_starts_is_read_without_them() {
        let checkpoint = Checkpoint { position: Seq(7), ..Checkpoint::default() };
        let row = ScopeRow { checkpoint, ..ScopeRow::default() };
        let mut bytes = row.to_bytes().to_vec();
        // The list is after epoch, position, back-fills and full pull.
        bytes.splice(4..5, [1, 3, 1]);
        assert_eq!(ScopeRow::from_bytes(bytes.into()).unwrap(), row);
    }
}
