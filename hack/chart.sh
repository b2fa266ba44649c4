#!/usr/bin/env bash
# chart.sh copies the generated CRDs and the operator's generated role from config/ into the Helm chart.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
files=charts/collab-operator/files
rm -rf "$files"
mkdir -p "$files/crds"
cp config/crd/bases/*.yaml "$files/crds/"
cp config/rbac/role.yaml "$files/role.yaml"
