//! Recounts the sums that are stored.

use crate::rows::ServerReads;
use sync_core::error::Result;
use sync_core::model::{Digest, Seq};

const SCOPES: usize = 256;

/// Returns whether the documents and the digest in every scope's row are those of its log. Reads
/// every document.
///
/// # Errors
/// The errors of the rows.
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
