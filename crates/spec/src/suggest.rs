//! The nearest known name to one that is not known.

/// Least similarity at which a name is worth suggesting: 0 is nothing in common, 1 is equal.
/// Python's `difflib.get_close_matches` uses the same, so SkyPilot's users get the suggestions they
/// know.
const SIMILARITY_MIN: f64 = 0.6;

/// The candidate most like `word`, when one is like enough.
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    // Long text is never a misspelt name, and similarity takes time cubic in the length.
    if word.chars().count() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates {
        let score = similarity(&word, &candidate.to_lowercase());
        if score >= SIMILARITY_MIN && best.is_none_or(|(known, _)| score > known) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Ratcliff and Obershelp's measure: twice the characters in matching blocks over all characters.
fn similarity(left: &str, right: &str) -> f64 {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let total = left.len() + right.len();
    if total == 0 {
        return 1.0;
    }
    2.0 * matching(&left, &right) as f64 / total as f64
}

/// Characters in the longest common block, and on both sides of it.
fn matching(left: &[char], right: &[char]) -> usize {
    let (mut start_left, mut start_right, mut length) = (0, 0, 0);
    let mut previous = vec![0_usize; right.len() + 1];
    for (at_left, character) in left.iter().enumerate() {
        let mut current = vec![0_usize; right.len() + 1];
        for (at_right, other) in right.iter().enumerate() {
            if character == other {
                let run = previous[at_right] + 1;
                current[at_right + 1] = run;
                if run > length {
                    (start_left, start_right, length) =
                        (at_left + 1 - run, at_right + 1 - run, run);
                }
            }
        }
        previous = current;
    }
    if length == 0 {
        return 0;
    }
    length
        + matching(&left[..start_left], &right[..start_right])
        + matching(&left[start_left + length..], &right[start_right + length..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["min_replicas", "max_replicas", "ports", "tls"];
        assert_eq!(nearest("min_replica", known), Some("min_replicas"));
        assert_eq!(nearest("port", known), Some("ports"));
        assert_eq!(nearest("MIN_REPLICAS", known), Some("min_replicas"));
        assert_eq!(nearest("controller_resources", known), None);
        assert_eq!(nearest(&"p".repeat(100_000), known), None);
    }
}
