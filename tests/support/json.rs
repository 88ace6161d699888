//! JSON as `serde_json` reads it, with every number as the text it was written in: its own `Value` makes a float of a
//! fraction.
//!
//! ```text
//! text ──serde_json, one level at a time──► Json      an inner value comes as its raw text, and is read in turn
//! ```
//! Of a key that comes twice the last value is kept, as `serde_json`'s maps do.

use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// As it was written.
    Number(String),
    /// Escapes resolved.
    Text(String),
    Array(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// The value of this text; `None` if it is no JSON.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let inner = |raw: &RawValue| Self::parse(raw.get());
        Some(match text.trim_ascii_start().as_bytes().first()? {
            b'{' => {
                let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
                Self::Object(members.into_iter().map(|(key, raw)| Some((key, inner(raw)?))).collect::<Option<_>>()?)
            }
            b'[' => {
                let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                Self::Array(elements.into_iter().map(inner).collect::<Option<_>>()?)
            }
            b'"' => Self::Text(serde_json::from_str(text).ok()?),
            b't' | b'f' => Self::Bool(serde_json::from_str(text).ok()?),
            b'n' => serde_json::from_str::<()>(text).ok().map(|()| Self::Null)?,
            _ => Self::Number(serde_json::from_str::<&RawValue>(text).ok()?.get().to_owned()),
        })
    }

    /// The member of this key; null where there is none, or the value is no object.
    pub(crate) fn get(&self, key: &str) -> &Self {
        const ABSENT: &Json = &Json::Null;
        if let Self::Object(members) = self { members.get(key).unwrap_or(ABSENT) } else { ABSENT }
    }

    /// The keys and values of an object.
    pub(crate) fn members(&self) -> Option<&BTreeMap<String, Self>> {
        if let Self::Object(members) = self { Some(members) } else { None }
    }

    pub(crate) fn is_null(&self) -> bool {
        *self == Self::Null
    }

    pub(crate) fn elements(&self) -> Option<&[Self]> {
        if let Self::Array(elements) = self { Some(elements) } else { None }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(crate) fn bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// An integer that is not negative.
    pub(crate) fn int(&self) -> Option<u64> {
        if let Self::Number(text) = self { text.parse().ok() } else { None }
    }
}
