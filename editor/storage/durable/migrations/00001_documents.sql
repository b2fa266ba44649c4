-- Every table carries the shard first in its primary key, so that the tables can be distributed by it.

-- +goose Up
CREATE TABLE shards (
    shard      integer     PRIMARY KEY,
    epoch      bigint      NOT NULL,
    owner      text        NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE shards IS 'The highest epoch of each shard: writes of a lower one are refused.';

CREATE TABLE operations (
    shard     integer     NOT NULL,
    document  text        NOT NULL,
    seq       bigint      NOT NULL,
    epoch     bigint      NOT NULL,
    time      timestamptz NOT NULL,
    user_name text        NOT NULL,
    update    bytea       NOT NULL,
    PRIMARY KEY (shard, document, seq)
);
COMMENT ON TABLE operations IS 'Every change of every document, in Yjs''s update format v1.';

CREATE TABLE snapshots (
    shard    integer     NOT NULL,
    document text        NOT NULL,
    seq      bigint      NOT NULL,
    epoch    bigint      NOT NULL,
    time     timestamptz NOT NULL,
    state    bytea       NOT NULL,
    PRIMARY KEY (shard, document)
);
COMMENT ON TABLE snapshots IS 'The newest snapshot of each document: its state after operation seq.';

-- +goose Down
DROP TABLE snapshots, operations, shards;
