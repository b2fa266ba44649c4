package main

import (
	"strings"
	"testing"
)

func TestWrongConfigurationIsExplained(t *testing.T) {
	good := "--pod-name=a --cluster=docs --namespace=default --redis-address=r:6379 --postgres-url=postgres://p/c"
	none := func(string) string { return "" }
	if _, err := parse(strings.Fields(good), none); err != nil {
		t.Fatal(err)
	}
	for extra, want := range map[string]string{
		"--shards=100":                    "power of two",
		"--durability=Disk":               "must be one of",
		"--redis-sentinels=a:1":           "one of --redis-sentinels",
		"--redis-address=nowhere":         "must be host:port",
		"--postgres-url=":                 "Set --postgres-url",
		"--pod-name=":                     "Set --pod-name",
		"--namespace=":                    "find the ShardMap",
		"--snapshot-every=0":              "above 0",
		"--max-document-bytes=0":          "--max-document-bytes must be above 0",
		"--max-document-bytes=1000000000": "at most 209715200",
		"--data=/d":                       "leave out",
		"--connections-per-user=0":        "must be above 0",
		"--auth-issuer=a":                 "without keys no token",
		"--webhook-url=https://a":         "must be signed",
		"--webhook-debounce=0s":           "--webhook-debounce must be",
		"--auth-permission-ttl=0s":        "must be above 0",
		"leftover":                        "Unexpected argument",
		"--peer-tls-dir=/x --shardmap-file=/y --cluster=": "peers' certificates",
	} {
		if _, err := parse(strings.Fields(good+" "+extra), none); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", extra, err, want)
		}
	}
}

func TestASingleProcessNeedsNothingButItsDirectory(t *testing.T) {
	c, err := parse([]string{"--data=/d"}, func(string) string { return "" })
	if err != nil || !c.alone() || c.podName == "" || c.internal != "127.0.0.1:8081" {
		t.Fatalf("%+v, %v", c, err)
	}
}

func TestTheEnvironmentFillsFlags(t *testing.T) {
	env := map[string]string{
		"POD_NAME": "a", "POD_NAMESPACE": "n", "COLLAB_CLUSTER": "docs",
		"COLLAB_REDIS_ADDRESS": "r:1", "COLLAB_POSTGRES_URL": "postgres://p/c",
	}
	c, err := parse(nil, func(k string) string { return env[k] })
	if err != nil || c.podName != "a" || c.cluster != "docs" || c.shards != 256 || c.internal != ":8081" {
		t.Fatalf("%+v, %v", c, err)
	}
}
