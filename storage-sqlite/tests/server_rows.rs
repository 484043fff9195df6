//! The rows of a server, compared with a model: a sorted map.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;

use common::{collection, config, id, place, scope, state};
use proptest::prelude::*;
use storage_kit::{Durability, Snapshot, Transactional};
use storage_sqlite::{SqliteServerReader, SqliteServerWriter};
use sync_core::error::{Error, ErrorKind};
use sync_core::model::{Collection, DocumentId, Epoch, PushId, ReplicaId, Scope, Seq, VerdictKind};
use sync_server::record::{Acknowledged, Offer, PushRecord, ServerRow, ServerScope, StoredVerdict};
use sync_server::rows::{LogRow, ServerReads, ServerRows};

type Key = (Scope, Collection, DocumentId);
type Model = BTreeMap<Key, ServerRow>;

const SCOPES: [&str; 2] = ["s", "t"];
const COLLECTIONS: [&str; 2] = ["b", "a"];
const IDS: [&str; 4] = ["2", "10", "é", "Z"];

#[derive(Clone, Debug)]
enum Step {
    Put(Key, Option<&'static str>, bool),
    Remove(Key),
    Mark,
    Undo,
    Commit,
}

fn any_step() -> impl Strategy<Value = Step> {
    let key = || {
        (0..SCOPES.len(), 0..COLLECTIONS.len(), 0..IDS.len())
            .prop_map(|(s, c, i)| (scope(SCOPES[s]), collection(COLLECTIONS[c]), id(IDS[i])))
    };
    let body = prop_oneof![Just(None), Just(Some("{\"a\":1}"))];
    prop_oneof![
        6 => (key(), body, any::<bool>()).prop_map(|(k, b, o)| Step::Put(k, b, o)),
        2 => key().prop_map(Step::Remove),
        2 => Just(Step::Mark),
        1 => Just(Step::Undo),
        1 => Just(Step::Commit),
    ]
}

fn log(rows: &impl ServerReads, s: &Scope, after: Seq, limit: usize) -> Vec<LogRow> {
    let mut found = Vec::new();
    rows.log(s, after, &mut |row| {
        found.push(row);
        Ok(found.len() < limit)
    })
    .unwrap();
    found
}

fn compare(rows: &impl ServerReads, model: &Model) {
    for s in SCOPES.map(scope) {
        let mut wanted: Vec<LogRow> = model
            .iter()
            .filter(|((of, ..), _)| *of == s)
            .map(|((_, c, i), row)| (c.clone(), i.clone(), row.clone()))
            .collect();
        wanted.sort_by_key(|(_, _, row)| row.seq);
        assert_eq!(log(rows, &s, Seq(0), usize::MAX), wanted);
        if let [first, second, ..] = &wanted[..] {
            assert_eq!(log(rows, &s, first.2.seq, 1), std::slice::from_ref(second));
        }
    }
    for s in SCOPES.map(scope) {
        for c in COLLECTIONS.map(collection) {
            for i in IDS.map(id) {
                let row = rows.row(&s, &c, &i).unwrap();
                assert_eq!(row.as_ref(), model.get(&(s.clone(), c.clone(), i)));
            }
        }
    }
}

fn put(core: &mut SqliteServerWriter, model: &mut Model, step: Step, n: u64) {
    let (key, row) = match step {
        Step::Put(key, body, offered) => {
            let offer = Offer { epoch: Epoch([3; 16]), seq: Seq(1), edited: true };
            let offered = offered.then_some(offer);
            (
                key,
                Some(ServerRow { seq: Seq(n), first: Seq(n / 2), state: state(n, body), offered }),
            )
        }
        Step::Remove(key) => (key, None),
        Step::Mark | Step::Undo | Step::Commit => unreachable!(),
    };
    let (s, c, i) = &key;
    let old = core.row(s, c, i).unwrap();
    match (row, old) {
        (Some(row), old) => {
            core.put_row(s, c, i, old.as_ref(), &row).unwrap();
            model.insert(key, row);
        }
        (None, Some(old)) => {
            core.remove_row(s, c, i, &old).unwrap();
            model.remove(&key);
        }
        (None, None) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_log_holds_each_document_once_at_its_newest_position(
        steps in proptest::collection::vec(any_step(), 1..60),
    ) {
        let (_folder, path) = place();
        let mut core = SqliteServerWriter::open(&config(&path)).unwrap();
        let mut reader = SqliteServerReader::open(&config(&path)).unwrap();
        let (mut model, mut marked) = (Model::new(), Model::new());
        core.begin(Durability::Process).unwrap();
        for (n, step) in (1..).zip(steps) {
            match step {
                Step::Mark => {
                    core.mark().unwrap();
                    marked = model.clone();
                }
                Step::Undo => {
                    core.undo().unwrap();
                    model = marked.clone();
                }
                Step::Commit => {
                    core.commit().unwrap();
                    reader.open().unwrap();
                    compare(&reader, &model);
                    reader.release();
                    core.begin(Durability::Process).unwrap();
                    marked = model.clone();
                }
                step => put(&mut core, &mut model, step, n),
            }
        }
        compare(&core, &model);
    }
}

#[test]
fn rows_of_scopes_and_of_replicas_are_read_as_written() {
    let mut core = SqliteServerWriter::in_memory().unwrap();
    core.begin(Durability::Power).unwrap();
    let row = |head| ServerScope { head: Seq(head), ..ServerScope::new(Epoch([9; 16])) };
    for (name, head) in [("b", 1), ("a", 2), ("c", 3), ("b", 4)] {
        core.put_scope(&scope(name), &row(head)).unwrap();
    }
    assert_eq!(core.scope(&scope("b")).unwrap(), Some(row(4)));
    assert_eq!(core.scope(&scope("x")).unwrap(), None);
    assert_eq!(core.scopes(None, 2).unwrap(), [scope("a"), scope("b")]);
    assert_eq!(core.scopes(Some(&scope("b")), 2).unwrap(), [scope("c")]);
    let (one, two) = (ReplicaId([1; 16]), ReplicaId([2; 16]));
    let verdicts = vec![StoredVerdict { seq: Seq(4), kind: VerdictKind::Accepted }];
    let mut push = PushRecord { id: PushId(1), digest: u128::MAX, verdicts, owner: None };
    core.put_push_record(&scope("a"), one, &push).unwrap();
    push.id = PushId(2);
    core.put_push_record(&scope("a"), one, &push).unwrap();
    assert_eq!(core.push_record(&scope("a"), one).unwrap(), Some(push));
    assert_eq!(core.push_record(&scope("a"), two).unwrap(), None);
    let at = Acknowledged { epoch: Epoch([9; 16]), seq: Seq(3) };
    core.put_acknowledged(&scope("a"), two, &at).unwrap();
    assert_eq!(core.acknowledged(&scope("a"), two).unwrap(), Some(at));
    assert_eq!(core.acknowledged(&scope("b"), two).unwrap(), None);
}

#[test]
fn a_visitor_that_fails_ends_the_visit_with_its_error() {
    let mut core = SqliteServerWriter::in_memory().unwrap();
    let row = ServerRow { seq: Seq(1), first: Seq(1), state: state(1, None), offered: None };
    core.begin(Durability::Process).unwrap();
    core.put_row(&scope("s"), &collection("c"), &id("x"), None, &row).unwrap();
    let visit = &mut |_: LogRow| Err(Error::new(ErrorKind::Internal, "enough"));
    let error = core.log(&scope("s"), Seq(0), visit).unwrap_err();
    assert_eq!(error.report().to_string(), "enough");
    core.commit().unwrap();
}
