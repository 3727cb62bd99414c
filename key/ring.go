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

// Signer finds a key by its whole ID. It fails with [ErrNotFound].
func (r *Ring) Signer(ctx context.Context, id ID) (Signer, error) {
	if len(id) != 64 {
		return nil, fmt.Errorf("key id %.80q: %w", string(id), ErrUsage)
	}
	return r.Resolve(ctx, Ref{ID: id})
}

// Resolve finds the key that a reference names. It fails with [ErrNotFound],
// with [ErrAmbiguous], or with the error of a backend that could hold the key
// and did not answer: a name must never mean another key because a device is
// away. An unreadable key ([KeyError]) is in the way of its own name only.
func (r *Ring) Resolve(ctx context.Context, ref Ref) (Signer, error) {
	signers, failed := r.signers(ctx)
	i, err := find(len(signers), func(i int) Info { return signers[i].Info() }, failed, ref)
	if err != nil {
		return nil, err
	}
	return signers[i], nil
}

// Find is [Ring.Resolve] for keys that were listed before; failed is the error
// of that listing.
func Find(infos []Info, failed error, ref Ref) (Info, error) {
	i, err := find(len(infos), func(i int) Info { return infos[i] }, failed, ref)
	if err != nil {
		return Info{}, err
	}
	return infos[i], nil
}

// find is the index of the one key, of n, that a reference names.
func find(n int, info func(int) Info, failed error, ref Ref) (int, error) {
	var found []int
	for i := range n {
		if ref.Matches(info(i)) {
			found = append(found, i)
		}
	}
	// A whole ID names one public key whatever another backend holds.
	if len(found) == 1 && len(ref.ID) == 64 {
		return found[0], nil
	}
	if err := inTheWay(failed, ref); err != nil {
		return 0, fmt.Errorf("look for key %q: %w", ref, err)
	}
	switch len(found) {
	case 0:
		return 0, hint.Wrap(fmt.Errorf("key %q: %w", ref, ErrNotFound), "see the keys with: sealsmith key list")
	case 1:
		return found[0], nil
	}
	names := make([]string, len(found))
	for i, index := range found {
		in := info(index)
		names[i] = in.Ref.String()
	}
	return 0, hint.Wrap(fmt.Errorf("key %q: %w", ref, ErrAmbiguous), "say which: "+strings.Join(names, ", "))
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

// Delete deletes the key that the reference names.
func (r *Ring) Delete(ctx context.Context, ref Ref) error {
	s, err := r.Resolve(ctx, ref)
	if err != nil {
		return err
	}
	in := s.Info()
	for _, b := range r.backends {
		if b.Name() != in.Ref.Backend {
			continue
		}
		d, ok := b.(Deleter)
		if !ok {
			return fmt.Errorf("delete key %q: %w", in.Ref, ErrUnsupported)
		}
		return d.Delete(ctx, in.Ref)
	}
	return fmt.Errorf("delete key %q: %w", in.Ref, ErrNotFound)
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
