-- Of which changes the application was told.

-- +goose Up
ALTER TABLE documents ADD COLUMN notified bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN documents.notified IS 'The last operation that the application was told of.';
UPDATE documents SET notified = last_seq; -- It knows by other means of what is there.

-- A column, because an index whose condition looks at last_seq would have every drain write to all indexes.
ALTER TABLE documents ADD COLUMN pending boolean NOT NULL GENERATED ALWAYS AS (last_seq > notified) STORED;
CREATE INDEX documents_pending ON documents (shard, document) WHERE pending;

-- +goose Down
ALTER TABLE documents DROP COLUMN pending, DROP COLUMN notified;
