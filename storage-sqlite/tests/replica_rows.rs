//! The rows of a replica, compared with a model: a sorted map.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;
use sync_core::clock::{Clock, Now};

use common::{config, key, place, scope, state};
use proptest::prelude::*;
use storage_kit::{Durability, Snapshot, Transactional};
use storage_sqlite::{SqliteReplicaReader, SqliteReplicaWriter};
use sync_core::model::{
    BaseRef, DocumentKey, Epoch, LocalSeq, PushId, Rejection, RejectionCode, Seq, ServerState,
    Settled, Stamp,
};
use sync_core::replica::record::{
    BatchRow, Carried, Edit, InFlight, Pending, QuarantineRow, Record, ReplicaMeta, ScopeRow,
};
use sync_core::replica::rows::{ReplicaReads, ReplicaRows};

type Model = BTreeMap<DocumentKey, Record>;

/// Names whose bytes sort differently from letters, and from the order in which they are first
/// used.
const SCOPES: [&str; 2] = ["room", "Room"];
const COLLECTIONS: [&str; 4] = ["b", "ä", "Z", "aa"];
const IDS: [&str; 5] = ["2", "10", "é", "Z", "z z"];

#[derive(Clone, Debug)]
enum Step {
    Put(DocumentKey, Record),
    Insert(DocumentKey, Record),
    Remove(DocumentKey),
    Mark,
    Undo,
    Commit,
    Rollback,
}

fn any_key() -> impl Strategy<Value = DocumentKey> {
    (0..SCOPES.len(), 0..COLLECTIONS.len(), 0..IDS.len())
        .prop_map(|(s, c, i)| key(SCOPES[s], COLLECTIONS[c], IDS[i]))
}

fn any_pending() -> impl Strategy<Value = Pending> {
    let edit = (1..4u64, any::<bool>(), any::<bool>()).prop_map(|(t, based, was_sent)| {
        let base = Settled { epoch: Epoch([2; 16]), seq: Seq(t), state: state(t, Some("[1]")) };
        Edit {
            transaction: LocalSeq(t),
            base: based.then_some(base),
            was_sent,
            base_not_in_log: based,
        }
    });
    let pending_remote = any::<bool>().prop_map(|absent| {
        let state = (!absent).then(|| state(9, None));
        ServerState { seq: Seq(9), state }
    });
    let in_flight = any::<Option<bool>>().prop_map(|moved| InFlight {
        push: PushId(3),
        revision: common::revision(4),
        base: Some(BaseRef {
            revision: common::revision(1),
            epoch: Epoch([2; 16]),
            seq: Seq(1),
            tombstone: false,
        }),
        carried: match moved {
            None => Carried::Withdrawn(7 << 100),
            Some(true) => Carried::Kept(state(4, Some("\"pushed\""))),
            Some(false) => Carried::Current,
        },
    });
    use proptest::option::weighted;
    let seq_before_reset = (0..3u64).prop_map(Seq);
    let former = proptest::collection::vec((1..9u64).prop_map(|n| state(n, Some("[1]"))), 0..3);
    let unsettled = (weighted(0.8, edit), any::<bool>(), weighted(0.3, pending_remote));
    (unsettled, weighted(0.3, in_flight), seq_before_reset, former).prop_map(
        |((edit, deferred, pending_remote), in_flight, seq_before_reset, former)| Pending {
            edit,
            deferred,
            pending_remote,
            in_flight,
            seq_before_reset,
            former,
        },
    )
}

fn any_record() -> impl Strategy<Value = Record> {
    // The largest stamps set the sign of SQLite's numbers.
    let stamp = prop_oneof![1..u64::MAX, Just(u64::MAX)];
    let body = prop_oneof![Just(None), Just(Some("{}")), Just(Some("{\"a\": 1.10}"))];
    let current = (stamp, body, any::<bool>()).prop_map(|(n, body, aged)| {
        let mut state = state(n, body);
        if aged {
            state.author = common::revision(n / 3);
        }
        state
    });
    let pending = proptest::option::of(any_pending().prop_map(Box::new));
    (proptest::option::weighted(0.8, current), 0..9u64, any::<bool>(), 0..3u32, pending).prop_map(
        |(current, known, here, delivered, pending)| Record {
            current,
            server_seq: Seq(known),
            changed: LocalSeq(0),
            changed_here: here,
            delivered,
            pending,
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any_key(), any_record()).prop_map(|(k, r)| Step::Put(k, r)),
        3 => (any_key(), any_record()).prop_map(|(k, r)| Step::Insert(k, r)),
        2 => any_key().prop_map(Step::Remove),
        2 => Just(Step::Mark),
        1 => Just(Step::Undo),
        1 => Just(Step::Commit),
        1 => Just(Step::Rollback),
    ]
}

/// Returns the entries of all pages; each page but the last must be full.
fn all<T>(limit: usize, mut read: impl FnMut(Option<&T>) -> Vec<T>) -> Vec<T> {
    let mut all: Vec<T> = Vec::new();
    loop {
        let page = read(all.last());
        let is_last = page.len() < limit;
        assert!(page.len() <= limit);
        all.extend(page);
        if is_last {
            return all;
        }
    }
}

type Rows = Vec<(DocumentKey, Record)>;

fn expected(model: &Model, wanted: impl Fn(&DocumentKey, &Record) -> bool) -> Rows {
    model.iter().filter(|(k, r)| wanted(k, r)).map(|(k, r)| (k.clone(), r.clone())).collect()
}

fn compare(rows: &impl ReplicaReads, model: &Model, limit: usize) {
    for s in SCOPES.map(scope) {
        for only in [None].into_iter().chain(COLLECTIONS.map(Some)) {
            let only = only.map(common::collection);
            let found = all(limit, |last: Option<&(DocumentKey, Record)>| {
                let after = last.map(|(k, _)| (&k.collection, &k.id));
                rows.records(&s, only.as_ref(), after, limit).unwrap()
            });
            let wanted = |k: &DocumentKey| only.as_ref().is_none_or(|c| *c == k.collection);
            assert_eq!(found, expected(model, |k, _| k.scope == s && wanted(k)));
        }
        let deferred = all(limit, |last: Option<&(DocumentKey, Record)>| {
            let after = last.map(|(k, _)| (&k.collection, &k.id));
            rows.deferred(&s, after, limit).unwrap()
        });
        assert_eq!(deferred, expected(model, |k, r| k.scope == s && r.is_deferred()));
        let outbox = all(limit, |last: Option<&(DocumentKey, Record)>| {
            let after =
                last.map(|(k, r)| (r.pushable().unwrap(), k.collection.clone(), k.id.clone()));
            rows.outbox(&s, after.as_ref(), limit).unwrap()
        });
        let mut wanted = expected(model, |k, r| k.scope == s && r.pushable().is_some());
        wanted.sort_by_key(|(k, r)| (r.pushable(), k.clone()));
        assert_eq!(outbox, wanted);
    }
    let changed = all(limit, |last: Option<&(DocumentKey, Record)>| {
        rows.changed(last.map_or(LocalSeq(0), |(_, r)| r.changed), limit).unwrap()
    });
    let mut wanted = expected(model, |_, r| r.changed > LocalSeq(0));
    wanted.sort_by_key(|(_, r)| r.changed);
    assert_eq!(changed, wanted);
}

fn carry_out(core: &mut SqliteReplicaWriter, model: &mut Model, step: Step, changed: LocalSeq) {
    match step {
        Step::Put(key, mut new) => {
            new.changed = changed;
            let old = core.record(&key).unwrap();
            assert_eq!(old.as_ref(), model.get(&key));
            core.put_record(&key, old.as_ref(), &new).unwrap();
            model.insert(key, new);
        }
        Step::Insert(key, mut new) => {
            new.changed = changed;
            let there = if model.contains_key(&key) { vec![0, 1] } else { vec![1] };
            let twice = [(key.clone(), new.clone()), (key.clone(), new.clone())];
            assert_eq!(core.insert_records(&twice).unwrap(), there);
            model.entry(key).or_insert(new);
        }
        Step::Remove(key) => {
            if let Some(old) = core.record(&key).unwrap() {
                core.remove_record(&key, &old).unwrap();
            }
            model.remove(&key);
        }
        Step::Mark | Step::Undo | Step::Commit | Step::Rollback => unreachable!(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..Default::default() })]

    #[test]
    fn rows_equal_those_of_a_sorted_map_after_writes_undos_and_commits(
        steps in proptest::collection::vec((any_step(), any::<bool>()), 1..60),
        limit in 1..7usize,
    ) {
        let (_folder, path) = place();
        let mut core = SqliteReplicaWriter::open(&config(&path), common::REPLICA).unwrap();
        let mut reader = SqliteReplicaReader::open(&config(&path)).unwrap();
        let (mut committed, mut model) = (Model::new(), Model::new());
        let mut marked = Model::new();
        core.begin(Durability::Process).unwrap();
        for (n, (step, changes)) in steps.into_iter().enumerate() {
            match step {
                Step::Mark => {
                    core.mark().unwrap();
                    marked = model.clone();
                }
                Step::Undo => {
                    core.undo().unwrap();
                    model = marked.clone();
                }
                Step::Commit | Step::Rollback => {
                    if matches!(step, Step::Commit) {
                        core.commit().unwrap();
                        committed = model.clone();
                    } else {
                        core.rollback();
                        model = committed.clone();
                    }
                    reader.open().unwrap();
                    compare(&reader, &committed, limit);
                    reader.release();
                    core.begin(Durability::Process).unwrap();
                    marked = model.clone();
                }
                step => {
                    let changed = LocalSeq(if changes { n as u64 + 1 } else { 0 });
                    carry_out(&mut core, &mut model, step, changed);
                }
            }
        }
        compare(&core, &model, limit);
    }
}

fn core() -> SqliteReplicaWriter {
    let mut core = SqliteReplicaWriter::in_memory(common::REPLICA).unwrap();
    core.begin(Durability::Process).unwrap();
    core
}

#[test]
fn rows_of_the_replica_and_of_scopes_are_read_as_written() {
    let mut core = core();
    let meta = ReplicaMeta {
        clock: Clock { high_water: Stamp::from_bits(u64::MAX), ahead: Stamp::from_bits(7) },
        clock_offset: -7,
        wall: Now(9),
        holder: "the app".to_owned(),
        ..core.meta().unwrap().unwrap()
    };
    core.put_meta(&meta).unwrap();
    assert_eq!(core.meta().unwrap(), Some(meta));
    let row = |documents| ScopeRow { documents, ..ScopeRow::default() };
    for (name, documents) in [("b", 1), ("a", 2), ("b", 3)] {
        core.put_scope(&scope(name), &row(documents)).unwrap();
    }
    assert_eq!(core.scope(&scope("b")).unwrap(), Some(row(3)));
    assert_eq!(core.scopes().unwrap(), [(scope("a"), row(2)), (scope("b"), row(3))]);
    let batch = BatchRow {
        attempts: 3,
        id: PushId(1),
        replica: common::REPLICA,
        keys: vec![key("a", "c", "2"), key("a", "c", "1")],
    };
    core.put_batch(&scope("a"), Some(&batch)).unwrap();
    assert_eq!(core.batch(&scope("a")).unwrap(), Some(batch));
    assert_eq!(core.batch(&scope("b")).unwrap(), None);
    core.put_batch(&scope("a"), None).unwrap();
    assert_eq!(core.batch(&scope("a")).unwrap(), None);
}

#[test]
fn a_quarantine_is_read_by_ticket_and_only_of_its_scope() {
    let mut core = core();
    let row = |i: &str| QuarantineRow {
        key: key("a", "c", i),
        state: state(5, Some("1")),
        base: None,
        rejection: Rejection { code: RejectionCode::Invalid, reason: "no".into() },
        at: Stamp::from_bits(6),
    };
    for ticket in [10, 2, 1] {
        core.put_quarantine(&scope("a"), ticket, Some(&row("x"))).unwrap();
    }
    core.put_quarantine(&scope("b"), 3, Some(&row("y"))).unwrap();
    core.put_quarantine(&scope("a"), 2, None).unwrap();
    let page = |after, limit| core.quarantine(&scope("a"), after, limit).unwrap();
    assert_eq!(page(0, 9), [(1, row("x")), (10, row("x"))]);
    assert_eq!(page(0, 1), [(1, row("x"))]);
    assert_eq!(page(1, 9), [(10, row("x"))]);
    assert_eq!(page(u64::MAX, 9), []);
}

#[test]
fn a_scope_that_is_removed_leaves_no_name_behind_and_may_come_back() {
    let (_folder, path) = place();
    let mut core = SqliteReplicaWriter::open(&config(&path), common::REPLICA).unwrap();
    let secret = key("secret scope", "secret collection", "x");
    let names = || {
        let app = rusqlite::Connection::open(&path).unwrap();
        let count = "SELECT (SELECT count(*) FROM scope) + (SELECT count(*) FROM collection)";
        app.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    for _ in 0..2 {
        core.begin(Durability::Process).unwrap();
        core.put_scope(&secret.scope, &ScopeRow::default()).unwrap();
        let record = Record { server_seq: Seq(1), ..Record::default() };
        core.put_record(&secret, None, &record).unwrap();
        core.remove_scope(&secret.scope).unwrap();
        assert_eq!(core.scope(&secret.scope).unwrap(), None);
        assert_eq!(core.record(&secret).unwrap(), Some(record.clone()), "documents go one by one");
        core.remove_record(&secret, &record).unwrap();
        core.remove_scope(&secret.scope).unwrap();
        core.commit().unwrap();
        assert_eq!(names(), 0);
    }
}

#[test]
fn positions_beyond_63_bits_are_refused_and_not_mistaken() {
    let mut core = core();
    let record = Record { server_seq: Seq(u64::MAX), ..Record::default() };
    let error = core.put_record(&key("a", "c", "x"), None, &record).unwrap_err();
    assert_eq!(error.kind(), sync_core::error::ErrorKind::Storage);
    assert_eq!(core.changed(LocalSeq(u64::MAX), 9).unwrap(), []);
}
