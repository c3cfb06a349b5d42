//! `sky serve auth list`.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use api::{KeyList, KeyRecord};

use crate::args::AuthListArguments;
use crate::failure::Failure;
use crate::output::table::{self, Cell};
use crate::output::{self, duration};
use crate::server_process;

pub(crate) fn run(arguments: &AuthListArguments) -> Result<ExitCode, Failure> {
    let name = &arguments.service_name;
    server_process::block_on(async {
        let list = server_process::connect_to(name).await?.keys(name).await?;
        if arguments.json {
            let json = serde_json::to_string_pretty(&list);
            output::line(&json.map_err(|error| Failure::Refused(error.to_string()))?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs_f64();
        for line in lines(name, &list, now) {
            output::line(&line)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The table, and who gets in where the table does not say it.
fn lines(service: &str, list: &KeyList, now: f64) -> Vec<String> {
    let mut lines = Vec::new();
    if list.keys.is_empty() {
        lines.push(format!("Service '{service}' has no API keys."));
    } else {
        let rows: Vec<Vec<Cell>> = list.keys.iter().map(|key| row(key, now)).collect();
        lines.push(table::render(&["ID", "NAME", "CREATED", "STATUS"], &rows));
    }
    let usable = list.keys.iter().any(|key| key.revoked_at.is_none());
    if !list.required {
        lines.push("Whoever reaches its endpoint may use it.".to_owned());
    } else if !usable {
        lines.push(format!(
            "Nobody can use its endpoint until a key is made: sky serve auth create {service}"
        ));
    }
    lines
}

fn row(key: &KeyRecord, now: f64) -> Vec<Cell> {
    let name = if key.name.is_empty() { "-" } else { &key.name };
    let status = match key.revoked_at {
        None => "ACTIVE",
        Some(_) => "REVOKED",
    };
    vec![
        Cell::new(&*key.id),
        Cell::new(name),
        Cell::new(duration::relative(key.created_at, now)),
        Cell::new(status),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, name: &str, age: f64, revoked: bool) -> KeyRecord {
        KeyRecord {
            id: id.to_owned(),
            name: name.to_owned(),
            created_at: 1_000_000.0 - age,
            revoked_at: revoked.then_some(999_999.0),
        }
    }

    fn shown(required: bool, keys: Vec<KeyRecord>) -> String {
        lines("web", &KeyList { required, keys }, 1_000_000.0).join("\n")
    }

    #[test]
    fn every_key_is_a_row() {
        let keys = vec![
            key("k-0a1b2c", "ci", 7200.0, false),
            key("k-ffffff", "", 120.0, true),
        ];
        let expected = "\
ID        NAME  CREATED      STATUS   \n\
k-0a1b2c  ci    2 hrs ago    ACTIVE   \n\
k-ffffff  -     2 mins ago   REVOKED  ";
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(&shown(true, keys)), squeezed(expected));
    }

    #[test]
    fn who_gets_in_is_said_where_no_key_says_it() {
        assert_eq!(
            shown(false, Vec::new()),
            "Service 'web' has no API keys.\nWhoever reaches its endpoint may use it."
        );
        assert_eq!(
            shown(true, Vec::new()),
            "Service 'web' has no API keys.\n\
             Nobody can use its endpoint until a key is made: sky serve auth create web"
        );
        let revoked = shown(true, vec![key("k-0a1b2c", "ci", 60.0, true)]);
        assert!(revoked.ends_with("sky serve auth create web"), "{revoked}");
    }
}
