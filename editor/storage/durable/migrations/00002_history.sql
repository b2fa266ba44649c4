-- The catalogue of documents, their history, and operations that are partitioned by time. Every table carries the shard
-- first in its primary key, so that the tables can be distributed by it.

-- +goose Up
ALTER TABLE shards ADD COLUMN term bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN shards.term IS 'Rises with each opening of the shard, even at the same epoch: the fencing token.';

-- What is there becomes the first partition, up to the end of the month; what is later goes to the default one.
ALTER TABLE operations ADD COLUMN origin text NOT NULL DEFAULT '';
ALTER TABLE operations DROP CONSTRAINT operations_pkey;
ALTER TABLE operations RENAME TO operations_first;
ALTER TABLE operations_first ADD PRIMARY KEY (shard, document, seq, time);

CREATE TABLE operations (
    shard     integer     NOT NULL,
    document  text        NOT NULL,
    seq       bigint      NOT NULL,
    epoch     bigint      NOT NULL,
    time      timestamptz NOT NULL,
    user_name text        NOT NULL,
    update    bytea       NOT NULL,
    origin    text        NOT NULL DEFAULT '',
    PRIMARY KEY (shard, document, seq, time)
) PARTITION BY RANGE (time);
COMMENT ON TABLE operations IS 'The changes of the documents, in Yjs''s update format v1, as far back as is kept.';

CREATE TABLE operations_other PARTITION OF operations DEFAULT;
COMMENT ON TABLE operations_other IS
    'Operations whose time is beyond all partitions, and those of dropped partitions that no snapshot contains.';

-- +goose StatementBegin
DO $$
DECLARE
    month_end timestamptz := (date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
BEGIN
    WITH late AS (DELETE FROM operations_first WHERE time >= month_end RETURNING *)
    INSERT INTO operations SELECT * FROM late;
    EXECUTE format('ALTER TABLE operations ATTACH PARTITION operations_first FOR VALUES FROM (MINVALUE) TO (%L)',
        month_end);
END $$;
-- +goose StatementEnd

CREATE TABLE documents (
    shard     integer          NOT NULL,
    document  text COLLATE "C" NOT NULL,
    org       text COLLATE "C" NOT NULL,
    title     text             NOT NULL DEFAULT '',
    metadata  jsonb            NOT NULL DEFAULT '{}',
    version   bigint           NOT NULL DEFAULT 1,
    created   timestamptz      NOT NULL,
    updated   timestamptz      NOT NULL,
    deleted   timestamptz,
    last_seq  bigint           NOT NULL DEFAULT 0,
    last_time timestamptz,
    dropped   bigint           NOT NULL DEFAULT 0,
    PRIMARY KEY (shard, document)
) WITH (fillfactor = 80);
CREATE INDEX documents_by_name ON documents (org, document);
COMMENT ON TABLE documents IS 'What is known of each document besides its content.';
COMMENT ON COLUMN documents.dropped IS 'The last operation that retention has dropped.';

INSERT INTO documents (shard, document, org, created, updated, last_seq, last_time)
SELECT shard, document, split_part(document, '/', 1), min(time), max(time), max(seq), max(time)
FROM (
    SELECT shard, document, seq, time FROM operations UNION ALL SELECT shard, document, seq, time FROM snapshots
) known
GROUP BY shard, document;

CREATE TABLE bases (
    shard    integer          NOT NULL,
    document text COLLATE "C" NOT NULL,
    seq      bigint           NOT NULL,
    time     timestamptz      NOT NULL,
    state    bytea            NOT NULL,
    PRIMARY KEY (shard, document, seq)
);
COMMENT ON TABLE bases IS 'Older snapshots, from which the history is replayed.';

CREATE TABLE versions (
    shard     integer          NOT NULL,
    document  text COLLATE "C" NOT NULL,
    seq       bigint           NOT NULL,
    name      text             NOT NULL,
    user_name text             NOT NULL,
    created   timestamptz      NOT NULL,
    state     bytea            NOT NULL,
    PRIMARY KEY (shard, document, seq)
);
COMMENT ON TABLE versions IS 'Named versions. Those with a state outlive the operations.';

CREATE TABLE quarantine (
    shard  integer     NOT NULL,
    id     text        NOT NULL,
    record bytea       NOT NULL,
    found  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard, id)
);
COMMENT ON TABLE quarantine IS 'Records of the log that could not be read, for people to look at. The id is their place in it.';

-- +goose Down
DROP TABLE quarantine, versions, bases, documents;
CREATE TABLE operations_plain (LIKE operations);
INSERT INTO operations_plain SELECT DISTINCT ON (shard, document, seq) * FROM operations;
DROP TABLE operations;
ALTER TABLE operations_plain RENAME TO operations;
ALTER TABLE operations DROP COLUMN origin, ADD PRIMARY KEY (shard, document, seq);
ALTER TABLE shards DROP COLUMN term;
