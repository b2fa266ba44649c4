package postgres

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"

	"sigs.k8s.io/yaml"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
)

// Paths in the pod. The data is in a subfolder of the volume, because PostgreSQL insists on owning its folder.
const (
	dataPath          = "/data"
	dataFolder        = dataPath + "/pgdata"
	runPath           = "/var/run/postgresql"
	configurationPath = "/etc/collab/patroni"
)

// object is a mapping of a configuration file.
type object = map[string]any

// dynamicConfiguration is what all servers share through Patroni's configuration store. Every server that starts
// replaces the store's content by it.
func dynamicConfiguration(cluster *v1alpha1.CollabCluster) object {
	mode := synchronous(cluster)
	parameters := object{
		"max_connections":                     200,
		"shared_buffers":                      "128MB",
		"wal_level":                           "replica",
		"hot_standby":                         "on",
		"wal_log_hints":                       "on",
		"max_wal_senders":                     10,
		"max_replication_slots":               10,
		"wal_keep_size":                       "256MB",
		"password_encryption":                 "scram-sha-256",
		"idle_in_transaction_session_timeout": "60s",
		"tcp_keepalives_idle":                 10,
		"tcp_keepalives_interval":             5,
		"tcp_keepalives_count":                3,
		"log_checkpoints":                     "off",
	}
	for name, value := range choices(cluster).Parameters {
		parameters[name] = string(value)
	}
	return object{
		// The least ttl that Patroni takes is 20. loop_wait + 2 × retry_timeout must not exceed it.
		"ttl":                     20,
		"loop_wait":               5,
		"retry_timeout":           5,
		"maximum_lag_on_failover": 1 << 20,
		// A crashed primary is replaced rather than waited for: recovery may take minutes.
		"primary_start_timeout": 5,
		// Without the API server the primary goes on while it reaches all other servers.
		"failsafe_mode":           true,
		"synchronous_mode":        mode != v1alpha1.SynchronousOff,
		"synchronous_mode_strict": mode == v1alpha1.SynchronousRequired,
		"postgresql": object{
			"use_pg_rewind": true,
			"use_slots":     true,
			"parameters":    parameters,
		},
	}
}

// patroniConfiguration is a server's own configuration. Names, addresses and passwords come from the environment.
func patroniConfiguration(cluster *v1alpha1.CollabCluster) object {
	scope := child.ObjectName(cluster.Name, child.Postgres)
	labels := object{}
	for key, value := range child.Labels(cluster.Name, child.Postgres) {
		labels[key] = value
	}
	return object{
		"scope": scope,
		"restapi": object{
			"listen": "0.0.0.0:8008",
		},
		"kubernetes": object{
			"labels":             labels,
			"scope_label":        scopeLabel,
			"role_label":         roleLabel,
			"leader_label_value": rolePrimary,
			// Endpoints are deprecated: without them Patroni keeps its state in ConfigMaps.
			"use_endpoints": false,
		},
		"bootstrap": object{
			"dcs": dynamicConfiguration(cluster),
			"initdb": []any{
				object{"encoding": "UTF8"},
				object{"locale": "C.UTF-8"},
				object{"auth-host": "scram-sha-256"},
				object{"auth-local": "trust"},
				"data-checksums",
			},
			"post_bootstrap": "/usr/local/bin/collab-postgres-database",
		},
		"postgresql": object{
			"listen":   "0.0.0.0:5432",
			"bin_dir":  "/usr/lib/postgresql/17/bin",
			"data_dir": dataFolder,
			"pgpass":   "/tmp/pgpass",
			"authentication": object{
				"superuser":   object{"username": "postgres"},
				"replication": object{"username": "replication"},
			},
			"parameters": object{"unix_socket_directories": runPath},
			// A new standby waits for the primary's next checkpoint: minutes, unless it asks for one now.
			"basebackup": object{"checkpoint": "fast"},
			"pg_hba": []any{
				"local all postgres trust",
				"host all all 127.0.0.1/32 scram-sha-256",
				"host replication replication all scram-sha-256",
				"host all postgres all scram-sha-256",
				"host collab collab all scram-sha-256",
			},
		},
	}
}

// configurationFiles are the files of the ConfigMap that the pods mount.
func configurationFiles(cluster *v1alpha1.CollabCluster) map[string]string {
	return map[string]string{
		"patroni.yaml": render(patroniConfiguration(cluster)),
		"dynamic.yaml": render(dynamicConfiguration(cluster)),
	}
}

// render writes a configuration with sorted keys, so that equal ones have equal text.
func render(configuration object) string {
	text, err := yaml.Marshal(configuration)
	if err != nil { // Mappings of strings, numbers and booleans cannot fail to encode.
		panic(err)
	}
	return string(text)
}

// hash changes when a file does. It is an annotation of the pods: changed files restart them.
func hash(files map[string]string) string {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		sum.Write([]byte(name + "\x00" + files[name] + "\x00"))
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}
