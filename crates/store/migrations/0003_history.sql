-- What each service was brought to: a row for each up, update and rollback, with who asked for it and how it ended.
-- Rows outlive the version's own row; the oldest go when there are too many. Times are microseconds since the epoch.
CREATE TABLE history (
    service       TEXT NOT NULL REFERENCES services (name) ON DELETE CASCADE,
    sequence      INTEGER NOT NULL,
    kind          TEXT NOT NULL,
    version       INTEGER NOT NULL,
    started_at    INTEGER NOT NULL,
    requested_by  TEXT,
    task_hash     TEXT NOT NULL,
    mode          TEXT NOT NULL,
    outcome       TEXT NOT NULL,
    reason        TEXT,
    ended_at      INTEGER,
    PRIMARY KEY (service, sequence)
) STRICT;

-- What is known of versions accepted before there was a history, but for the one whose rollout is the last: that is
-- written with the next commit.
INSERT INTO history (service, sequence, kind, version, started_at, task_hash, mode, outcome)
SELECT s.name,
       row_number() OVER (PARTITION BY s.name ORDER BY json_extract(v.value, '$.version')),
       CASE json_extract(v.value, '$.version') WHEN 1 THEN 'up' ELSE 'update' END,
       json_extract(v.value, '$.version'),
       json_extract(v.value, '$.accepted_at'),
       json_extract(v.value, '$.task_hash'),
       json_extract(v.value, '$.mode'),
       'unknown'
FROM services AS s, json_each(s.state, '$.versions') AS v
WHERE json_extract(v.value, '$.version') <>
      coalesce(json_extract(s.state, '$.rollout.version'), json_extract(s.state, '$.desired'));
