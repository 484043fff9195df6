//! JSON that is parsed only as far as needed: values that are kept keep their bytes.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A value that is nested deeper than this is not parsed: it is compared by its text.
pub(super) const DEPTH: usize = 64;

/// The text of a value.
pub(super) type Raw<'a> = &'a str;

/// The fields of an object, in their order. Of fields with one name the last value counts, at the
/// place of the first, as in most readers of JSON.
pub(super) type Fields<'a> = Vec<(Cow<'a, str>, Raw<'a>)>;

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields: Fields<'de> = Vec::new();
        let mut places = std::collections::BTreeMap::new();
        while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
            let value = map.next_value::<&'de RawValue>()?.get();
            match places.get(&name) {
                Some(&at) => {
                    let field: &mut (Cow<'de, str>, Raw<'de>) = &mut fields[at];
                    field.1 = value;
                }
                None => {
                    places.insert(name.clone(), fields.len());
                    fields.push((name, value));
                }
            }
        }
        Ok(fields)
    }
}

struct ArrayVisitor;

impl<'de> Visitor<'de> for ArrayVisitor {
    type Value = Vec<Raw<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element::<&'de RawValue>()? {
            elements.push(element.get());
        }
        Ok(elements)
    }
}

/// A field's name: borrowed unless it has escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        text(d).map(Self)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

fn text<'de, D: Deserializer<'de>>(d: D) -> Result<Cow<'de, str>, D::Error> {
    d.deserialize_str(TextVisitor)
}

/// Returns the fields, if it is an object.
pub(super) fn object(raw: Raw<'_>) -> Option<Fields<'_>> {
    if !raw.trim_start().starts_with('{') {
        return None;
    }
    serde_json::Deserializer::from_str(raw).deserialize_map(ObjectVisitor).ok()
}

/// Returns the elements, if it is an array.
pub(super) fn array(raw: Raw<'_>) -> Option<Vec<Raw<'_>>> {
    if !raw.trim_start().starts_with('[') {
        return None;
    }
    serde_json::Deserializer::from_str(raw).deserialize_seq(ArrayVisitor).ok()
}

fn string(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    if !raw.trim_start().starts_with('"') {
        return None;
    }
    text(&mut serde_json::Deserializer::from_str(raw)).ok()
}

/// Returns whether two values are equal: the order of fields, white space and the way strings are
/// escaped do not matter; numbers are compared digit by digit as they are written.
pub(super) fn same(one: Raw<'_>, other: Raw<'_>, depth: usize) -> bool {
    let (one, other) = (one.trim(), other.trim());
    if one == other {
        return true;
    }
    if depth >= DEPTH || one.as_bytes().first() != other.as_bytes().first() {
        return false;
    }
    if let (Some(mut one), Some(mut other)) = (object(one), object(other)) {
        one.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        other.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        return one.len() == other.len()
            && one.iter().zip(&other).all(|((n, v), (m, w))| n == m && same(v, w, depth + 1));
    }
    if let (Some(one), Some(other)) = (array(one), array(other)) {
        return one.len() == other.len()
            && one.iter().zip(&other).all(|(v, w)| same(v, w, depth + 1));
    }
    matches!((string(one), string(other)), (Some(one), Some(other)) if one == other)
}

/// Returns a text that is the same for values that are [the same](same).
pub(super) fn canonical(raw: Raw<'_>, depth: usize) -> String {
    let raw = raw.trim();
    if depth >= DEPTH {
        return raw.to_owned();
    }
    if let Some(mut fields) = object(raw) {
        fields.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut out = ObjectWriter::default();
        for (name, value) in fields {
            out.field(&name, &canonical(value, depth + 1));
        }
        return out.end();
    }
    if let Some(elements) = array(raw) {
        let elements: Vec<String> = elements.iter().map(|e| canonical(e, depth + 1)).collect();
        return write_array(elements.iter().map(String::as_str));
    }
    string(raw).map_or_else(|| raw.to_owned(), |text| quoted(&text))
}

fn quoted(text: &str) -> String {
    // A string always has a JSON form.
    serde_json::to_string(text).unwrap_or_default()
}

/// Writes an object field by field.
#[derive(Debug, Default)]
pub(super) struct ObjectWriter(String);

impl ObjectWriter {
    pub(super) fn field(&mut self, name: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(&quoted(name));
        self.0.push(':');
        self.0.push_str(value);
    }

    pub(super) fn end(mut self) -> String {
        if self.0.is_empty() {
            self.0.push('{');
        }
        self.0.push('}');
        self.0
    }
}

/// Writes an array of values.
pub(super) fn write_array<'a>(elements: impl Iterator<Item = Raw<'a>>) -> String {
    let mut out = String::from("[");
    for (n, element) in elements.enumerate() {
        if n > 0 {
            out.push(',');
        }
        out.push_str(element);
    }
    out.push(']');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sameness_is_meaning_not_text() {
        for (one, other) in [
            (r#"{"a":1,"b":[1, 2]}"#, r#" {"b":[1,2], "a":1} "#),
            (r#""\u00e4""#, r#""ä""#),
            (r#"{"\u0061":1}"#, r#"{"a":1}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        ] {
            assert!(same(one, other, 0), "{one} {other}");
            assert_eq!(canonical(one, 0), canonical(other, 0));
        }
        for (one, other) in [
            ("1", "1.0"),
            ("null", "0"),
            (r#""1""#, "1"),
            ("[1,2]", "[2,1]"),
            (r#"{"a":null}"#, "{}"),
            ("[]", "{}"),
            ("12345678901234567890", "12345678901234567891"),
        ] {
            assert!(!same(one, other, 0), "{one} {other}");
            assert_ne!(canonical(one, 0), canonical(other, 0));
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(same(&deep, &deep, 0));
        assert!(!same(&deep, &deep[1..deep.len() - 1], 0));
        assert_eq!(canonical(&deep, 0), deep);
    }
}
