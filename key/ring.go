package key

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sealsmith/sealsmith/internal/hint"
)

// Ring is several backends as one. It is safe for concurrent use.
type Ring struct {
	backends []Backend
}

// NewRing joins backends. The ring owns them: [Ring.Close] closes them.
func NewRing(backends ...Backend) *Ring { return &Ring{backends: backends} }

// List returns the keys of every backend that answers, by reference, and the
// errors of the others. It never touches a device.
func (r *Ring) List(ctx context.Context) ([]Info, error) {
	signers, err := r.signers(ctx)
	infos := make([]Info, len(signers))
	for i, s := range signers {
		infos[i] = s.Info()
	}
	return infos, err
}

// Signer finds a key by its whole ID; of copies, the first by reference. It fails
// with [ErrNotFound].
func (r *Ring) Signer(ctx context.Context, id ID) (Signer, error) {
	if len(id) != 64 {
		return nil, fmt.Errorf("key id %.80q: %w", string(id), ErrUsage)
	}
	return r.Resolve(ctx, Ref{ID: id})
}

// Resolve finds the key that a reference names. It fails with [ErrNotFound],
// with [ErrAmbiguous], or with the error of a backend that could hold the key
// and did not answer: a name must never mean another key because a device is
// away. An unreadable key ([KeyError]) is in the way of its own name only. Keys
// of one ID are copies of one key: an ID means the first of them by reference.
func (r *Ring) Resolve(ctx context.Context, ref Ref) (Signer, error) {
	all, err := r.resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// resolve finds the copies of the one key that a reference names, at least one.
func (r *Ring) resolve(ctx context.Context, ref Ref) ([]Signer, error) {
	signers, failed := r.signers(ctx)
	return find(signers, Signer.Info, failed, ref)
}

// Find is [Ring.Resolve] for keys that were listed before, in the order of
// [Ring.List]; failed is the error of that listing.
func Find(infos []Info, failed error, ref Ref) (Info, error) {
	all, err := find(infos, func(in Info) Info { return in }, failed, ref)
	if err != nil {
		return Info{}, err
	}
	return all[0], nil
}

// find returns the copies of the one key, of those listed, that a reference
// names: in their order, at least one.
func find[K any](listed []K, info func(K) Info, failed error, ref Ref) ([]K, error) {
	var found []K
	ids := map[ID]bool{}
	for _, k := range listed {
		if in := info(k); ref.Matches(in) {
			found = append(found, k)
			ids[in.ID] = true
		}
	}
	// A whole ID names one public key whatever another backend holds.
	if len(found) > 0 && len(ref.ID) == 64 {
		return found, nil
	}
	if err := inTheWay(failed, ref); err != nil {
		return nil, fmt.Errorf("look for key %q: %w", ref, err)
	}
	switch {
	case len(found) == 0:
		return nil, hint.Wrap(fmt.Errorf("key %q: %w", ref, ErrNotFound), "see the keys with: sealsmith key list")
	case len(found) == 1, ref.ID != "" && len(ids) == 1:
		return found, nil
	}
	return nil, ambiguous(found, info, ref)
}

// ambiguous is the error of a reference that names several keys.
func ambiguous[K any](found []K, info func(K) Info, ref Ref) error {
	names := make([]string, len(found))
	for i, k := range found {
		names[i] = info(k).Ref.String()
	}
	return hint.Wrap(fmt.Errorf("key %q: %w", ref, ErrAmbiguous), "say which: "+strings.Join(names, ", "))
}

// inTheWay is what failed and could hide a key that the reference names: all but
// unreadable keys of other names.
func inTheWay(failed error, ref Ref) error {
	if joined, ok := failed.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, err := range joined.Unwrap() {
			all = append(all, inTheWay(err, ref))
		}
		return errors.Join(all...)
	}
	var one *KeyError
	if errors.As(failed, &one) && ref.ID == "" && !ref.Matches(Info{Ref: one.Ref}) {
		return nil
	}
	return failed
}

// Create makes a key in the first backend that can make one.
func (r *Ring) Create(ctx context.Context, s Spec) (Signer, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	for _, b := range r.backends {
		if c, ok := b.(Creator); ok {
			return c.Create(ctx, s)
		}
	}
	return nil, fmt.Errorf("create key %q: %w", s.Name, ErrNoDevice)
}

// Import brings a key into the first backend that takes keys made elsewhere.
func (r *Ring) Import(ctx context.Context, s ImportSpec) (Signer, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	for _, b := range r.backends {
		if i, ok := b.(Importer); ok {
			return i.Import(ctx, s)
		}
	}
	return nil, fmt.Errorf("import key %q: %w", s.Name, ErrNoDevice)
}

// Delete deletes the key that the reference names. An ID of which there are
// copies does not say which to delete: that is [ErrAmbiguous].
func (r *Ring) Delete(ctx context.Context, ref Ref) error {
	in, b, err := r.owner(ctx, ref)
	if err != nil {
		return err
	}
	d, ok := b.(Deleter)
	if !ok {
		return fmt.Errorf("delete key %q: %w", in.Ref, ErrUnsupported)
	}
	return d.Delete(ctx, in.Ref)
}

// ChangePIN changes the PIN of the key that the reference names. An ID of which
// there are copies does not say which to change: that is [ErrAmbiguous].
func (r *Ring) ChangePIN(ctx context.Context, ref Ref, c PINChange) error {
	in, b, err := r.owner(ctx, ref)
	if err != nil {
		return err
	}
	p, ok := b.(PINChanger)
	if !ok {
		return fmt.Errorf("change the PIN of %q: %w", in.Ref, ErrUnsupported)
	}
	return p.ChangePIN(ctx, in.Ref, c)
}

// owner finds the one key that a reference names, and its backend.
func (r *Ring) owner(ctx context.Context, ref Ref) (Info, Backend, error) {
	copies, err := r.resolve(ctx, ref)
	if err != nil {
		return Info{}, nil, err
	}
	if len(copies) > 1 {
		return Info{}, nil, ambiguous(copies, Signer.Info, ref)
	}
	in := copies[0].Info()
	i := slices.IndexFunc(r.backends, func(b Backend) bool { return b.Name() == in.Ref.Backend })
	if i < 0 {
		return Info{}, nil, fmt.Errorf("key %q: %w", in.Ref, ErrNotFound)
	}
	return in, r.backends[i], nil
}

// Close closes every backend and joins their errors.
func (r *Ring) Close() error {
	var errs []error
	for _, b := range r.backends {
		errs = append(errs, b.Close())
	}
	return errors.Join(errs...)
}

// signers collects the keys of all backends in order of their references.
func (r *Ring) signers(ctx context.Context) ([]Signer, error) {
	var all []Signer
	var errs []error
	for _, b := range r.backends {
		for s, err := range b.Keys(ctx) {
			if err != nil {
				errs = append(errs, err)
				continue
			}
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b Signer) int {
		return strings.Compare(a.Info().Ref.String(), b.Info().Ref.String())
	})
	return all, errors.Join(errs...)
}
