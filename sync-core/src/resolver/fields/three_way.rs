//! The merge: a change of one side is taken, and a change of both is decided by the rule of its
//! place.
//!
//! This is the three-way merge of version control (Khanna, Kunal and Pierce, "A formal
//! investigation of diff3", 2007, for texts), over the fields of objects instead of lines: fields
//! are named, so that nothing has to be aligned.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::FieldRule;
use super::json::{DEPTH, Fields, ObjectWriter, Raw, array, canonical, object, same, write_array};

/// Which side was written later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Later {
    Local,
    Remote,
}

/// A merge in which a rule leaves the decision to the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Undecided;

/// Three versions of a value; a version that does not exist is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Three<'a> {
    pub(super) base: Option<Raw<'a>>,
    pub(super) local: Option<Raw<'a>>,
    pub(super) remote: Option<Raw<'a>>,
}

fn agree(one: Option<Raw<'_>>, other: Option<Raw<'_>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => same(one, other, 0),
        (None, None) => true,
        _ => false,
    }
}

/// Merges by the rules of places.
pub(super) struct Merge<'r> {
    pub(super) rules: &'r BTreeMap<Vec<String>, FieldRule>,
    pub(super) default: &'r FieldRule,
    pub(super) later: Later,
}

type Merged<'a> = Result<Option<Cow<'a, str>>, Undecided>;

impl Merge<'_> {
    /// Returns the rule of a place, which is the default if none was declared.
    fn rule(&self, place: &[Cow<'_, str>]) -> &FieldRule {
        self.declared(place).unwrap_or(self.default)
    }

    /// Returns the rule that was declared for a place; a name `*` in a rule's place matches every
    /// name.
    fn declared(&self, place: &[Cow<'_, str>]) -> Option<&FieldRule> {
        let fits = |of: &&Vec<String>| {
            of.len() == place.len() && of.iter().zip(place).all(|(o, p)| o == "*" || *o == **p)
        };
        // Exact names sort behind `*` or before it: the one with the fewest stars counts.
        let stars = |of: &&Vec<String>| of.iter().filter(|n| *n == "*").count();
        let found = self.rules.keys().filter(fits).min_by_key(stars);
        found.and_then(|place| self.rules.get(place))
    }

    /// Returns whether a rule was declared that takes objects at that place as one value.
    fn is_one_value(&self, place: &[Cow<'_, str>]) -> bool {
        use FieldRule::{Defer, LastWrite, Local, Remote};
        matches!(self.declared(place), Some(LastWrite | Local | Remote | Defer))
    }

    /// Merges one value.
    pub(super) fn value<'a>(&self, place: &mut Vec<Cow<'a, str>>, three: Three<'a>) -> Merged<'a> {
        let Three { base, local, remote } = three;
        let keep = |side: Option<Raw<'a>>| Ok(side.map(Cow::Borrowed));
        if agree(local, remote) || agree(remote, base) {
            // If both wrote the same value in different text, the server's text is kept.
            return keep(if agree(local, remote) { remote } else { local });
        }
        if agree(local, base) {
            return keep(remote);
        }
        if let (Some(ours), Some(theirs)) = (local, remote)
            && place.len() < DEPTH
            && !self.is_one_value(place)
        {
            if let (Some(ours), Some(theirs)) = (object(ours), object(theirs)) {
                let base = base.and_then(object).unwrap_or_default();
                return self.fields(place, &base, &ours, &theirs).map(|m| Some(Cow::Owned(m)));
            }
            if let (Some(ours), Some(theirs)) = (array(ours), array(theirs)) {
                let base = base.and_then(array).unwrap_or_default();
                match self.rule(place) {
                    FieldRule::Union => {
                        return Ok(Some(Cow::Owned(self.union(&base, &ours, &theirs))));
                    }
                    FieldRule::ByKey(key) => {
                        if let Some(merged) = self.by_key(key, place, &base, &ours, &theirs) {
                            return merged.map(|m| Some(Cow::Owned(m)));
                        }
                    }
                    _ => {}
                }
            }
        }
        self.contested(place, local, remote)
    }

    /// Merges one value that both sides changed.
    fn contested<'a>(
        &self,
        place: &[Cow<'a, str>],
        local: Option<Raw<'a>>,
        remote: Option<Raw<'a>>,
    ) -> Merged<'a> {
        let side = match (self.rule(place), self.later) {
            (FieldRule::Defer, _) => return Err(Undecided),
            (FieldRule::Local, _) => local,
            (FieldRule::Remote, _) => remote,
            (_, Later::Local) => local,
            (_, Later::Remote) => remote,
        };
        Ok(side.map(Cow::Borrowed))
    }

    fn fields<'a>(
        &self,
        place: &mut Vec<Cow<'a, str>>,
        base: &Fields<'a>,
        local: &Fields<'a>,
        remote: &Fields<'a>,
    ) -> Result<String, Undecided> {
        let index = |fields: &Fields<'a>| -> BTreeMap<Cow<'a, str>, Raw<'a>> {
            fields.iter().map(|(name, value)| (name.clone(), *value)).collect()
        };
        let (in_base, in_local, in_remote) = (index(base), index(local), index(remote));
        let mut out = ObjectWriter::default();
        for name in self.order(base, local, remote) {
            let three = Three {
                base: in_base.get(name).copied(),
                local: in_local.get(name).copied(),
                remote: in_remote.get(name).copied(),
            };
            place.push(name.clone());
            let merged = self.value(place, three);
            place.pop();
            if let Some(value) = merged? {
                out.field(name, &value);
            }
        }
        Ok(out.end())
    }

    /// Returns the names in the order in which they are written: those of the base, then the
    /// additions of the earlier write, then those of the later one. So the order does not depend on
    /// which side is called local.
    fn order<'f, 'a>(
        &self,
        base: &'f Fields<'a>,
        local: &'f Fields<'a>,
        remote: &'f Fields<'a>,
    ) -> Vec<&'f Cow<'a, str>> {
        let (earlier, later) = self.in_time(local, remote);
        let mut seen = std::collections::BTreeSet::new();
        let all = base.iter().chain(earlier).chain(later).map(|(name, _)| name);
        all.filter(|name| seen.insert(*name)).collect()
    }

    fn in_time<T>(&self, local: T, remote: T) -> (T, T) {
        match self.later {
            Later::Local => (remote, local),
            Later::Remote => (local, remote),
        }
    }

    /// Merges arrays as sets: what one side removed is removed, what one side added is added, once.
    fn union(&self, base: &[Raw<'_>], local: &[Raw<'_>], remote: &[Raw<'_>]) -> String {
        let names = |elements: &[Raw<'_>]| -> Vec<String> {
            elements.iter().map(|e| canonical(e, 0)).collect()
        };
        let set = |names: &[String]| -> std::collections::BTreeSet<String> {
            names.iter().cloned().collect()
        };
        let (in_base, in_local, in_remote) =
            (set(&names(base)), set(&names(local)), set(&names(remote)));
        let (earlier, later) = self.in_time(local, remote);
        let mut seen = std::collections::BTreeSet::new();
        let all = base.iter().chain(earlier).chain(later);
        let kept = all.filter(|element| {
            let name = canonical(element, 0);
            let (ours, theirs) = (in_local.contains(&name), in_remote.contains(&name));
            let stays = if in_base.contains(&name) { ours && theirs } else { ours || theirs };
            stays && seen.insert(name)
        });
        write_array(kept.copied())
    }

    /// Merges arrays of objects that a field names: each element separately. None if the elements
    /// are not of that kind.
    fn by_key<'a>(
        &self,
        key: &str,
        place: &mut Vec<Cow<'a, str>>,
        base: &[Raw<'a>],
        local: &[Raw<'a>],
        remote: &[Raw<'a>],
    ) -> Option<Result<String, Undecided>> {
        let (base, local, remote) = (keyed(key, base)?, keyed(key, local)?, keyed(key, remote)?);
        let (earlier, later) = self.in_time(&local, &remote);
        let mut seen = std::collections::BTreeSet::new();
        let all = base.order.iter().chain(&earlier.order).chain(&later.order);
        let mut merged = Vec::new();
        for name in all.filter(|name| seen.insert(*name)) {
            let three = Three {
                base: base.by_name.get(name).copied(),
                local: local.by_name.get(name).copied(),
                remote: remote.by_name.get(name).copied(),
            };
            place.push(Cow::Owned(name.clone()));
            let element = self.value(place, three);
            place.pop();
            match element {
                Ok(element) => merged.extend(element),
                Err(undecided) => return Some(Err(undecided)),
            }
        }
        Some(Ok(write_array(merged.iter().map(|element| &**element))))
    }
}

struct Keyed<'a> {
    order: Vec<String>,
    by_name: BTreeMap<String, Raw<'a>>,
}

/// Returns elements by the value of a field: only if each is an object, has the field, and no two
/// share its value.
fn keyed<'a>(key: &str, elements: &[Raw<'a>]) -> Option<Keyed<'a>> {
    let mut keyed = Keyed { order: Vec::new(), by_name: BTreeMap::new() };
    for element in elements {
        let fields = object(element)?;
        let (_, value) = fields.iter().find(|(name, _)| name == key)?;
        let name = canonical(value, 0);
        if keyed.by_name.insert(name.clone(), element).is_some() {
            return None;
        }
        keyed.order.push(name);
    }
    Some(keyed)
}
