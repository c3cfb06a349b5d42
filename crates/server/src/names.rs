//! Names of services.

/// The longest name: it becomes part of file names and of names that kernels limit.
const MAX_LENGTH: usize = 63;

/// Checks a service name against SkyServe's rule: a letter, then letters, digits, `-`, `_`, `.`, ending in a letter
/// or digit.
///
/// # Errors
/// A sentence that says what is wrong.
pub(crate) fn check(name: &str) -> Result<(), String> {
    let letter_first = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let good_end = name.ends_with(|c: char| c.is_ascii_alphanumeric());
    let good = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !letter_first || !good_end || !good {
        return Err(format!(
            "Service name '{}' is invalid: it must start with a letter, end with a letter or digit, and \
             contain only letters, digits, '-', '_' and '.'.",
            name.escape_debug()
        ));
    }
    if name.len() > MAX_LENGTH {
        return Err(format!(
            "Service name '{name}' is too long: {} characters, at most {MAX_LENGTH} are allowed.",
            name.len()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_skyserve_accepts() {
        for name in ["a", "http-server", "llama3_2", "Qwen2.5", "a1"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn refuses_what_could_escape_or_confuse() {
        for name in [
            "",
            "1a",
            "-a",
            "a-",
            "a/b",
            "..",
            "a b",
            "ä",
            "a\n",
            "a.",
            &"a".repeat(64),
        ] {
            assert!(check(name).is_err(), "{name}");
        }
    }
}
