//! Which lines of a text differ, as `diff` shows them.

/// Texts of more lines than this are not compared: the table of the comparison grows with its square.
const LINES_MAX: usize = 2000;

/// The lines that differ, each behind `- ` or `+ `; `None` where the texts are too long to compare.
pub(crate) fn differing(old: &str, new: &str) -> Option<Vec<String>> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    if old.len() > LINES_MAX || new.len() > LINES_MAX {
        return None;
    }
    // common[i][j]: the most lines that the texts have in common from their lines i and j on.
    let width = new.len() + 1;
    let mut common = vec![0_u16; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == new.len()
            || i < old.len() && common[(i + 1) * width + j] >= common[i * width + j + 1]
        {
            lines.push(format!("- {}", old[i]));
            i += 1;
        } else {
            lines.push(format!("+ {}", new[j]));
            j += 1;
        }
    }
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(old: &str, new: &str) -> String {
        differing(old, new).unwrap().join("|")
    }

    #[test]
    fn only_lines_that_differ_are_shown() {
        assert_eq!(shown("a\nb\nc\n", "a\nx\nc\n"), "- b|+ x");
        assert_eq!(shown("a\nb", "b\nc"), "- a|+ c");
        assert_eq!(shown("", "a\nb"), "+ a|+ b");
        assert_eq!(shown("a\nb", ""), "- a|- b");
        assert_eq!(shown("a", "a"), "");
        assert!(differing(&"x\n".repeat(LINES_MAX + 1), "").is_none());
    }
}
