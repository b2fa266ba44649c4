package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/apply"
	"collab.dev/operator/controllers/child"
)

const (
	passwordLength   = 32
	passwordAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	// guard is the finalizer of Secrets that open volumes: it holds a deleted one until there is a copy of it.
	guard = "collab.dev/credentials"
)

// errLost says that the passwords of servers with data are gone. New ones would open nothing.
var errLost = errors.New("is gone, and with it the passwords of the volumes that are there")

// secret is a Secret whose content is generated once.
type secret struct {
	name      string
	component child.Component
	kind      corev1.SecretType
	// retain says that the Secret outlives its CollabCluster.
	retain bool
	// precious says that the content opens volumes. It can neither be changed nor be lost by deleting the Secret.
	precious bool
	// fill returns the content that the Secret should have, given what it has. It must not change its argument.
	fill func(present map[string][]byte) (map[string][]byte, error)
}

// ensureSecret creates or completes a Secret and returns its content. Unlike other children a Secret is written with
// create and with update under a resourceVersion, never by a forced apply: a password cannot be computed anew, so that
// an operator with a stale cache, or a second one that still believes it leads, must fail here rather than overwrite.
func (r *Reconciler) ensureSecret(
	ctx context.Context, cluster *v1alpha1.CollabCluster, want secret,
) (map[string][]byte, apply.Outcome, error) {
	present, err := r.readSecret(ctx, types.NamespacedName{Namespace: cluster.Namespace, Name: want.name})
	if err != nil {
		return nil, apply.Unchanged, err
	}
	if present == nil {
		present = &corev1.Secret{Type: want.kind}
		present.Namespace, present.Name = cluster.Namespace, want.name
		outcome := apply.Created
		if want.precious {
			if present.Data, err = r.saved(ctx, cluster, want); err != nil {
				return nil, apply.Unchanged, err
			}
			if present.Data != nil {
				outcome = apply.Repaired
			}
		}
		if err := r.complete(cluster, present, want); err != nil {
			return nil, apply.Unchanged, err
		}
		if err := r.Client.Create(ctx, present, client.FieldOwner(child.ManagedBy)); err != nil {
			return nil, apply.Unchanged, fmt.Errorf("create Secret %s: %w", want.name, err)
		}
		return present.Data, outcome, nil
	}

	switch {
	case !ours(cluster, present):
		return nil, apply.Unchanged, apply.Foreign("Secret", present)
	case present.DeletionTimestamp != nil && controllerutil.ContainsFinalizer(present, guard):
		return present.Data, apply.Unchanged, r.save(ctx, cluster, want, present)
	case present.DeletionTimestamp != nil:
		return nil, apply.Unchanged, fmt.Errorf(
			"the Secret %s is being deleted; it is created anew when it is gone", want.name)
	}
	completed := present.DeepCopy()
	if err := r.complete(cluster, completed, want); err != nil {
		return nil, apply.Unchanged, err
	}
	if equality.Semantic.DeepEqual(present, completed) {
		if want.precious {
			err = r.dropCopy(ctx, cluster, want)
		}
		return present.Data, apply.Unchanged, err
	}
	if err := r.Client.Update(ctx, completed, client.FieldOwner(child.ManagedBy)); err != nil {
		return nil, apply.Unchanged, fmt.Errorf("update Secret %s: %w", want.name, err)
	}
	return completed.Data, apply.Updated, nil
}

// ours says whether an object that need not have an owner is the CollabCluster's: a Secret that was retained, or what
// Patroni made. Without an owner its labels tell.
func ours(cluster *v1alpha1.CollabCluster, object client.Object) bool {
	if controller := metav1.GetControllerOfNoCopy(object); controller != nil {
		return controller.UID == cluster.UID
	}
	labels := object.GetLabels()
	return labels[child.LabelManagedBy] == child.ManagedBy && labels[child.LabelInstance] == cluster.Name
}

func copyName(secret string) string { return secret + "-copy" }

// save lets a deleted Secret go when there is a copy of it. Its disappearance is an event that leads to the next
// reconciliation, which makes it anew from the copy.
func (r *Reconciler) save(
	ctx context.Context, cluster *v1alpha1.CollabCluster, want secret, deleted *corev1.Secret,
) error {
	copied := &corev1.Secret{Type: deleted.Type, Data: deleted.Data}
	copied.Namespace, copied.Name = deleted.Namespace, copyName(want.name)
	copied.Labels = child.Labels(cluster.Name, want.component)
	err := r.Client.Create(ctx, copied, client.FieldOwner(child.ManagedBy))
	if apierrors.IsAlreadyExists(err) {
		err = r.Live.Get(ctx, client.ObjectKeyFromObject(copied), copied)
		if err == nil && (!ours(cluster, copied) || !equality.Semantic.DeepEqual(copied.Data, deleted.Data)) {
			return fmt.Errorf("save the deleted Secret %s: %w", want.name, apply.Foreign("Secret", copied))
		}
	}
	if err != nil {
		return fmt.Errorf("save the deleted Secret %s: %w", want.name, err)
	}
	return r.release(ctx, deleted)
}

// release takes the guard from a Secret, if it has it.
func (r *Reconciler) release(ctx context.Context, guarded *corev1.Secret) error {
	released := guarded.DeepCopy()
	if !controllerutil.RemoveFinalizer(released, guard) {
		return nil
	}
	if err := r.Client.Update(ctx, released, client.FieldOwner(child.ManagedBy)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("release Secret %s: %w", guarded.Name, err)
	}
	return nil
}

// saved returns the content of a Secret that was deleted, nil if it never existed, or errLost if there is no copy of it
// and there are volumes that it opened.
func (r *Reconciler) saved(
	ctx context.Context, cluster *v1alpha1.CollabCluster, want secret,
) (map[string][]byte, error) {
	copied, err := r.readSecret(ctx, types.NamespacedName{Namespace: cluster.Namespace, Name: copyName(want.name)})
	if err != nil {
		return nil, err
	}
	if copied != nil && ours(cluster, copied) {
		return copied.Data, nil
	}
	var volumes metav1.PartialObjectMetadataList
	volumes.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaimList"))
	if err := r.Live.List(ctx, &volumes, client.InNamespace(cluster.Namespace),
		client.MatchingLabels(child.Selector(cluster.Name, want.component)), client.Limit(1)); err != nil {
		return nil, fmt.Errorf("look for the volumes of %s: %w", want.component, err)
	}
	if len(volumes.Items) > 0 {
		return nil, fmt.Errorf("the Secret %s %w (%s, for one); make it again with the old passwords, or delete the volumes",
			want.name, errLost, volumes.Items[0].Name)
	}
	return nil, nil
}

// dropCopy removes what save has left.
func (r *Reconciler) dropCopy(ctx context.Context, cluster *v1alpha1.CollabCluster, want secret) error {
	copied := &corev1.Secret{}
	err := r.Client.Get(ctx, types.NamespacedName{Namespace: cluster.Namespace, Name: copyName(want.name)}, copied)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read Secret %s: %w", copyName(want.name), err)
	}
	if !ours(cluster, copied) {
		return nil
	}
	return r.remove(ctx, copied)
}

// readSecret reads from the cache, and from the API server what the cache does not have: content that is overlooked
// would be generated a second time. It returns nil if the Secret does not exist.
func (r *Reconciler) readSecret(ctx context.Context, name types.NamespacedName) (*corev1.Secret, error) {
	for _, reader := range []client.Reader{r.Client, r.Live} {
		present := &corev1.Secret{}
		err := reader.Get(ctx, name, present)
		if err == nil {
			return present, nil
		}
		if !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("read Secret %s: %w", name.Name, err)
		}
	}
	return nil, nil
}

// complete brings labels, owner and content of a Secret to what they should be, in memory.
func (r *Reconciler) complete(cluster *v1alpha1.CollabCluster, object *corev1.Secret, want secret) error {
	if object.Labels == nil {
		object.Labels = map[string]string{}
	}
	maps.Copy(object.Labels, child.Labels(cluster.Name, want.component))
	var err error
	switch owned := metav1.IsControlledBy(object, cluster); {
	case want.retain && owned:
		err = controllerutil.RemoveControllerReference(cluster, object, r.Client.Scheme())
	case !want.retain && !owned:
		err = controllerutil.SetControllerReference(cluster, object, r.Client.Scheme())
	}
	if err != nil {
		return fmt.Errorf("set the owner of Secret %s: %w", want.name, err)
	}
	if want.precious {
		controllerutil.AddFinalizer(object, guard)
		object.Immutable = ptr.To(true)
	}
	object.Data, err = want.fill(object.Data)
	return err
}

// credentials are the passwords of a component. What is there stays; a missing one is generated.
func credentials(cluster *v1alpha1.CollabCluster, component child.Component, keys []string) secret {
	return secret{
		name:      child.CredentialsSecret(cluster.Name, component),
		component: component,
		kind:      corev1.SecretTypeOpaque,
		// Sessions end with the service; passwords open volumes that may be kept.
		retain:   retains(cluster) && component != child.Editor,
		precious: component != child.Editor,
		fill: func(present map[string][]byte) (map[string][]byte, error) {
			filled := maps.Clone(present)
			for _, key := range keys {
				if len(filled[key]) > 0 {
					continue
				}
				password, err := newPassword()
				if err != nil {
					return nil, err
				}
				if filled == nil {
					filled = map[string][]byte{}
				}
				filled[key] = []byte(password)
			}
			return filled, nil
		},
	}
}

func newPassword() (string, error) {
	var password strings.Builder
	for range passwordLength {
		index, err := rand.Int(rand.Reader, big.NewInt(int64(len(passwordAlphabet))))
		if err != nil {
			return "", fmt.Errorf("generate a password: %w", err)
		}
		password.WriteByte(passwordAlphabet[index.Int64()])
	}
	return password.String(), nil
}

// ensurePeerTLS makes the authority of the cluster's peer link and the certificate that its editor pods mount.
func (r *Reconciler) ensurePeerTLS(ctx context.Context, cluster *v1alpha1.CollabCluster) (apply.Outcome, error) {
	name := PeerName(cluster.Name, cluster.Namespace)
	ca, _, err := r.ensureSecret(ctx, cluster, secret{
		name: cluster.Name + "-peer-ca", component: child.Editor, kind: corev1.SecretTypeOpaque,
		fill: func(present map[string][]byte) (map[string][]byte, error) {
			return authority(present, name, r.Clock.Now())
		},
	})
	if err != nil {
		return apply.Unchanged, err
	}
	_, outcome, err := r.ensureSecret(ctx, cluster, secret{
		name: child.PeerTLSSecret(cluster.Name), component: child.Editor, kind: corev1.SecretTypeTLS,
		fill: func(present map[string][]byte) (map[string][]byte, error) {
			return peerCertificate(present, ca, name, r.Clock.Now())
		},
	})
	return outcome, err
}

// retains says whether the data of the cluster outlives it.
func retains(cluster *v1alpha1.CollabCluster) bool {
	return cluster.Spec.DeletionPolicy != v1alpha1.DeletionDelete
}
