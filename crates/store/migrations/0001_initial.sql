-- One row per service. `state` is the planner's state, whole; it is the only truth about the service.
CREATE TABLE services (
    name         TEXT PRIMARY KEY,
    incarnation  TEXT NOT NULL,
    revision     INTEGER NOT NULL,
    state        TEXT NOT NULL CHECK (json_valid(state))
) STRICT;

-- What each version asks for. `task` holds secrets: the file is readable by its owner only.
CREATE TABLE versions (
    service      TEXT NOT NULL REFERENCES services (name) ON DELETE CASCADE,
    version      INTEGER NOT NULL,
    task         TEXT NOT NULL CHECK (json_valid(task)),
    yaml         TEXT NOT NULL,
    files        TEXT NOT NULL CHECK (json_valid(files)),
    PRIMARY KEY (service, version)
) STRICT;

-- Actions that a committed step owes and that are not known to be done.
CREATE TABLE actions (
    service      TEXT NOT NULL REFERENCES services (name) ON DELETE CASCADE,
    key          TEXT NOT NULL,
    sequence     INTEGER NOT NULL,
    action       TEXT NOT NULL CHECK (json_valid(action)),
    PRIMARY KEY (service, key)
) STRICT;

-- What happened, for people. Outlives the service, bounded in number.
CREATE TABLE events (
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
    service      TEXT NOT NULL,
    incarnation  TEXT NOT NULL,
    at           INTEGER NOT NULL,
    kind         TEXT NOT NULL,
    replica      INTEGER,
    version      INTEGER,
    message      TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_service ON events (service, sequence);

-- For people with a SQL shell.
CREATE VIEW replicas AS
SELECT s.name AS service,
       json_extract(r.value, '$.id')       AS replica,
       json_extract(r.value, '$.version')  AS version,
       json_extract(r.value, '$.status')   AS status,
       json_extract(r.value, '$.endpoint') AS endpoint,
       json_extract(r.value, '$.reason')   AS reason
FROM services AS s, json_each(s.state, '$.replicas') AS r;
