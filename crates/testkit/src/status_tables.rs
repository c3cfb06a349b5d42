//! A strict reader of what `sky serve status` prints: the headings, the columns, and cells that stand exactly where
//! their column does.

use std::collections::BTreeMap;

const SERVICE_COLUMNS: [&str; 6] = [
    "NAME", "VERSION", "UPTIME", "STATUS", "REPLICAS", "ENDPOINT",
];
const REPLICA_COLUMNS: [&str; 8] = [
    "SERVICE_NAME",
    "ID",
    "VERSION",
    "ENDPOINT",
    "LAUNCHED",
    "INFRA",
    "RESOURCES",
    "STATUS",
];
/// Blanks behind the widest cell of a column.
const GAP: usize = 2;

/// The cells of a row by the title of their column.
pub type Row = BTreeMap<&'static str, String>;

/// What `sky serve status` printed.
#[derive(Clone, Debug, Default)]
pub struct StatusTables {
    /// The first table.
    pub services: Vec<Row>,
    /// The second table.
    pub replicas: Vec<Row>,
    /// The lines below.
    pub notes: Vec<String>,
    text: String,
}

impl StatusTables {
    /// Reads the output.
    ///
    /// # Panics
    /// When it is not exactly of that form; the panic shows it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        assert!(
            !text.contains('\x1b'),
            "colours where there is no terminal:\n{text}"
        );
        let mut lines = text.lines();
        let mut tables = Self {
            text: text.to_owned(),
            ..Self::default()
        };
        assert_eq!(lines.next(), Some("Services"), "{text}");
        let table: Vec<&str> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        tables.services = read(&SERVICE_COLUMNS, &table, text);
        assert_eq!(lines.next(), Some("Service Replicas"), "{text}");
        let table: Vec<&str> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        if table != ["No existing replicas."] {
            tables.replicas = read(&REPLICA_COLUMNS, &table, text);
        }
        tables.notes = lines.map(str::to_owned).collect();
        tables.check_cells();
        tables
    }

    /// The row of the one service.
    ///
    /// # Panics
    /// When there are none or several.
    #[must_use]
    pub fn service(&self) -> &Row {
        let [row] = self.services.as_slice() else {
            panic!("not one service:\n{}", self.text);
        };
        row
    }

    /// `(ID, VERSION, STATUS)` of each replica, as shown.
    #[must_use]
    pub fn replicas(&self) -> Vec<(&str, &str, &str)> {
        let rows = self.replicas.iter();
        rows.map(|row| (&*row["ID"], &*row["VERSION"], status_word(row)))
            .collect()
    }

    /// Asserts VERSION, STATUS and REPLICAS of the one service.
    ///
    /// # Panics
    /// When they differ; the panic shows the tables.
    pub fn assert_service(&self, version: &str, status: &str, replicas: &str) {
        let row = self.service();
        let shown = (&*row["VERSION"], &*row["STATUS"], &*row["REPLICAS"]);
        assert_eq!(shown, (version, status, replicas), "\n{}", self.text);
    }

    /// Asserts ID, VERSION and STATUS of every replica, in the order of the table.
    ///
    /// # Panics
    /// When they differ; the panic shows the tables.
    pub fn assert_replicas(&self, expected: &[(&str, &str, &str)]) {
        assert_eq!(self.replicas(), expected, "\n{}", self.text);
    }

    /// What cells may look like, whatever their values.
    fn check_cells(&self) {
        for row in &self.services {
            let uptime = &row["UPTIME"];
            let good = uptime == "-" || uptime == "< 1s" || uptime.split(' ').all(is_duration);
            assert!(good, "UPTIME {uptime:?}:\n{}", self.text);
            let (ready, total) = row["REPLICAS"].split_once('/').unwrap_or_default();
            let numbers = (ready.parse::<u32>(), total.parse::<u32>());
            assert!(
                matches!(numbers, (Ok(ready), Ok(total)) if ready <= total),
                "{}",
                self.text
            );
            assert!(row["ENDPOINT"].starts_with("127.0.0.1:3"), "{}", self.text);
        }
        for row in &self.replicas {
            let launched = &row["LAUNCHED"];
            let good = launched == "-" || launched == "< 1 sec" || launched.ends_with(" ago");
            assert!(good, "LAUNCHED {launched:?}:\n{}", self.text);
            let endpoint = &row["ENDPOINT"];
            let good = endpoint == "-" || endpoint.starts_with("http://");
            assert!(good, "ENDPOINT {endpoint:?}:\n{}", self.text);
            let ready = status_word(row) == "READY";
            assert!(
                !ready || endpoint != "-",
                "READY without an endpoint:\n{}",
                self.text
            );
            assert!(!ready || row["INFRA"] == "Local", "INFRA:\n{}", self.text);
            assert!(
                !ready || row["RESOURCES"].starts_with("1x("),
                "RESOURCES:\n{}",
                self.text
            );
        }
    }
}

/// The status without what PROVISIONING adds in brackets.
fn status_word(row: &Row) -> &str {
    row["STATUS"].split(' ').next().unwrap_or_default()
}

fn is_duration(part: &str) -> bool {
    let digits = part.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    digits.parse::<u64>().is_ok() && matches!(&part[digits.len()..], "s" | "m" | "h" | "d")
}

/// Reads a table whose columns are as wide as their widest cell and the gap.
fn read(columns: &[&'static str], lines: &[&str], text: &str) -> Vec<Row> {
    let (header, rows) = lines.split_first().expect("a header");
    let shown: Vec<&str> = header.split_whitespace().collect();
    assert_eq!(shown, columns, "other columns:\n{text}");
    let mut starts: Vec<usize> = Vec::new();
    for column in columns {
        // VERSION begins where a word begins; no title is part of another in both tables.
        let from = starts.last().map_or(0, |last| last + 1);
        let at = header[from..].find(column).expect("just seen") + from;
        starts.push(at);
    }
    let width = header.len();
    rows.iter()
        .map(|line| {
            assert_eq!(
                line.len(),
                width,
                "a row of another width: {line:?}\n{text}"
            );
            let ends = starts.iter().skip(1).chain([&width]);
            let cells = columns.iter().zip(starts.iter().zip(ends));
            cells
                .map(|(column, (start, end))| {
                    let cell = &line[*start..*end];
                    assert!(
                        cell.ends_with(&" ".repeat(GAP)),
                        "{column} {cell:?} has no gap:\n{text}"
                    );
                    assert!(
                        !cell.starts_with(' '),
                        "{column} {cell:?} is not to the left:\n{text}"
                    );
                    (*column, cell.trim_end().to_owned())
                })
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Services\n\
        NAME  VERSION  UPTIME  STATUS  REPLICAS  ENDPOINT         \n\
        web   1,2      1m 41s  READY   1/2       127.0.0.1:30001  \n\
        \n\
        Service Replicas\n\
        SERVICE_NAME  ID  VERSION  ENDPOINT              LAUNCHED    INFRA  RESOURCES  STATUS                    \n\
        web           1   1        http://10.0.0.1:8081  2 mins ago  Local  1x(-)      READY                     \n\
        web           2   2        -                     -           -      -          PROVISIONING (preparing)  \n\
        \n\
        Updating to version 2 (rolling): 0 of 2 new replicas ready\n";

    #[test]
    fn cells_are_found_by_their_columns() {
        let tables = StatusTables::parse(GOOD);
        tables.assert_service("1,2", "READY", "1/2");
        tables.assert_replicas(&[("1", "1", "READY"), ("2", "2", "PROVISIONING")]);
        assert_eq!(tables.notes.len(), 1);
    }

    #[test]
    fn a_cell_out_of_its_column_is_refused() {
        let torn = GOOD.replace("web   1,2      1m 41s", "web   1,2        1m 41s");
        assert!(std::panic::catch_unwind(|| StatusTables::parse(&torn)).is_err());
        let torn = GOOD.replace("VERSION  UPTIME", "VERSIONS UPTIME");
        assert!(std::panic::catch_unwind(|| StatusTables::parse(&torn)).is_err());
    }
}
