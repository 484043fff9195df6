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

/// What becomes of a field that both sides changed, each into something else.
///
/// Objects on both sides are merged field by field, unless `LastWrite`, `Local`, `Remote` or
/// `Defer` was declared for their place: then they are one value, which is taken as a whole. So an
/// object whose fields make sense only together (a position, an address) is never mixed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldRule {
    /// The value of the edit that was written later; an array is replaced as a whole. A document
    /// has one stamp, so "later" is said of the whole edit, not of the field.
    #[default]
    LastWrite,
    /// The replica's value.
    Local,
    /// The server's value.
    Remote,
    /// The app decides: the whole conflict goes to the inbox.
    Defer,
    /// An array is a set: what one side removed is gone, what one side added is there, once. Order
    /// means nothing; kept elements stand first. For what is no array on both sides: as
    /// `LastWrite`.
    Union,
    /// An array holds objects, and this field of theirs names them: each element is merged by
    /// itself, field by field. Elements that one side removed and the other did not touch are gone.
    /// They stand in the order of the base, then come new ones: another order is kept only if the
    /// other side left the array as it was. For arrays with other elements, or with two of one
    /// name, and for what is no array on both sides: as `LastWrite`.
    ByKey(String),
}

/// Merges JSON objects field by field, with the base: a field that one side changed is taken from
/// that side; one that both changed is decided by the [rule](FieldRule) of its place. Objects in
/// objects are merged likewise.
///
/// Without a base (two inserts of one id) every field counts as added by both. Documents that are
/// no objects are one value. A field that is missing and one that is `null` are different: removing
/// a field is a change like others. Of a deletion against an edit the later one stands, unless
/// [`on_delete`](ConflictResolver::on_delete) says something else.
///
/// What is taken over is taken over in its own bytes: numbers keep their digits. Fields stand in
/// the order of the base, then come those that were added, the earlier edit's first; so every
/// replica that merges the same states makes the same bytes, whichever of them it calls local
/// (unless a rule says `Local` or `Remote`).
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
    /// A merge in which the last write decides what both sides changed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The rule of all places that have none of their own.
    #[must_use]
    pub fn otherwise(mut self, rule: FieldRule) -> Self {
        self.default = rule;
        self
    }

    /// The rule of one place, named by a JSON pointer (RFC 6901). A step `*` stands for every
    /// field, and for every element of an array that is merged [by key](FieldRule::ByKey); where
    /// several places fit, the one with the fewest stars counts.
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
