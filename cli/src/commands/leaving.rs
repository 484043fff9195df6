//! Reports which collections leave the device because `sync --collections` does not name them.

use std::collections::{BTreeMap, BTreeSet};

use twotide::Replica;
use twotide::backend::model::{Collection, DocumentId, Limits};
use twotide::backend::replica::{Scan, ScopeSummary, Unsettled, UnsettledAfter};

use crate::failure::Failure;
use crate::stderr::tell;

/// The effect of a choice of collections on those that it does not name.
struct Leaving {
    /// The collections of which documents or edits leave the device.
    gone: BTreeSet<Collection>,
    /// How many unsynced edits of them go to the quarantine.
    edits: u64,
    /// The chosen collections that hold nothing here, and were not chosen before.
    unheard: BTreeSet<Collection>,
}

/// Reports on standard error which collections that the choice does not name leave the device, and
/// in which edits wait. An empty choice names all.
///
/// # Errors
/// Usage, unless `may_go`: if edits leave that were not synced, and if collections leave while the
/// choice names others that hold nothing here, such as a mistyped name.
pub(super) async fn check(
    replica: &Replica,
    chosen: &[Collection],
    may_go: bool,
) -> Result<(), Failure> {
    let chosen: BTreeSet<Collection> = chosen.iter().cloned().collect();
    let state = replica.state().await?;
    let Some(summary) = state.scope(replica.scope()).filter(|_| !chosen.is_empty()) else {
        return Ok(());
    };
    let edits = unsynced(replica, &chosen).await?;
    let leaving = leaving(replica, summary, &chosen, &edits).await?;
    let (gone, unheard) = (named(&leaving.gone), named(&leaving.unheard));
    if !leaving.gone.is_empty() {
        let edits = leaving.edits;
        if edits > 0 && !may_go {
            return Err(Failure::usage(format!(
                "--collections does not name {gone}, of which {edits} edits were not synced: sync them first, or give --drop \
                 to let the documents leave this device and the edits go to the quarantine"
            )));
        }
        if !leaving.unheard.is_empty() && !may_go {
            return Err(Failure::usage(format!(
                "--collections names {unheard}, of which nothing is here, and does not name {gone}, whose documents would \
                 leave this device: mend the list, or give --drop if it is right"
            )));
        }
        tell(format_args!(
            "--collections does not name {gone}: the documents leave this device, and stay on the server"
        ));
    }
    let waiting = edits.keys().filter(|c| !leaving.gone.contains(c)).cloned().collect();
    let waiting: BTreeSet<Collection> = waiting;
    if !waiting.is_empty() {
        let names = named(&waiting);
        tell(format_args!("--collections does not name {names}: edits wait until it does"));
    }
    Ok(())
}

fn named(collections: &BTreeSet<Collection>) -> String {
    collections.iter().map(|c| format!("`{c}`")).collect::<Vec<_>>().join(", ")
}

/// Returns the number of unsynced edits of each collection that is not chosen.
async fn unsynced(
    replica: &Replica,
    chosen: &BTreeSet<Collection>,
) -> Result<BTreeMap<Collection, u64>, Failure> {
    let mut found: BTreeMap<Collection, u64> = BTreeMap::new();
    for which in [Unsettled::Pending, Unsettled::InFlight, Unsettled::Deferred] {
        let mut after = UnsettledAfter::Start;
        loop {
            let scope = replica.scope().clone();
            let page = replica.storage().unsettled(scope, which, after, Limits::CHUNK).await?;
            for entry in &page.items {
                if !chosen.contains(&entry.key.collection) {
                    *found.entry(entry.key.collection.clone()).or_default() += 1;
                }
            }
            let Some(last) = page.items.last().filter(|_| page.more) else { break };
            let (transaction, key) = (last.transaction, last.key.clone());
            after = UnsettledAfter::Entry { transaction, key, ticket: 0 };
        }
    }
    Ok(found)
}

async fn leaving(
    replica: &Replica,
    summary: &ScopeSummary,
    chosen: &BTreeSet<Collection>,
    edits: &BTreeMap<Collection, u64>,
) -> Result<Leaving, Failure> {
    let before = &summary.checkpoint.collections;
    // Before the first sync nothing came from a server: local writes simply wait.
    let is_fresh = summary.checkpoint.epoch.is_none() && summary.in_flight.is_none();
    if is_fresh || before.as_ref() == Some(chosen) {
        return Ok(Leaving { gone: BTreeSet::new(), edits: 0, unheard: BTreeSet::new() });
    }
    let here = collections_of(replica).await?;
    let is_held = |c: &&Collection| before.as_ref().is_none_or(|b| b.contains(*c));
    let gone: BTreeSet<Collection> = here
        .iter()
        .chain(edits.keys())
        .filter(is_held)
        .filter(|c| !chosen.contains(*c))
        .cloned()
        .collect();
    let is_unheard =
        |c: &&Collection| !here.contains(*c) && before.as_ref().is_none_or(|b| !b.contains(*c));
    let unheard = chosen.iter().filter(is_unheard).cloned().collect();
    let edits = gone.iter().filter_map(|c| edits.get(c)).sum();
    Ok(Leaving { gone, edits, unheard })
}

/// Returns the collections of the scope that hold documents.
async fn collections_of(replica: &Replica) -> Result<BTreeSet<Collection>, Failure> {
    // No id is greater than this one, so that one document of each collection is read.
    let last = DocumentId::new("\u{10ffff}".repeat(DocumentId::MAX_BYTES / 4))?;
    let (mut found, mut after) = (BTreeSet::new(), None);
    loop {
        let limits = Limits { documents: 1, bytes: 1 };
        let scan = Scan { scope: replica.scope().clone(), collection: None, after, limits };
        let page = replica.storage().scan(scan).await?;
        let Some(stored) = page.items.into_iter().next() else { return Ok(found) };
        after = Some((stored.key.collection.clone(), last.clone()));
        found.insert(stored.key.collection);
    }
}
