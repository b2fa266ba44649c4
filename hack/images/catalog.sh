# shellcheck shell=bash
# catalog.sh: what the scripts that build images agree on. Sourced, never run.
# shellcheck disable=SC2034  # The variables are used by the scripts that source this one.
source "$(dirname "${BASH_SOURCE[0]}")/../local-cluster/settings.sh"
# shellcheck source=../local-cluster/messages.sh
source "$local_cluster_dir/messages.sh"

# The images of images/, in the order of building, and their tags: what we release carries our version, what we
# package carries the major version of what is in it.
images=(operator editor haproxy redis postgres)
declare -A image_tag=([operator]=dev [editor]=dev [haproxy]=3 [redis]=8 [postgres]=17)
image_name() { printf 'collab.dev/%s:%s' "$1" "${image_tag[$1]}"; }

# Archives that nodes import; archives/NAME.id holds the id of the image that NAME.tar was made from.
archives=$cache/images

# buildah with its storage and its settings in the cache folder, so that nothing of ours is among the machine's own
# containers.
buildah_() {
	if [[ ! -f $cache/containers/containers.conf ]]; then
		mkdir -p "$cache/containers/networks"
		printf '[network]\nnetwork_config_dir = "%s"\n' "$cache/containers/networks" >"$cache/containers/containers.conf"
	fi
	CONTAINERS_CONF=$cache/containers/containers.conf \
		buildah --root "$cache/containers/storage" --runroot "$cache/containers/run" --storage-driver overlay "$@"
}
