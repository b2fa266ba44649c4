# shellcheck shell=bash
# shellcheck disable=SC2154  # The settings are those of settings.sh.
# control-plane.sh: etcd, the API server and what works beside it, as daemons of the machine on the bridge's address.
# Sourced, never run.

control_plane=(etcd kube-apiserver kube-controller-manager kube-scheduler coredns provisioner)

control_plane_up() {
	# No fsync: this etcd holds nothing that outlives the cluster, and a slow disk would make elections of everything.
	start_daemon etcd "$bin/etcd" --name=local --data-dir="$state/etcd" --unsafe-no-fsync --log-level=warn \
		--listen-client-urls="https://$host_ip:2379" --advertise-client-urls="https://$host_ip:2379" \
		--listen-peer-urls="https://$host_ip:2380" --initial-advertise-peer-urls="https://$host_ip:2380" \
		--initial-cluster="local=https://$host_ip:2380" \
		--cert-file="$pki/etcd.crt" --key-file="$pki/etcd.key" --client-cert-auth --trusted-ca-file="$pki/ca.crt" \
		--peer-cert-file="$pki/etcd.crt" --peer-key-file="$pki/etcd.key" --peer-client-cert-auth \
		--peer-trusted-ca-file="$pki/ca.crt"

	start_daemon kube-apiserver "$bin/kube-apiserver" \
		--bind-address="$host_ip" --advertise-address="$host_ip" --secure-port=6443 \
		--etcd-servers="https://$host_ip:2379" --etcd-cafile="$pki/ca.crt" \
		--etcd-certfile="$pki/etcd.crt" --etcd-keyfile="$pki/etcd.key" \
		--tls-cert-file="$pki/kube-apiserver.crt" --tls-private-key-file="$pki/kube-apiserver.key" \
		--client-ca-file="$pki/ca.crt" --anonymous-auth=false \
		--authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
		--service-account-issuer=https://kubernetes.default.svc.cluster.local \
		--service-account-key-file="$pki/service-accounts.pub" \
		--service-account-signing-key-file="$pki/service-accounts.key" \
		--service-cluster-ip-range="$service_cidr" \
		--kubelet-client-certificate="$pki/apiserver-client.crt" --kubelet-client-key="$pki/apiserver-client.key" \
		--kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP \
		--allow-privileged --profiling=false
	await 60 kube get --raw=/readyz ||
		{ last_words etcd; last_words kube-apiserver; die "the API server is not ready after 60 s" "see the log above"; }

	# A silent node is NotReady after 20 s, not 50: tests that lose a node wait for that. Kubelets report every 4 s.
	# There is one controller manager and one scheduler: an election lost on a busy machine would only restart them.
	start_daemon kube-controller-manager "$bin/kube-controller-manager" \
		--kubeconfig="$pki/kube-controller-manager.kubeconfig" \
		--authentication-kubeconfig="$pki/kube-controller-manager.kubeconfig" \
		--authorization-kubeconfig="$pki/kube-controller-manager.kubeconfig" \
		--bind-address="$host_ip" \
		--tls-cert-file="$pki/kube-controller-manager.crt" --tls-private-key-file="$pki/kube-controller-manager.key" \
		--leader-elect=false --use-service-account-credentials \
		--root-ca-file="$pki/ca.crt" --service-account-private-key-file="$pki/service-accounts.key" \
		--cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
		--node-monitor-period=2s --node-monitor-grace-period=20s
	start_daemon kube-scheduler "$bin/kube-scheduler" \
		--kubeconfig="$pki/kube-scheduler.kubeconfig" \
		--authentication-kubeconfig="$pki/kube-scheduler.kubeconfig" \
		--authorization-kubeconfig="$pki/kube-scheduler.kubeconfig" \
		--bind-address="$host_ip" --tls-cert-file="$pki/kube-scheduler.crt" \
		--tls-private-key-file="$pki/kube-scheduler.key" --leader-elect=false

	kube apply -f "$local_cluster_dir/addons" >/dev/null ||
		die "the cluster's storage class and roles could not be applied" "see the message above"

	dns_config >"$state/Corefile"
	start_daemon coredns "$bin/coredns" -conf "$state/Corefile"
	mkdir -p "$volumes"
	start_daemon provisioner "$bin/provisioner" -kubeconfig "$pki/provisioner.kubeconfig" -root "$volumes"
}

# dns_config: no cache and a TTL of one second, because fail-over is about who a name means now. There is no other
# world than the cluster: a name outside it does not exist, at once.
dns_config() {
	cat <<-EOF
		cluster.local in-addr.arpa {
		    bind $host_ip
		    errors
		    kubernetes {
		        kubeconfig $pki/coredns.kubeconfig
		        endpoint_pod_names
		        ttl 1
		    }
		}
		. {
		    bind $host_ip
		    errors
		    template ANY ANY {
		        rcode NXDOMAIN
		    }
		}
	EOF
}

control_plane_down() {
	local i
	for ((i = ${#control_plane[@]} - 1; i >= 0; i--)); do
		stop_daemon "${control_plane[i]}"
	done
}
