# shellcheck shell=bash
# shellcheck disable=SC2154  # The settings are those of settings.sh.
# nodes.sh: starts and stops the nodes and puts images into them. Sourced, never run.
#
# A node is a tree of processes in a network, a mount and a process namespace of its own (node.sh is its process 1).
# To kill process 1 is to pull the plug: the kernel ends every process of the node, its pods' included, and the
# mounts go with the mount namespace.

node_up() {
	local name=$1 dir
	name=$(node_name "$1") dir=$(node_dir "$1")
	! daemon_pid "$name" >/dev/null || return 0
	mkdir -p "$dir"/{log,kubelet,containerd,cni} "$state/run" "$logs" /var/lib/{kubelet,cni}
	rm -f "$dir/containerd.sock" "$dir/containerd.sock.ttrpc"
	containerd_config "$1" >"$dir/containerd.toml"
	cni_config "$1" >"$dir/cni/10-collab.conflist"
	kubelet_config "$1" >"$dir/kubelet.yaml"
	# Without 9>&- the node would hold the lock of the script that starts it.
	setsid nsenter --net="/run/netns/$(node_namespace "$1")" \
		unshare --mount --pid --fork --kill-child --mount-proc \
		bash "$local_cluster_dir/node.sh" "$1" </dev/null >>"$logs/$name.log" 2>&1 9>&- &
	record_daemon "$name" $!
}

# node_down pulls the plug and waits until the last process of the node is gone.
node_down() {
	local name pid init=""
	name=$(node_name "$1")
	if pid=$(daemon_pid "$name"); then
		read -r init <"/proc/$pid/task/$pid/children" || true
		kill -KILL "$pid" 2>/dev/null || true
		if [[ -n $init ]]; then
			kill -KILL "$init" 2>/dev/null || true
			await 20 process_gone "$init" || warn "the processes of $name do not end; one may hang in the kernel"
		fi
	fi
	rm -f "$(daemon_file "$name")"
	remove_cgroups "$(node_cgroup "$1")"
}

# A zombie has no executable any more.
process_gone() { [[ ! -e /proc/$1/exe ]]; }

# remove_cgroups NAME removes the cgroup in every hierarchy, from the leaves up.
remove_cgroups() {
	local hierarchy
	for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*/; do
		[[ -d ${hierarchy%/}/$1 ]] || continue
		await 10 remove_cgroup_tree "${hierarchy%/}/$1" || warn "the cgroup ${hierarchy%/}/$1 cannot be removed"
	done
}

remove_cgroup_tree() {
	find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
	[[ ! -d $1 ]]
}

containerd_config() {
	local dir restrict=false
	dir=$(node_dir "$1")
	# Root of a container or of some virtual machines may not lower oom_score_adj (CAP_SYS_RESOURCE, bit 24).
	(((0x$(awk '/^CapEff/ {print $2}' /proc/self/status) >> 24) & 1)) || restrict=true
	cat <<-EOF
		version = 3
		root = "$dir/containerd"
		state = "/run/containerd"
		[grpc]
		address = "$dir/containerd.sock"
		[plugins.'io.containerd.cri.v1.images'.pinned_images]
		sandbox = "$sandbox_image"
		[plugins.'io.containerd.cri.v1.runtime']
		restrict_oom_score_adj = $restrict
		netns_mounts_under_state_dir = true
		[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
		runtime_type = "io.containerd.runc.v2"
		[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
		BinaryName = "$bin/runc"
		SystemdCgroup = false
		[plugins.'io.containerd.cri.v1.runtime'.cni]
		bin_dirs = ["/usr/lib/cni"]
		conf_dir = "$dir/cni"
	EOF
}

cni_config() {
	cat <<-EOF
		{
		  "cniVersion": "1.0.0",
		  "name": "collab",
		  "plugins": [
		    {
		      "type": "ptp",
		      "ipam": {
		        "type": "host-local",
		        "dataDir": "/run/cni",
		        "ranges": [[{"subnet": "$(node_pod_cidr "$1")"}]],
		        "routes": [{"dst": "0.0.0.0/0"}]
		      }
		    },
		    {"type": "portmap", "capabilities": {"portMappings": true}}
		  ]
		}
	EOF
}

kubelet_config() {
	local name
	name=$(node_name "$1")
	# Images are never collected: there is no registry to pull them from again. The disk is the developer's own, so
	# that pods are not evicted before it is really full. A report every 4 s (a quarter of the lease) fits the grace
	# period of control-plane.sh.
	cat <<-EOF
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		containerRuntimeEndpoint: unix://$(node_dir "$1")/containerd.sock
		cgroupRoot: /$(node_cgroup "$1")
		cgroupDriver: cgroupfs
		failCgroupV1: false
		failSwapOn: false
		address: $(node_ip "$1")
		authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
		authorization: {mode: Webhook}
		tlsCertFile: $pki/$name.crt
		tlsPrivateKeyFile: $pki/$name.key
		clusterDNS: [$host_ip]
		clusterDomain: cluster.local
		resolvConf: ""
		nodeLeaseDurationSeconds: 16
		imageGCHighThresholdPercent: 100
		evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
		volumePluginDir: /var/lib/kubelet/volume-plugins
	EOF
}
