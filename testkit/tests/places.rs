//! Where conflicts are resolved makes no difference: the same histories, resolved on the replicas
//! and then on the server, show the same documents on every replica after every sync.
//!
//! An app's write depends on what it reads, so a history is the same only if every sync is whole:
//! an app that edits while its push is in transit receives the merge earlier in one place than in
//! the other. For the same reason the writes are further apart than the clocks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use sync_core::error::Result;
use sync_core::model::{Body, DocumentKey};
use sync_core::replica::{LocalTransaction, LocalWrite, WriteOperation};
use sync_core::resolver::{
    ClientWins, ConflictResolver, FieldMerge, FieldRule, LastWriteWins, OnDelete, ServerWins,
    TypedConflict, TypedResolution, resolve_typed,
};
use testkit::cores::MemoryCores;
use testkit::world::{Options, World};

const REPLICAS: usize = 3;
const FIELDS: [&str; 3] = ["a", "b", "n"];
/// The time between two writes, in milliseconds. Clocks differ by less than half of it.
const APART: u64 = 1_000;

#[derive(Clone, Debug)]
enum Step {
    /// Sets a field of the document that the replica shows, or inserts a document with it.
    Set(usize, usize, usize, i64),
    /// Removes a field of the document that the replica shows.
    Unset(usize, usize, usize),
    /// Adds a tag, or removes it.
    Tag(usize, usize, i64),
    Delete(usize, usize),
    /// A whole sync, which begins with a push.
    Push(usize),
    /// A whole sync, which begins with a pull.
    Pull(usize),
    /// A push whose answer is lost, and then a whole sync.
    LoseAnswer(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (replica, document) = (0..REPLICAS, 0..2usize);
    let write = (replica.clone(), document.clone(), 0..FIELDS.len(), 0..4i64);
    prop_oneof![
        4 => write.clone().prop_map(|(r, d, f, n)| Step::Set(r, d, f, n)),
        1 => write.clone().prop_map(|(r, d, f, _)| Step::Unset(r, d, f)),
        2 => write.prop_map(|(r, d, _, n)| Step::Tag(r, d, n)),
        1 => (replica.clone(), document).prop_map(|(r, d)| Step::Delete(r, d)),
        2 => replica.clone().prop_map(Step::Push),
        2 => replica.clone().prop_map(Step::Pull),
        1 => replica.prop_map(Step::LoseAnswer),
    ]
}

struct Run {
    world: World<MemoryCores>,
}

impl Run {
    fn new(resolver: &Arc<dyn ConflictResolver>, on_server: bool, skews: &[i64]) -> Self {
        let mut options = Options { replicas: REPLICAS, ..Options::default() };
        if on_server {
            options.on_server = vec![(World::<MemoryCores>::collection("notes"), resolver.clone())];
        } else {
            options.resolver = resolver.clone();
        }
        let mut world = World::with(MemoryCores, options);
        skews.iter().enumerate().for_each(|(replica, skew)| world.skew(replica, *skew));
        Self { world }
    }

    fn shown(&mut self, replica: usize, document: usize) -> Option<Map<String, Value>> {
        let key = self.world.key(&format!("notes/{document}"));
        let body = self.world.current(replica, &key)?.body?;
        Some(body.to().unwrap())
    }

    fn write(&mut self, replica: usize, document: usize, operation: WriteOperation) {
        self.world.tick(APART);
        let DocumentKey { scope, collection, id } = self.world.key(&format!("notes/{document}"));
        let writes = vec![LocalWrite { collection, id, operation }];
        self.world.write(replica, LocalTransaction { scope, writes }).unwrap();
    }

    fn edit(
        &mut self,
        replica: usize,
        document: usize,
        edit: impl FnOnce(&mut Map<String, Value>),
    ) {
        let mut fields = self.shown(replica, document).unwrap_or_default();
        edit(&mut fields);
        let body = Body::from_value(&fields).unwrap();
        self.write(replica, document, WriteOperation::Put(body));
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Set(replica, document, field, n) => self.edit(replica, document, |fields| {
                fields.insert(FIELDS[field].to_owned(), json!(n));
            }),
            Step::Unset(replica, document, field) => self.edit(replica, document, |fields| {
                fields.remove(FIELDS[field]);
            }),
            Step::Tag(replica, document, n) => self.edit(replica, document, |fields| {
                let tags = fields.entry("tags").or_insert_with(|| json!([]));
                let Some(tags) = tags.as_array_mut() else { return };
                match tags.iter().position(|t| *t == json!(n)) {
                    Some(at) => drop(tags.remove(at)),
                    None => tags.push(json!(n)),
                }
            }),
            Step::Delete(replica, document) => {
                if self.shown(replica, document).is_some() {
                    self.write(replica, document, WriteOperation::Delete);
                }
            }
            Step::Push(replica) => self.world.sync_all_of(replica),
            Step::Pull(replica) => {
                self.world.connect(replica);
                self.world.pull_all(replica);
                self.world.sync_all_of(replica);
            }
            Step::LoseAnswer(replica) => {
                if let Some(batch) = self.world.form(replica) {
                    let _lost = self.world.deliver(&batch);
                }
                self.world.sync_all_of(replica);
            }
        }
    }

    /// Returns the documents that every replica shows.
    fn documents(&mut self) -> Vec<BTreeMap<String, String>> {
        let records = (0..REPLICAS).map(|r| self.world.records(r)).collect::<Vec<_>>();
        let shown = records.into_iter().map(|records| {
            let live = records.into_iter().filter_map(|(key, record)| {
                let body = record.live()?.body.clone()?;
                Some((key.id.as_str().to_owned(), body.as_str().to_owned()))
            });
            live.collect()
        });
        shown.collect()
    }

    fn waiting(&mut self) -> Vec<u64> {
        (0..REPLICAS).map(|r| self.world.scope_row(r).deferred).collect()
    }
}

/// Adds up the counts, and takes the other fields of the later edit. The result may equal the state
/// that the server holds.
fn counters(
    conflict: TypedConflict<'_, BTreeMap<String, Value>>,
) -> Result<TypedResolution<BTreeMap<String, Value>>> {
    let count = |of: &BTreeMap<String, Value>| of.get("n").and_then(Value::as_i64).unwrap_or(0);
    let base = conflict.base.as_ref().map_or(0, count);
    Ok(match (conflict.local, conflict.remote) {
        (Some(local), Some(remote)) => {
            let n = count(&local) + count(&remote) - base;
            let mut stands = if conflict.local_is_later { local } else { remote };
            stands.insert("n".to_owned(), json!(n));
            TypedResolution::Merge(stands)
        }
        _ => TypedResolution::Delete,
    })
}

fn fields() -> FieldMerge {
    FieldMerge::new()
        .field("/tags", FieldRule::Union)
        .and_then(|m| m.field("/b", FieldRule::Remote))
        .unwrap()
}

/// The deterministic resolvers.
fn resolvers() -> Vec<(&'static str, Arc<dyn ConflictResolver>)> {
    vec![
        ("last write", Arc::new(LastWriteWins)),
        ("server wins", Arc::new(ServerWins)),
        ("client wins", Arc::new(ClientWins)),
        ("fields", Arc::new(FieldMerge::new())),
        ("fields with rules", Arc::new(fields())),
        ("some fields deferred", Arc::new(fields().field("/n", FieldRule::Defer).unwrap())),
        ("typed", Arc::new(resolve_typed("counters", counters))),
        ("keep edits", Arc::new(fields().on_delete(OnDelete::KeepEdit))),
        ("keep deletions", Arc::new(LastWriteWins.on_delete(OnDelete::KeepDeletion))),
        ("ask about deletions", Arc::new(FieldMerge::new().on_delete(OnDelete::Defer))),
    ]
}

fn the_same_in_both_places(
    steps: &[Step],
    skews: &[i64],
    totals: &mut BTreeMap<&'static str, [usize; 2]>,
) -> Result<(), TestCaseError> {
    for (name, resolver) in resolvers() {
        let mut places = [false, true].map(|on_server| Run::new(&resolver, on_server, skews));
        for (n, step) in steps.iter().enumerate() {
            places.iter_mut().for_each(|place| place.step(step));
            let [replica, server] = places.each_mut().map(Run::documents);
            prop_assert_eq!(replica, server, "{}: after step {} of {:?}", name, n, steps);
        }
        places.iter_mut().for_each(|place| place.world.sync_all());
        let [replica, server] = places.each_mut().map(|p| (p.documents(), p.waiting()));
        prop_assert_eq!(replica, server, "{}: at the end of {:?}", name, steps);
        places.iter_mut().for_each(|place| place.world.assert_converged());
        for (place, count) in places.iter().zip(totals.entry(name).or_default()) {
            *count += place.world.calls().count();
        }
    }
    Ok(())
}

#[test]
fn resolving_on_the_replica_or_on_the_server_gives_the_same_documents() {
    let steps = proptest::collection::vec(step(), 1..40);
    let skews = proptest::collection::vec(-400..400i64, REPLICAS);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let totals = std::cell::RefCell::new(BTreeMap::new());
    let outcome = runner.run(&(steps, skews), |(steps, skews)| {
        the_same_in_both_places(&steps, &skews, &mut totals.borrow_mut())
    });
    outcome.unwrap_or_else(|broken| panic!("{broken}"));
    for (name, counts) in totals.into_inner() {
        assert!(counts.iter().all(|c| *c > 50), "{name} was hardly ever asked: {counts:?}");
    }
}

/// A replica that names another resolver than the server sends no base. Without the base two edits
/// would be merged as two inserts, and a field that one of them removed would be back.
#[test]
fn a_server_without_a_needed_base_decides_nothing() {
    let merge: Arc<dyn ConflictResolver> = Arc::new(FieldMerge::new());
    let mut run = Run::new(&merge, true, &[]);
    run.step(&Step::Set(0, 0, 0, 1));
    run.step(&Step::Set(0, 0, 1, 1));
    run.world.sync_all();
    run.step(&Step::Set(0, 0, 2, 2));
    run.step(&Step::Push(0));
    run.step(&Step::Unset(1, 0, 0));
    let mut batch = run.world.form(1).unwrap();
    assert!(batch.changes[0].base_body.take().is_some(), "a resolver of that kind was named");
    let verdicts = run.world.deliver(&batch);
    run.world.settle(1, batch.id, &verdicts);
    assert_eq!(run.world.calls().count(), 0, "nobody is asked without the base");
    assert_eq!(run.waiting(), [0, 1, 0], "the app decides");
    assert_eq!(run.shown(1, 0).unwrap().get("a"), None, "and sees its own edit meanwhile");
}
