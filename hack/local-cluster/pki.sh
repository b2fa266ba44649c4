# shellcheck shell=bash
# shellcheck disable=SC2154  # The settings are those of settings.sh.
# pki.sh: the cluster's certificate authority, certificates and kubeconfigs. Sourced, never run.
# What exists is kept: the certificates are as old as the cluster's state.

# certificate FILE SUBJECT [SUBJECT-ALTERNATIVE-NAMES] makes $pki/FILE.crt and .key for clients and servers.
certificate() {
	local file=$pki/$1 subject=$2 names=${3:-}
	[[ ! -s $file.crt ]] || return 0
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
		-keyout "$file.key" -out "$file.csr" -subj "$subject" 2>/dev/null
	openssl x509 -req -in "$file.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 3650 \
		-out "$file.crt" 2>/dev/null -extfile <(
			printf 'keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth,serverAuth\n'
			[[ -z $names ]] || printf 'subjectAltName=%s\n' "$names"
		)
	rm "$file.csr"
}

# kubeconfig_for USER-FILE PATH writes a kubeconfig that holds the certificate $pki/USER-FILE.crt.
kubeconfig_for() {
	[[ ! -s $2 ]] || return 0
	cat >"$2" <<-EOF
		apiVersion: v1
		kind: Config
		clusters:
		- name: collab-local
		  cluster:
		    server: https://$host_ip:6443
		    certificate-authority-data: $(base64 -w0 "$pki/ca.crt")
		users:
		- name: $1
		  user:
		    client-certificate-data: $(base64 -w0 "$pki/$1.crt")
		    client-key-data: $(base64 -w0 "$pki/$1.key")
		contexts:
		- name: collab-local
		  context: {cluster: collab-local, user: $1}
		current-context: collab-local
	EOF
}

make_pki() {
	local node name
	(
		umask 077
		mkdir -p "$pki"
		if [[ ! -s $pki/ca.crt ]]; then
			openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=collab-local \
				-addext keyUsage=critical,keyCertSign,cRLSign -keyout "$pki/ca.key" -out "$pki/ca.crt" 2>/dev/null
			openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$pki/service-accounts.key"
			openssl pkey -in "$pki/service-accounts.key" -pubout -out "$pki/service-accounts.pub"
		fi
		certificate etcd /CN=etcd "IP:$host_ip"
		certificate kube-apiserver /CN=kube-apiserver "IP:$host_ip,IP:$kubernetes_service_ip,DNS:kubernetes,\
DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
		certificate apiserver-client "/O=system:masters/CN=kube-apiserver"
		certificate admin "/O=system:masters/CN=admin"
		kubeconfig_for admin "$kubeconfig"
		certificate kube-controller-manager "/CN=system:kube-controller-manager" "IP:$host_ip"
		certificate kube-scheduler "/CN=system:kube-scheduler" "IP:$host_ip"
		certificate kube-proxy "/CN=system:kube-proxy"
		certificate coredns "/CN=coredns"
		certificate provisioner "/CN=provisioner"
		for name in kube-controller-manager kube-scheduler kube-proxy coredns provisioner; do
			kubeconfig_for "$name" "$pki/$name.kubeconfig"
		done
		for node in "${nodes[@]}"; do
			name=$(node_name "$node")
			certificate "$name" "/O=system:nodes/CN=system:node:$name" "IP:$(node_ip "$node"),DNS:$name"
			kubeconfig_for "$name" "$pki/$name.kubeconfig"
		done
	) || die "the certificates could not be made in $pki" "look at the message above; 'make down' removes a half-made cluster"
}
