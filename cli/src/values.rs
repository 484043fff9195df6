//! The values of arguments.

use std::path::Path;

use twotide::StorageUrl;
use twotide::backend::model::{Collection, Scope};

use crate::failure::Failure;

/// Parses a storage on the command line: an address such as `sled:notes.sled`, or a path of a
/// SQLite file.
pub(crate) fn storage(text: &str) -> Result<StorageUrl, String> {
    match text.split_once(':') {
        // One letter is a drive; anything longer before a colon is a backend, known or not.
        Some((scheme, _))
            if scheme.len() > 1 && scheme.bytes().all(|b| b.is_ascii_alphanumeric()) =>
        {
            text.parse().map_err(|e: twotide::Error| e.to_string())
        }
        _ if text.is_empty() => Err("the path is empty".to_owned()),
        _ if text == ":memory:" => Err("data in memory is `memory:`".to_owned()),
        _ => Ok(StorageUrl::sqlite(text)),
    }
}

/// Parses a scope that can be synced.
pub(crate) fn scope(text: &str) -> Result<Scope, String> {
    let scope = Scope::new(text).map_err(|e| e.to_string())?;
    if scope.is_local() {
        return Err("documents of local-only collections live there, which are not synced".into());
    }
    Ok(scope)
}

/// Parses a collection of a list, in which blanks may follow the commas.
pub(crate) fn listed(text: &str) -> Result<Collection, String> {
    Collection::new(text.trim()).map_err(|e| e.to_string())
}

pub(crate) fn read_file(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|e| Failure::from(e).about(file.display()))
}
