-- The API keys of each service's endpoint, revoked ones too: that there ever was one keeps authentication on. A key
-- itself is nowhere; `hash` is its BLAKE3. Times are microseconds since the epoch.
CREATE TABLE api_keys (
    service      TEXT NOT NULL REFERENCES services (name) ON DELETE CASCADE,
    id           TEXT NOT NULL,
    name         TEXT NOT NULL,
    hash         TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    revoked_at   INTEGER,
    PRIMARY KEY (service, id)
) STRICT;
