package embedded_test

import (
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	"collab.dev/operator/editor/storage/embedded"
	"collab.dev/operator/editor/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheEmbeddedStoreDoesWhatEveryStoreMust(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storagetest.Open {
		directory := t.TempDir()
		return func(t *testing.T, config storagetest.Config) storagetest.Store {
			store, err := embedded.Open(embedded.Options{
				Directory: directory, Shards: storagetest.Shards(), History: config.History, Now: config.Now, BufferBytes: config.BufferBytes,
				Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			return store
		}
	})
}
