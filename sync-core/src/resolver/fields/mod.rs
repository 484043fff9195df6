//! Merging field by field.

mod json;
#[cfg(test)]
mod tests;
mod three_way;

use std::collections::BTreeMap;

use super::{Conflict, ConflictResolver, OnDelete, Resolution};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Body;
use three_way::{Later, Merge, Three};

/// The rule for a field that both sides changed differently.
///
/// Objects on both sides are merged field by field, unless `LastWrite`, `Local`, `Remote` or
/// `Defer` was declared for their place: then they are one value, which is taken as a whole. So an
/// object whose fields are meaningful only together (a position, an address) is never mixed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldRule {
    /// The value of the edit that was written later; an array is replaced as a whole. A document
    /// has one stamp, so the edit as a whole is later, not the field.
    #[default]
    LastWrite,
    /// The replica's value.
    Local,
    /// The server's value.
    Remote,
    /// The app decides: the whole conflict is put into the inbox.
    Defer,
    /// An array is a set: elements that one side removed are removed, elements that one side added
    /// are added, once. Order has no meaning; kept elements come first. If a side has no array: as
    /// `LastWrite`.
    Union,
    /// An array holds objects, and this field names them: each element is merged field by field.
    /// Elements that one side removed and the other did not change are removed. The others keep the
    /// order of the base, and new ones follow: another order is kept only if the other side did not
    /// change the array. For arrays with other elements, or with two of one name, and if a side has
    /// no array: as `LastWrite`.
    ByKey(String),
}

/// Merges JSON objects field by field, with the base: a field that one side changed is taken from
/// that side; a field that both changed is decided by the [rule](FieldRule) of its place. Nested
/// objects are merged likewise.
///
/// Without a base (two inserts of one id) every field counts as added by both. Documents that are
/// not objects are one value. A field that is missing and one that is `null` are different:
/// removing a field is a change like others. Of a deletion and an edit the later one wins, unless
/// [`on_delete`](ConflictResolver::on_delete) sets another policy.
///
/// Values are copied as text: numbers keep their digits. Fields are written in the order of the
/// base, then those that were added, the earlier edit's first. So every replica that merges the
/// same states makes the same bytes, whichever state it calls local (unless a rule is `Local` or
/// `Remote`).
///
/// ```
/// use sync_core::resolver::{ConflictResolver, FieldMerge, FieldRule, OnDelete};
/// let merge = FieldMerge::new()
///     .field("/tags", FieldRule::Union)?
///     .field("/lines", FieldRule::ByKey("id".into()))?
///     .field("/lines/*/quantity", FieldRule::Remote)?
///     .on_delete(OnDelete::KeepEdit);
/// # let _ = merge;
/// # Ok::<(), sync_core::error::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct FieldMerge {
    rules: BTreeMap<Vec<String>, FieldRule>,
    default: FieldRule,
}

impl FieldMerge {
    /// Makes a merge in which the last write decides what both sides changed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the rule of all places that have no other rule.
    #[must_use]
    pub fn otherwise(mut self, rule: FieldRule) -> Self {
        self.default = rule;
        self
    }

    /// Sets the rule of one place, named by a JSON pointer (RFC 6901). A step `*` matches every
    /// field, and every element of an array that is merged [by key](FieldRule::ByKey); if several
    /// places match, the one with the fewest stars counts.
    ///
    /// # Errors
    /// `InvalidInput` if it is not a JSON pointer.
    pub fn field(mut self, pointer: &str, rule: FieldRule) -> Result<Self> {
        self.rules.insert(parse_pointer(pointer)?, rule);
        Ok(self)
    }
}

fn parse_pointer(pointer: &str) -> Result<Vec<String>> {
    let bad = || {
        let message =
            "not a JSON pointer: it is empty or begins with a slash, and ~ is written ~0 and / ~1";
        Error::new(ErrorKind::InvalidInput, message).with("pointer", format!("{pointer:?}"))
    };
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    let steps = pointer.strip_prefix('/').ok_or_else(bad)?;
    let unescape = |step: &str| {
        let rest = step.replace("~0", "").replace("~1", "");
        if rest.contains('~') { Err(bad()) } else { Ok(step.replace("~1", "/").replace("~0", "~")) }
    };
    steps.split('/').map(unescape).collect()
}

impl ConflictResolver for FieldMerge {
    fn name(&self) -> &str {
        "field-merge"
    }

    fn needs_base(&self) -> bool {
        true
    }

    fn resolve(&self, conflict: &Conflict<'_>) -> Result<Resolution> {
        let remote = conflict.remote.and_then(|r| r.body.as_ref());
        let (Some(ours), Some(theirs)) = (&conflict.local.body, remote) else {
            // There is nothing to merge with. Two deletions are no conflict.
            let decided = OnDelete::default().decide(conflict);
            return Ok(decided.unwrap_or(Resolution::Remote));
        };
        let merge = Merge {
            rules: &self.rules,
            default: &self.default,
            later: if conflict.local_is_later() { Later::Local } else { Later::Remote },
        };
        let base = conflict.base.and_then(|b| b.body.as_ref()).map(Body::as_str);
        let three = Three { base, local: Some(ours.as_str()), remote: Some(theirs.as_str()) };
        Ok(match merge.value(&mut Vec::new(), three) {
            Err(three_way::Undecided) => Resolution::Defer,
            Ok(None) => Resolution::Delete,
            Ok(Some(merged)) if merged == theirs.as_str() => Resolution::Remote,
            Ok(Some(merged)) if merged == ours.as_str() => Resolution::Local,
            Ok(Some(merged)) => Resolution::Merge(Body::trusted(merged.into_owned().into())?),
        })
    }
}
