//! The app's data, and the merge of two edits of one note.

use serde::{Deserialize, Serialize};
use twotide::DocumentState;
use twotide::Result;
use twotide::prelude::{Body, Conflict, ConflictResolver, Resolution};

/// A note.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Its title; the service refuses an empty one.
    pub title: String,
    /// Its text.
    pub text: String,
}

impl Note {
    /// Creates a note.
    #[must_use]
    pub fn new(title: &str, text: &str) -> Self {
        Self { title: title.to_owned(), text: text.to_owned() }
    }
}

/// Merges field by field: the side that changed a field wins it, the local edit if both did. An
/// edit wins over a deletion.
#[derive(Clone, Copy, Debug)]
pub struct FieldByField;

impl ConflictResolver for FieldByField {
    fn name(&self) -> &str {
        "field by field"
    }

    fn needs_base(&self) -> bool {
        true
    }

    fn resolve(&self, conflict: &Conflict<'_>) -> Result<Resolution> {
        let note = |state: Option<&DocumentState>| {
            state.and_then(|s| s.body.as_ref()).map(Body::to::<Note>).transpose()
        };
        let base = note(conflict.base)?.unwrap_or_default();
        let (local, remote) = match (note(Some(conflict.local))?, note(conflict.remote)?) {
            (Some(local), Some(remote)) => (local, remote),
            (Some(_), None) => return Ok(Resolution::Local),
            (None, _) => return Ok(Resolution::Remote),
        };
        let pick = |base: String, local, remote| if local == base { remote } else { local };
        let merged = Note {
            title: pick(base.title, local.title, remote.title),
            text: pick(base.text, local.text, remote.text),
        };
        Ok(Resolution::Merge(Body::from_value(&merged)?))
    }
}
