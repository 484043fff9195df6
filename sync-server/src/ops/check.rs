//! Counting again what is kept as sums.

use crate::rows::ServerReads;
use sync_core::error::Result;
use sync_core::model::{Digest, Seq};

const SCOPES: usize = 256;

/// Whether the documents and the digest that every scope's row names are those of its log. Reads
/// every document.
///
/// # Errors
/// As the rows.
pub fn has_right_sums(rows: &dyn ServerReads) -> Result<bool> {
    let mut after = None;
    loop {
        let scopes = rows.scopes(after.as_ref(), SCOPES)?;
        for scope in &scopes {
            let Some(row) = rows.scope(scope)? else { continue };
            let (mut documents, mut digest) = (0, Digest::default());
            rows.log(scope, Seq(0), &mut |(collection, id, document)| {
                if !document.state.is_deleted() {
                    documents += 1;
                    digest.add(&collection, &id, &document.state.revision);
                }
                Ok(true)
            })?;
            if (row.documents, row.digest) != (documents, digest) {
                return Ok(false);
            }
        }
        if scopes.len() < SCOPES {
            return Ok(true);
        }
        after = scopes.into_iter().next_back();
    }
}
