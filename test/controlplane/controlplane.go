// Package controlplane starts a real etcd and a real kube-apiserver for tests, with the operator's CRDs and nothing
// else: there are no controllers, no scheduler, no nodes and no garbage collector. Tests that need those play their
// part, or belong into the end-to-end tests.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kuberuntime "k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"collab.dev/operator/api/v1alpha1"
)

// EnvBinaries names the folder with the binaries etcd and kube-apiserver. Without it they are looked for where
// hack/local-cluster/build.sh puts them.
const EnvBinaries = "COLLAB_BIN"

// Server is a running control plane.
type Server struct {
	// Config is the administrator's.
	Config *rest.Config
	// Client is the administrator's, uncached.
	Client client.Client

	environment *envtest.Environment
}

// Scheme knows the kinds of Kubernetes and of the operator.
func Scheme() (*kuberuntime.Scheme, error) {
	scheme := kuberuntime.NewScheme()
	return scheme, errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
}

// Start starts a control plane on loopback. The caller must Stop it.
func Start() (*Server, error) {
	folder, err := binaries()
	if err != nil {
		return nil, err
	}
	scheme, err := Scheme()
	if err != nil {
		return nil, err
	}
	environment := &envtest.Environment{
		Scheme:                scheme,
		CRDDirectoryPaths:     []string{filepath.Join(root(), "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
		// Programs of the local cluster may be built at the same time.
		ControlPlaneStartTimeout: time.Minute,
	}
	environment.ControlPlane.GetAPIServer().Path = filepath.Join(folder, "kube-apiserver")
	environment.ControlPlane.Etcd = &envtest.Etcd{Path: filepath.Join(folder, "etcd")}
	config, err := environment.Start()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the control plane: %w", err), environment.Stop())
	}
	administrator, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a client of the control plane: %w", err), environment.Stop())
	}
	return &Server{Config: config, Client: administrator, environment: environment}, nil
}

// Stop ends the control plane's processes and removes their data.
func (s *Server) Stop() error {
	if err := s.environment.Stop(); err != nil {
		return fmt.Errorf("stop the control plane: %w", err)
	}
	return nil
}

// Operator makes a user who may do what config/rbac/role.yaml allows in every namespace, and nothing else.
func (s *Server) Operator(ctx context.Context) (*rest.Config, error) {
	const name = "collab-operator"
	user, err := s.environment.AddUser(envtest.User{Name: name}, nil)
	if err != nil {
		return nil, fmt.Errorf("make the user %s: %w", name, err)
	}
	manifest, err := os.ReadFile(filepath.Join(root(), "config", "rbac", "role.yaml"))
	if err != nil {
		return nil, fmt.Errorf("read the operator's role: %w", err)
	}
	role := &rbacv1.ClusterRole{}
	if err := yaml.UnmarshalStrict(manifest, role); err != nil {
		return nil, fmt.Errorf("read the operator's role: %w", err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
	}
	for _, object := range []client.Object{role, binding} {
		if err := s.Client.Create(ctx, object); err != nil {
			return nil, fmt.Errorf("grant the operator's role: %w", err)
		}
	}
	return user.Config(), nil
}

// binaries finds the folder with the control plane's binaries.
func binaries() (string, error) {
	folder := os.Getenv(EnvBinaries)
	if folder == "" {
		cache := os.Getenv("COLLAB_CACHE")
		if cache == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", fmt.Errorf("find the folder of etcd and kube-apiserver (set %s): %w", EnvBinaries, err)
			}
			cache = filepath.Join(home, ".cache", "collab-operator")
		}
		folder = filepath.Join(cache, "bin")
	}
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
			return "", fmt.Errorf("there is no %s in %s: run hack/local-cluster/build.sh etcd kube-apiserver, "+
				"or let %s name the folder that has them", name, folder, EnvBinaries)
		}
	}
	return folder, nil
}

// root is the folder of the repository.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}
