//! Recounts the sums that are stored.

use crate::error::Result;
use crate::model::{Digest, DocumentKey, Scope};
use crate::replica::rows::ReplicaReads;
use crate::replica::types::{Checked, Sums};

/// The number of records at a time, few enough that their bodies fit into memory.
const PAGE: usize = 256;

/// Counts the live documents of every scope, and computes their digest, next to the sums that are
/// stored in the scope's row. Reads every document.
///
/// # Errors
/// The errors of the rows.
pub fn check(rows: &dyn ReplicaReads) -> Result<Vec<Checked>> {
    let mut checked = Vec::new();
    for (scope, row) in rows.scopes()? {
        let counted = count(rows, &scope)?;
        let kept = Sums { documents: row.documents, digest: row.digest };
        checked.push(Checked { scope, kept, counted });
    }
    Ok(checked)
}

fn count(rows: &dyn ReplicaReads, scope: &Scope) -> Result<Sums> {
    let mut sums = Sums { documents: 0, digest: Digest::default() };
    let mut after: Option<DocumentKey> = None;
    loop {
        let place = after.as_ref().map(|k| (&k.collection, &k.id));
        let page = rows.records(scope, None, place, PAGE)?;
        let is_last = page.len() < PAGE;
        for (key, record) in page {
            if let Some(live) = record.live() {
                sums.documents += 1;
                sums.digest.add(&key.collection, &key.id, &live.revision);
            }
            after = Some(key);
        }
        if is_last {
            return Ok(sums);
        }
    }
}
