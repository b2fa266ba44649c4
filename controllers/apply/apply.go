// Package apply owns how the operator writes an object that it can compute anew at any time: by server-side apply with
// one field manager, never over somebody else's object, and not at all when nothing would change. It knows nothing of
// what the objects are for. What cannot be computed anew (passwords, the ShardMap) must not be written through it.
package apply

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ErrForeign says that an object of the name that is needed belongs to somebody else. It was left as it is.
var ErrForeign = errors.New("belongs to somebody else")

// Outcome says what an apply did.
type Outcome string

const (
	// Unchanged says that the object was as it should be.
	Unchanged Outcome = "Unchanged"
	// Created says that the object did not exist.
	Created Outcome = "Created"
	// Updated says that the object was brought from an older desired state to the present one.
	Updated Outcome = "Updated"
	// Repaired says that somebody had changed the object, and that it is as it should be again.
	Repaired Outcome = "Repaired"
)

// Applier applies objects. It is safe for concurrent use. Make it with New.
type Applier struct {
	client  client.Client
	live    client.Reader
	manager client.FieldOwner

	mu      sync.Mutex
	applied map[key]*record
}

type key struct {
	kind schema.GroupVersionKind
	name types.NamespacedName
}

// record is what is known of an object since it was last applied.
type record struct {
	uid     types.UID
	version string
	// desired is the hash of what was applied.
	desired [sha256.Size]byte
	// result is the hash of what came of it, nil until the cache has shown it. The answer to the apply does not tell:
	// the cache's encoding leaves fields out that JSON has.
	result atomic.Pointer[[sha256.Size]byte]
}

// New makes an Applier that writes as the given field manager. The client reads from a cache, which need not hold
// objects that are not ours; live reads from the API server.
func New(c client.Client, live client.Reader, manager string) *Applier {
	return &Applier{client: c, live: live, manager: client.FieldOwner(manager), applied: map[key]*record{}}
}

// Apply makes the object what desired says, if it does not exist or is controlled by owner. Fields that desired does
// not name are left to others. It returns ErrForeign if the object belongs to somebody else. An object that is being
// deleted is left alone: its disappearance is an event that leads here again.
func (a *Applier) Apply(ctx context.Context, owner client.Object, desired runtime.ApplyConfiguration) (Outcome, error) {
	object, err := toUnstructured(desired)
	if err != nil {
		return Unchanged, err
	}
	id := key{object.GroupVersionKind(), client.ObjectKeyFromObject(object)}
	wanted, err := hash(object.Object)
	if err != nil {
		return Unchanged, err
	}
	last, known := a.recall(id)

	present, err := a.observe(ctx, id)
	if err != nil {
		return Unchanged, err
	}
	if present != nil {
		ours := metav1.IsControlledBy(present, owner) ||
			known && present.GetUID() == last.uid && metav1.GetControllerOfNoCopy(present) == nil
		switch {
		case !ours:
			return Unchanged, Foreign(id.kind.Kind, present)
		case present.GetDeletionTimestamp() != nil:
			return Unchanged, nil
		}
		if known && last.uid == present.GetUID() && last.desired == wanted {
			unchanged, err := last.covers(present)
			if err != nil || unchanged {
				return Unchanged, err
			}
		}
	}

	if err := a.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), a.manager,
		client.ForceOwnership); err != nil {
		return Unchanged, fmt.Errorf("apply %s %s: %w", id.kind.Kind, id.name.Name, err)
	}
	now := &record{uid: object.GetUID(), version: object.GetResourceVersion(), desired: wanted}
	a.mu.Lock()
	a.applied[id] = now
	a.mu.Unlock()
	if present == nil {
		return Created, nil
	}
	changed, err := a.differs(present, object)
	switch {
	case err != nil || !changed:
		return Unchanged, err
	case known && last.uid == now.uid && last.desired == wanted:
		return Repaired, nil
	default:
		return Updated, nil
	}
}

// differs says whether an apply has changed what was there. The resource version does not tell: somebody may have
// written the status in between.
func (a *Applier) differs(before client.Object, after *unstructured.Unstructured) (bool, error) {
	if before.GetResourceVersion() == after.GetResourceVersion() {
		return false, nil
	}
	// Through the same type as what was there, because encodings differ in the empty fields that they leave out.
	object, err := a.empty(after.GroupVersionKind())
	if err != nil {
		return false, err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(after.Object, object); err != nil {
		return false, fmt.Errorf("decode %s %s: %w", after.GetKind(), after.GetName(), err)
	}
	was, err := hashObject(before)
	if err != nil {
		return false, err
	}
	is, err := hashObject(object)
	return was != is, err
}

// Forget drops what is known of the objects for which drop is true, so that it does not outlive them.
func (a *Applier) Forget(drop func(types.NamespacedName) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id := range a.applied {
		if drop(id.name) {
			delete(a.applied, id)
		}
	}
}

func (a *Applier) recall(id key) (*record, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last, known := a.applied[id]
	return last, known
}

// observe reads an object from the cache and, if it is not there, from the API server, because an object without our
// labels is not in the cache. It returns nil if the object does not exist.
func (a *Applier) observe(ctx context.Context, id key) (client.Object, error) {
	object, err := a.empty(id.kind)
	if err != nil {
		return nil, err
	}
	err = a.client.Get(ctx, id.name, object)
	if err == nil {
		return object, nil
	}
	if !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("read %s %s from the cache: %w", id.kind.Kind, id.name.Name, err)
	}
	err = a.live.Get(ctx, id.name, object)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read %s %s: %w", id.kind.Kind, id.name.Name, err)
	}
	return object, nil
}

// empty makes an object of a kind.
func (a *Applier) empty(kind schema.GroupVersionKind) (client.Object, error) {
	made, err := a.client.Scheme().New(kind)
	if err != nil {
		return nil, fmt.Errorf("%s is not in the scheme: %w", kind, err)
	}
	object, ok := made.(client.Object)
	if !ok {
		return nil, fmt.Errorf("%s is not an object", kind)
	}
	return object, nil
}

// covers says whether the object is what came of the last apply, or something older that a lagging cache still shows.
func (r *record) covers(present client.Object) (bool, error) {
	order, err := resourceversion.CompareResourceVersion(present.GetResourceVersion(), r.version)
	if err == nil && order < 0 {
		return true, nil
	}
	now, hashErr := hashObject(present)
	if hashErr != nil {
		return false, hashErr
	}
	if err == nil && order == 0 {
		r.result.Store(&now)
		return true, nil
	}
	result := r.result.Load()
	return result != nil && *result == now, nil
}

// Foreign is the ErrForeign that says to whom an object of a kind belongs.
func Foreign(kind string, present client.Object) error {
	if controller := metav1.GetControllerOfNoCopy(present); controller != nil {
		return fmt.Errorf("%s %s %w: it is controlled by %s %s",
			kind, present.GetName(), ErrForeign, controller.Kind, controller.Name)
	}
	return fmt.Errorf("%s %s %w: it was not created by this CollabCluster", kind, present.GetName(), ErrForeign)
}

func toUnstructured(desired runtime.ApplyConfiguration) (*unstructured.Unstructured, error) {
	encoded, err := json.Marshal(desired)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", desired, err)
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(encoded); err != nil {
		return nil, fmt.Errorf("decode %T: %w", desired, err)
	}
	return object, nil
}

// hashObject hashes what people and controllers can set. The rest changes without anybody having changed the object.
func hashObject(object client.Object) ([sha256.Size]byte, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("encode %T: %w", object, err)
	}
	// The cache drops the kind of typed objects.
	delete(content, "apiVersion")
	delete(content, "kind")
	delete(content, "status")
	for _, field := range []string{"managedFields", "resourceVersion", "generation"} {
		unstructured.RemoveNestedField(content, "metadata", field)
	}
	return hash(content)
}

// hash relies on encoding/json writing the keys of a map in order.
func hash(content map[string]any) ([sha256.Size]byte, error) {
	encoded, err := json.Marshal(content)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("hash: %w", err)
	}
	return sha256.Sum256(encoded), nil
}
