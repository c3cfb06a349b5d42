//! `resources.ports`: ports, ranges and lists, simplified.

use super::Sink;
use crate::node::{Node, Value};

const PATH: &str = "resources.ports";

/// Reads `ports`: a port, a range `8000-8010`, a comma-separated string, or a list of those. The
/// result is sorted, without duplicates, neighbours joined to ranges; empty when no port is named.
/// `None` when something was wrong.
pub(crate) fn decode(sink: &mut Sink<'_>, node: &Node) -> Option<Vec<String>> {
    let items = match &node.value {
        Value::Null => return Some(Vec::new()),
        Value::Seq(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let mut ranges = Vec::new();
    let mut valid = true;
    for item in items {
        let text = match &item.value {
            Value::Int(number) => number.to_string(),
            Value::Str(text) => text.clone(),
            Value::Float(_) => {
                valid = refuse(sink, item, "a port is a whole number");
                continue;
            }
            _ => {
                sink.wrong_type(item, PATH, "a port or a range of ports");
                valid = false;
                continue;
            }
        };
        for token in text
            .split(',')
            .map(str::trim)
            .filter(|token| !token.is_empty())
        {
            match range(token) {
                Ok(range) => ranges.push(range),
                Err(reason) => valid = refuse(sink, item, reason),
            }
        }
    }
    valid.then(|| simplify(ranges))
}

fn refuse(sink: &mut Sink<'_>, item: &Node, reason: &str) -> bool {
    let shown = item
        .shown()
        .map_or_else(|| "this value".to_owned(), |shown| format!("`{shown}`"));
    let message = format!("{} is not a port: {reason}", shown.replace('"', ""));
    sink.error("invalid-port", item, PATH, message);
    false
}

fn range(token: &str) -> Result<(u16, u16), &'static str> {
    const HINT: &str = "write a number from 1 to 65535, or a range such as 8000-8010";
    let port = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>()
            .ok()
            .filter(|port| digits && *port > 0)
            .ok_or(HINT)
    };
    let Some((first, last)) = token.split_once('-') else {
        let port = port(token)?;
        return Ok((port, port));
    };
    let (first, last) = (port(first)?, port(last)?);
    if first <= last {
        Ok((first, last))
    } else {
        Err("the range ends before it starts")
    }
}

/// Sorted, overlapping and neighbouring ranges joined.
fn simplify(mut ranges: Vec<(u16, u16)>) -> Vec<String> {
    ranges.sort_unstable();
    let mut joined: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match joined.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => joined.push((first, last)),
        }
    }
    let text = |(first, last): (u16, u16)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    };
    joined.into_iter().map(text).collect()
}

/// Whether a port is in a simplified list.
pub(crate) fn contains(ports: &[String], port: u16) -> bool {
    ports
        .iter()
        .filter_map(|text| range(text).ok())
        .any(|(first, last)| (first..=last).contains(&port))
}

/// Every port of a simplified list, ascending.
pub(crate) fn expand(ports: &[String]) -> impl Iterator<Item = u16> {
    ports
        .iter()
        .filter_map(|text| range(text).ok())
        .flat_map(|(first, last)| first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_become_ranges() {
        let ranges = vec![
            (7, 8),
            (3, 3),
            (1, 2),
            (2, 2),
            (5, 5),
            (65534, 65535),
            (65535, 65535),
        ];
        let simple = simplify(ranges);
        assert_eq!(simple, ["1-3", "5", "7-8", "65534-65535"]);
        assert_eq!(
            expand(&simple).collect::<Vec<_>>(),
            [1, 2, 3, 5, 7, 8, 65534, 65535]
        );
    }
}
