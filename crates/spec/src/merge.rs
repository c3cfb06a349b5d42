//! Merge keys: `<<: *defaults`.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use crate::node::{Entry, Node, Value};
use crate::source::Span;

/// Fills the mappings of merge keys into a mapping, in PyYAML's order: merged keys first; own keys
/// win over merged ones, and earlier mappings over later ones. An error is the place of something
/// that cannot be merged.
pub(crate) fn merge(own: Vec<Entry>, merges: Vec<Node>) -> Result<Vec<Entry>, Span> {
    if merges.is_empty() {
        return Ok(own);
    }
    let mut sources = Vec::new();
    for node in merges {
        let span = node.span;
        match node.value {
            Value::Map(entries) => sources.push(entries),
            Value::Seq(items) => {
                for item in items {
                    let Value::Map(entries) = item.value else {
                        return Err(span);
                    };
                    sources.push(entries);
                }
            }
            _ => return Err(span),
        }
    }
    let mut merged: Vec<Entry> = Vec::new();
    let mut places = HashMap::new();
    for entry in sources.into_iter().rev().flatten().chain(own) {
        match places.entry((entry.key.kind(), entry.key.json_key())) {
            Slot::Occupied(place) => {
                if let Some(known) = merged.get_mut(*place.get()) {
                    *known = entry;
                }
            }
            Slot::Vacant(place) => {
                place.insert(merged.len());
                merged.push(entry);
            }
        }
    }
    Ok(merged)
}
