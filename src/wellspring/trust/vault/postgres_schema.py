"""The tables of the enclave's database, and the queries of a listing and of the outbox."""

from __future__ import annotations

VAULT_SCHEMA = """
CREATE TABLE IF NOT EXISTS drops (
    id text PRIMARY KEY, source text NOT NULL, name text NOT NULL, record jsonb NOT NULL, modified timestamptz NOT NULL,
    original_digest text NOT NULL, wrapped_key text, retention_until timestamptz NOT NULL, identity text NOT NULL,
    UNIQUE (source, name));
CREATE TABLE IF NOT EXISTS admissions (
    drop_id text NOT NULL REFERENCES drops, replay_number integer NOT NULL, contract_digest text NOT NULL,
    known_since timestamptz NOT NULL, counts jsonb NOT NULL,
    settled boolean NOT NULL DEFAULT false, excluded bytea NOT NULL DEFAULT '',
    PRIMARY KEY (drop_id, replay_number));
CREATE TABLE IF NOT EXISTS quarantine (
    drop_id text NOT NULL REFERENCES drops, row_number bigint NOT NULL, sealed bytea NOT NULL, reasons jsonb NOT NULL,
    replay_number integer, PRIMARY KEY (drop_id, row_number));
CREATE TABLE IF NOT EXISTS token_keys (
    domain text NOT NULL, version integer NOT NULL, wrapped_key text NOT NULL, PRIMARY KEY (domain, version));
CREATE TABLE IF NOT EXISTS contracts (
    accepted_order bigint GENERATED ALWAYS AS IDENTITY, digest text PRIMARY KEY, name text NOT NULL,
    record jsonb NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
    position bigint GENERATED ALWAYS AS IDENTITY, key text PRIMARY KEY, record bytea NOT NULL, mac bytea NOT NULL,
    published boolean NOT NULL DEFAULT false);
CREATE TABLE IF NOT EXISTS forged_outbox (position bigint, key text, record bytea, mac bytea, published boolean);
CREATE TABLE IF NOT EXISTS people (
    token text NOT NULL, tenant text NOT NULL, domain text NOT NULL, key_version integer NOT NULL, wrapped_key bytea,
    sealed bytea NOT NULL, drop_id text NOT NULL, PRIMARY KEY (token, tenant));
CREATE TABLE IF NOT EXISTS people_keys (version integer PRIMARY KEY, wrapped_key text NOT NULL);
ALTER TABLE drops ADD COLUMN IF NOT EXISTS person_column text;
ALTER TABLE drops ADD COLUMN IF NOT EXISTS withdrawn_at timestamptz;
ALTER TABLE drops ADD COLUMN IF NOT EXISTS rejudgements integer NOT NULL DEFAULT 0;
CREATE INDEX IF NOT EXISTS drops_by_digest ON drops (source, (record->>'digest'));
CREATE INDEX IF NOT EXISTS outbox_pending ON outbox (position) WHERE NOT published;
CREATE INDEX IF NOT EXISTS drops_with_key ON drops (retention_until) WHERE wrapped_key IS NOT NULL;
"""

_IS_FINISHED = """a.settled AND ((a.counts->>'admitted')::bigint = 0
    OR EXISTS (SELECT FROM outbox o WHERE o.key = 'settle/' || d.id || '/0'))"""
"""Whether a drop is published, or has nothing to publish; a part is settled too when it was discarded."""
FINISHED_FILES = f"""
SELECT d.name, (d.record->>'size')::bigint AS size, d.modified, d.identity
FROM drops d LEFT JOIN admissions a ON a.drop_id = d.id AND a.replay_number = 0
WHERE d.source = %s AND (d.withdrawn_at IS NOT NULL OR {_IS_FINISHED})
"""  # noqa: S608 (fixed text)
UNFINISHED_DROPS = f"""
SELECT d.*, a.settled IS NOT NULL AS admitted, coalesce(a.settled, false) AS settled
FROM drops d LEFT JOIN admissions a ON a.drop_id = d.id AND a.replay_number = 0
WHERE d.source = %s AND d.withdrawn_at IS NULL AND NOT coalesce({_IS_FINISHED}, false)
"""  # noqa: S608 (fixed text)
PENDING_ROWS = """
SELECT ctid::text AS place, position, left(key, 1000) AS key, substr(mac, 1, 33) AS mac,
    CASE WHEN octet_length(record) <= %s THEN record END AS record
FROM outbox WHERE NOT published ORDER BY position LIMIT %s
"""
"""Of what somebody else may have written, never more than this is read at once."""
MOVE_FORGED_ROWS = """
WITH moved AS (DELETE FROM outbox WHERE ctid = ANY(%s::tid[]) AND NOT published RETURNING *)
INSERT INTO forged_outbox SELECT * FROM moved
"""
