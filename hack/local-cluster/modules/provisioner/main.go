// Command provisioner makes the local cluster's PersistentVolumes: each claim gets a folder of the machine that all
// nodes see, as they would see a network disk. Kubernetes' own host-path provisioner makes its folders for root only
// (and kubelet does not apply fsGroup to host paths), so that pods that run as other users, which all of ours do,
// could not write to them.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// name is what the StorageClass in addons/storage.yaml calls this provisioner.
const name = "collab.dev/local-folder"

func main() {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	root := flag.String("root", "", "the folder in which the volumes' folders are made")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *kubeconfig, *root); err != nil {
		fmt.Fprintln(os.Stderr, "provisioner:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig, root string) error {
	if !filepath.IsAbs(root) {
		return fmt.Errorf("-root must be an absolute path, not %q", root)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	// One provisioner per cluster: an election would only delay the first volume.
	controller.NewProvisionController(ctx, clients, name, folders{root: root},
		controller.LeaderElection(false)).Run(ctx)
	return nil
}

// folders provisions volumes as folders of root.
type folders struct{ root string }

// Provision makes the volume's folder, writable for whichever user the pod runs as.
func (f folders) Provision(
	_ context.Context, options controller.ProvisionOptions,
) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	path := filepath.Join(f.root, options.PVName)
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("making the volume's folder: %w", err)
	}
	// Mkdir's mode is subject to the umask, that of chmod is not.
	if err := os.Chmod(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("opening the volume's folder to all users: %w", err)
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: options.PVName},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			AccessModes:                   options.PVC.Spec.AccessModes,
			Capacity: corev1.ResourceList{
				corev1.ResourceStorage: options.PVC.Spec.Resources.Requests[corev1.ResourceStorage],
			},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: path},
			},
		},
	}, controller.ProvisioningFinished, nil
}

// Delete removes the volume's folder with what is in it.
func (f folders) Delete(_ context.Context, volume *corev1.PersistentVolume) error {
	// The path is built from the volume's name, not taken from the object: whoever may edit a PersistentVolume must
	// not be able to have root remove another folder.
	if err := os.RemoveAll(filepath.Join(f.root, filepath.Base(volume.Name))); err != nil {
		return fmt.Errorf("removing the volume's folder: %w", err)
	}
	return nil
}
