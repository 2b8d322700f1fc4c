//! One YAML or JSON text to the manifests in it, each with its place.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use serde_json::{Map, Value};
use serde_saphyr::{Localizer, Location, Options, Spanned, UserMessageFormatter};

/// Nodes of one text. A manifest has a node in about ten bytes, so the largest file that is read stays below
/// this; what exceeds it is made to fill memory.
const MAX_NODES: usize = 8_000_000;

/// Events that aliases may replay in one text: some hundred uses of a large anchor are fine, a bomb of nested
/// ones is not.
const MAX_REPLAYED: usize = 200_000;

/// A manifest and where it begins.
#[derive(Debug, PartialEq)]
pub(super) struct Document {
    /// Line in the text, from 1.
    pub(super) line: u64,
    /// Column, from 1.
    pub(super) column: u64,
    /// The manifest.
    pub(super) value: Value,
}

/// Why a text cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct Broken {
    /// Line in the file, from 1, where known.
    pub(super) line: Option<u64>,
    /// Column, from 1, where known.
    pub(super) column: Option<u64>,
    /// What is wrong.
    pub(super) message: String,
}

/// Reads all documents of a text; the members of a `List` count as documents. Empty ones are left out.
///
/// Scalars are read as `kubectl` reads them (YAML 1.1: `on` and `no` are booleans), so that a file means
/// the same here and in a cluster. A key that stands twice is an error.
pub(super) fn documents(text: &str) -> Result<Vec<Document>, Broken> {
    let bodies: Vec<Spanned<Body>> = serde_saphyr::from_multiple_with_options(text, options())
        .map_err(|error| broken(&error))?;
    let mut documents = Vec::with_capacity(bodies.len());
    for body in bodies {
        body.value.unfold(body.referenced, &mut documents);
    }
    Ok(documents)
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 2 * MAX_NODES,
            max_nodes: MAX_NODES,
            max_documents: usize::MAX,
            // One anchor in every rule of a file is fine; what bombs cost is bounded below.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED,
        },
        legacy_octal_numbers: true,
        with_snippet: false,
    }
}

fn broken(error: &serde_saphyr::Error) -> Broken {
    let location = error.location();
    Broken {
        line: location.map(|at| at.line()),
        column: location.map(|at| at.column()),
        message: error.render_with_formatter(&UserMessageFormatter.with_localizer(&Unplaced)),
    }
}

/// Messages without the place, which has fields of its own.
struct Unplaced;

impl Localizer for Unplaced {
    fn attach_location<'a>(&self, base: Cow<'a, str>, _: Location) -> Cow<'a, str> {
        base
    }
}

/// A document whose `items`, if they are a list, keep their places.
struct Body {
    fields: Value,
    items: Option<Vec<Spanned<Value>>>,
}

impl Body {
    fn unfold(self, at: Location, documents: &mut Vec<Document>) {
        let place = |value, at: Location| Document {
            line: at.line(),
            column: at.column(),
            value,
        };
        let Some(items) = self.items else {
            documents.push(place(self.fields, at));
            return;
        };
        let word = |name: &str| self.fields.get(name).and_then(Value::as_str);
        let Some(kind) = word("kind").and_then(|kind| kind.strip_suffix("List")) else {
            // Some other kind that has a field called `items`.
            let mut fields = self.fields;
            if let Value::Object(fields) = &mut fields {
                let items = items.into_iter().map(|item| item.value).collect();
                fields.insert("items".into(), items);
            }
            documents.push(place(fields, at));
            return;
        };
        let api_version = word("apiVersion").unwrap_or_default().to_owned();
        for item in items {
            let mut value = item.value;
            // The members of a typed list (`IngressList`) need not name their kind.
            if let (Value::Object(fields), false) = (&mut value, kind.is_empty()) {
                fields.entry("kind").or_insert_with(|| kind.into());
                fields
                    .entry("apiVersion")
                    .or_insert_with(|| api_version.as_str().into());
            }
            documents.push(place(value, item.referenced));
        }
    }

    fn plain(fields: Value) -> Self {
        Self {
            fields,
            items: None,
        }
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BodyVisitor)
    }
}

struct BodyVisitor;

impl<'de> Visitor<'de> for BodyVisitor {
    type Value = Body;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a manifest")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body, A::Error> {
        let mut fields = Map::new();
        let mut items = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == "items" {
                match map.next_value::<Items>()? {
                    Items::List(list) => items = Some(list),
                    Items::Other(value) => drop(fields.insert(key, value)),
                }
            } else {
                let value = map.next_value()?;
                fields.insert(key, value);
            }
        }
        Ok(Body {
            fields: Value::Object(fields),
            items,
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Body, A::Error> {
        Value::deserialize(SeqAccessDeserializer::new(seq)).map(Body::plain)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Body, E> {
        Ok(Body::plain(value.into()))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Body, E> {
        Ok(Body::plain(value.into()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Body, E> {
        Ok(Body::plain(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Body, E> {
        Ok(Body::plain(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Body, E> {
        Ok(Body::plain(value.into()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Body, E> {
        Ok(Body::plain(Value::Null))
    }
}

/// The field `items`.
enum Items {
    List(Vec<Spanned<Value>>),
    Other(Value),
}

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemsVisitor)
    }
}

struct ItemsVisitor;

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Items;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the members of a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element()? {
            list.push(item);
        }
        Ok(Items::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Items, A::Error> {
        Value::deserialize(de::value::MapAccessDeserializer::new(map)).map(Items::Other)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Items, E> {
        Ok(Items::Other(value.into()))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Items, E> {
        Ok(Items::Other(value.into()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Items, E> {
        Ok(Items::Other(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Items, E> {
        Ok(Items::Other(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Items, E> {
        Ok(Items::Other(value.into()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Items, E> {
        Ok(Items::Other(Value::Null))
    }
}

#[cfg(test)]
mod tests;
