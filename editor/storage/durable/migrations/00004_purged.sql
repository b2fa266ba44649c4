-- What is left of purged documents.

-- +goose Up
ALTER TABLE documents ADD COLUMN purged timestamptz;
COMMENT ON COLUMN documents.purged IS
    'When the document was purged: its name cannot be written to until it is created anew, or the retention forgets it.';
CREATE INDEX documents_purged ON documents (shard, purged) WHERE purged IS NOT NULL;

-- +goose Down
DELETE FROM documents WHERE purged IS NOT NULL;
ALTER TABLE documents DROP COLUMN purged;
