//! Brings a database to the newest schema: numbered SQL files, each applied once, in its own transaction, with a
//! checksum so that an edited one is noticed. Migrations only go forward; a database from a newer program is refused.

use rusqlite::Connection;

use crate::StoreError;

const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "initial", include_str!("../migrations/0001_initial.sql")),
    (
        2,
        "api_keys",
        include_str!("../migrations/0002_api_keys.sql"),
    ),
    (3, "history", include_str!("../migrations/0003_history.sql")),
];

pub(crate) fn migrate(connection: &mut Connection, path: &str) -> Result<(), StoreError> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS migrations (
             number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL
         ) STRICT;",
    )?;
    let applied: Vec<(i64, String)> = connection
        .prepare("SELECT number, checksum FROM migrations ORDER BY number")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let refuse = |problem: String| StoreError::Schema {
        path: path.to_owned(),
        problem,
    };
    for (number, checksum) in &applied {
        match MIGRATIONS.iter().find(|(known, ..)| known == number) {
            None => {
                return Err(refuse(format!(
                    "it has migration {number}, made by a newer sky"
                )));
            }
            Some((_, name, sql)) if *checksum != fingerprint(sql) => {
                return Err(refuse(format!(
                    "migration {number} ({name}) was changed after it was applied"
                )));
            }
            Some(_) => {}
        }
    }
    for (number, name, sql) in MIGRATIONS {
        if applied.iter().any(|(known, _)| known == number) {
            continue;
        }
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.execute(
            "INSERT INTO migrations (number, name, checksum) VALUES (?1, ?2, ?3)",
            (number, name, fingerprint(sql)),
        )?;
        transaction.commit()?;
    }
    Ok(())
}

/// FNV-1a: enough to notice an accident, which is all it is for.
fn fingerprint(sql: &str) -> String {
    let hash = sql.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}
