package tpm

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/key"
)

// backendName is the first part of our references.
const backendName = "tpm"

// Config says where keys are and who knows their PINs.
type Config struct {
	// Dir is the folder of the key files. It is made with the first key, and
	// must be ours alone.
	Dir string
	// Auth lends the PINs of keys; nil: keys with a PIN cannot be used.
	Auth key.AuthFunc
	// Log gets changes of state; nil discards them.
	Log *slog.Logger
	// Notice gets what a person must be told about the folder: leftovers that
	// were removed. nil means that the log gets it, as a warning.
	Notice func(string)
}

// Backend is the keys of a folder in one TPM. It is safe for concurrent use.
type Backend struct {
	device *Device
	folder *folder
	auth   key.AuthFunc
	log    *slog.Logger
}

var (
	_ key.Backend = (*Backend)(nil)
	_ key.Creator = (*Backend)(nil)
	_ key.Deleter = (*Backend)(nil)
)

// New makes the Backend of a device, which it owns from now on: [Backend.Close]
// closes it. Neither the device nor the folder is touched.
func New(d *Device, c Config) (*Backend, error) {
	if c.Dir == "" {
		return nil, fmt.Errorf("no key folder: %w", key.ErrUsage)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Notice == nil {
		c.Notice = func(text string) { c.Log.Warn(text) }
	}
	return &Backend{device: d, folder: &folder{dir: c.Dir, notice: c.Notice}, auth: c.Auth, log: c.Log}, nil
}

// ReadDir lists the keys of a folder without a device. An error stands for one
// key, which it names, or for the whole folder.
func ReadDir(dir string) iter.Seq2[key.Info, error] {
	return func(yield func(key.Info, error) bool) {
		keys, err := (&folder{dir: dir}).list()
		if err != nil {
			yield(key.Info{}, err)
			return
		}
		for _, k := range keys {
			if !yield(k.info, k.err) {
				return
			}
		}
	}
}

// Name implements [key.Backend].
func (b *Backend) Name() string { return backendName }

// Close implements [key.Backend]: it closes the device.
func (b *Backend) Close() error { return b.device.Close() }

// Keys implements [key.Backend]. It reads the key folder, when something in it
// has changed, and never the device.
func (b *Backend) Keys(context.Context) iter.Seq2[key.Signer, error] {
	return func(yield func(key.Signer, error) bool) {
		keys, err := b.folder.list()
		if err != nil {
			yield(nil, err)
			return
		}
		for _, k := range keys {
			var s key.Signer
			if k.err == nil {
				s = &signer{b, k}
			}
			if !yield(s, k.err) {
				return
			}
		}
	}
}

// Create implements [key.Creator]. Besides [key.ErrExists] its errors wrap
// [key.ErrUsage] for a bad name or PIN, [key.ErrUnsupported] for an algorithm
// that the TPM does not know, and those of [Device.Do]. The PIN is asked for last.
func (b *Backend) Create(ctx context.Context, s key.Spec) (key.Signer, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if b.folder.has(s.Name) {
		return nil, fmt.Errorf("key %q: %w", s.Name, key.ErrExists)
	}
	check := func(c *chip) error {
		return c.explain(c.attempt(true, func() error { return c.requireAlgorithm(s.Algorithm) }))
	}
	if err := b.device.run(ctx, check); err != nil {
		return nil, fmt.Errorf("create key %q: %w", s.Name, err)
	}
	o, err := b.generate(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("create key %q: %w", s.Name, err)
	}
	emptyAuth := s.PIN == nil
	file := &keyFile{
		kind: oidLoadable, emptyAuth: &emptyAuth, parent: ownerHierarchy, public: o.public, private: o.private,
	}
	k := storedKey{info: key.Info{Ref: key.Ref{Backend: backendName, Name: s.Name}}}
	if err := k.fill(file); err != nil {
		return nil, fmt.Errorf("create key %q: %w", s.Name, err)
	}
	k.object.parent, k.info.Parent = o.parent, formatName(o.parent)
	k.info.Comment = s.Comment
	if s.Comment == "" {
		k.info.Comment = s.Name
	}
	k.info.Created, k.info.Policy.Unattended = time.Now().UTC().Truncate(time.Second), s.Unattended
	if err := b.folder.store(ctx, &k, file); err != nil {
		return nil, fmt.Errorf("store key %q: %w", s.Name, err)
	}
	b.log.Info("key created", logx.Ref, k.info.Ref.String(), logx.Key, string(k.info.ID))
	return &signer{b, k}, nil
}

// generate makes the key in the TPM, with the PIN if there is to be one.
func (b *Backend) generate(ctx context.Context, s key.Spec) (*object, error) {
	var made *object
	generate := func(pin []byte) error {
		return b.device.run(ctx, func(c *chip) error {
			err := c.attempt(true, func() error {
				t, err := c.newTemplate(s, pin != nil)
				if err == nil {
					made, err = c.create(t, pin)
				}
				return err
			})
			return c.explain(err)
		})
	}
	if s.PIN == nil {
		err := generate(nil)
		return made, err
	}
	err := s.PIN(ctx, func(pin []byte) error {
		if err := checkPIN(pin); err != nil {
			return err
		}
		return generate(pin)
	})
	if err == nil && made == nil {
		err = fmt.Errorf("no PIN was given: %w", key.ErrDenied)
	}
	return made, err
}

// Delete implements [key.Deleter]; the reference must have a name.
func (b *Backend) Delete(ctx context.Context, r key.Ref) error {
	if r.Backend != "" && r.Backend != backendName || !key.ValidName(r.Name) {
		return fmt.Errorf("key %q: %w", r, key.ErrNotFound)
	}
	if err := b.folder.remove(ctx, r.Name); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	b.log.Info("key deleted", logx.Ref, r.String())
	return nil
}
