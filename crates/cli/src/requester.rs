//! Who runs this command, for the history: the person behind `sudo`, else the owner of the process.

use std::fs;

/// The user's name; `uid N` where nobody knows it.
pub(crate) fn name() -> String {
    let uid = rustix::process::getuid();
    if uid.is_root()
        && let Some(behind) = std::env::var("SUDO_USER")
            .ok()
            .filter(|name| !name.is_empty())
    {
        return behind;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let uid = uid.as_raw();
    in_passwd(&users, uid)
        .map(str::to_owned)
        // Where users come from a directory service the login tells the name.
        .or_else(|| std::env::var("USER").ok().filter(|name| !name.is_empty()))
        .unwrap_or_else(|| format!("uid {uid}"))
}

fn in_passwd(users: &str, uid: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _password, id) = (fields.next()?, fields.next()?, fields.next()?);
        (id.parse() == Ok(uid) && !name.is_empty()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1000:Ann:/home/ann:/bin/sh\n";
        assert_eq!(in_passwd(users, 0), Some("root"));
        assert_eq!(in_passwd(users, 1000), Some("ann"));
        assert_eq!(in_passwd(users, 1001), None);
        assert_eq!(in_passwd("", 0), None);
    }
}
