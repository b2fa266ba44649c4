#!/usr/bin/env bash
# build.sh [image...] builds images from images/*/Dockerfile with buildah, no daemon and no registry, and leaves each
# as an archive that the nodes import. The build context is the repository; the programs of operator and editor are
# taken from bin/ (make build). Unchanged layers come from the cache, unchanged images are not archived again.
# Without arguments it builds all; the nodes' sandbox image, pause, is always built.
source "$(dirname "${BASH_SOURCE[0]}")/catalog.sh"

# build NAME IMAGE DOCKERFILE CONTEXT
build() {
	local id old started=$SECONDS output
	output=$(mktemp)
	if ! buildah_ build --quiet --layers --isolation chroot --network host \
		--file "$3" --tag "$2" "$4" >"$output" 2>&1; then
		tail -n 40 "$output" >&2
		rm "$output"
		die "the image $2 could not be built (the end of its output is above)" \
			"fix $3; a Debian package that cannot be fetched means that there is no network"
	fi
	id=$(tail -n 1 "$output")
	rm "$output"
	[[ -s $archives/$1.tar && $(cat "$archives/$1.id" 2>/dev/null) == "$id" ]] && return
	# The image that had the tag before has no name now and would stay for ever.
	old=$(cat "$archives/$1.id" 2>/dev/null || true)
	[[ -z $old || $old == "$id" ]] || buildah_ rmi "$old" >/dev/null 2>&1 || true
	# Archives of kind docker-archive hold layers uncompressed: they are read a moment later on the same machine.
	rm -f "$archives/$1.id" "$archives/$1.tar"
	buildah_ push --quiet "$2" "docker-archive:$archives/$1.tar:$2"
	printf '%s\n' "$id" >"$archives/$1.id"
	note "$2 ($(du -m "$archives/$1.tar" | cut -f1) MB) in $((SECONDS - started)) s"
}

[[ $# -gt 0 ]] || set -- "${images[@]}"
mkdir -p "$archives"
exec 9>"$archives/.lock"
flock 9
"$(dirname "${BASH_SOURCE[0]}")/base.sh"
build pause "$sandbox_image" "$local_cluster_dir/modules/pause/Dockerfile" "$bin"
for name in "$@"; do
	[[ $name != pause ]] || continue
	[[ -f $repository/images/$name/Dockerfile ]] ||
		die "there is no images/$name/Dockerfile" "choose from: ${images[*]}"
	if grep -q "^COPY bin/$name " "$repository/images/$name/Dockerfile" && [[ ! -x $repository/bin/$name ]]; then
		die "bin/$name, which goes into the image $name, does not exist" "run make build"
	fi
	build "$name" "$(image_name "$name")" "$repository/images/$name/Dockerfile" "$repository"
done
