package key_test

import (
	"context"
	"encoding/hex"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

func TestParseRef(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	tests := []struct {
		text string
		want key.Ref
		ok   bool
	}{
		{"release", key.Ref{Name: "release"}, true},
		{"tpm/release", key.Ref{Backend: "tpm", Name: "release"}, true},
		{"piv/12345/sign", key.Ref{Backend: "piv/12345", Name: "sign"}, true},
		{"sealsmith://tpm/release", key.Ref{Backend: "tpm", Name: "release"}, true},
		{"id:" + id, key.Ref{ID: key.ID(id)}, true},
		{"id:01234567", key.Ref{ID: "01234567"}, true},
		{"0.k_e-y", key.Ref{Name: "0.k_e-y"}, true},
		{"id:0123456", key.Ref{}, false},
		{"id:" + id + "0", key.Ref{}, false},
		{"id:0123456G", key.Ref{}, false},
		{"", key.Ref{}, false},
		{"Release", key.Ref{}, false},
		{".hidden", key.Ref{}, false},
		{"a/b", key.Ref{}, false},
		{"tpm/", key.Ref{}, false},
		{"/release", key.Ref{}, false},
		{"tpm/../release", key.Ref{}, false},
		{"release\n", key.Ref{}, false},
		{strings.Repeat("a", 65), key.Ref{}, false},
	}
	for _, tt := range tests {
		got, err := key.ParseRef(tt.text)
		if (err == nil) != tt.ok || got != tt.want {
			t.Errorf("ParseRef(%q) = %+v, %v; want %+v, ok %v", tt.text, got, err, tt.want, tt.ok)
		}
		if err != nil && !errors.Is(err, key.ErrUsage) {
			t.Errorf("ParseRef(%q): %v is not ErrUsage", tt.text, err)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	for _, seed := range []string{"release", "tpm/release", "piv/1/a", "id:01234567", "sealsmith://x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := key.ParseRef(s)
		if err != nil {
			return
		}
		again, err := key.ParseRef(r.String())
		if err != nil || again != r {
			t.Fatalf("%q gives %+v, which prints as %q and gives %+v, %v", s, r, r, again, err)
		}
	})
}

func TestUsageLabels(t *testing.T) {
	// The labels stand in keys that people already have: they never change.
	// printf 'sealsmith key usage v1\0ssh' | sha256sum
	const ssh = "e9773152c3e1df2a13a55eee2d11df2bea4c69ead5476cccc1014528c98c62df"
	label := key.SSH.Label()
	if got := hex.EncodeToString(label[:]); got != ssh {
		t.Errorf("label of ssh is %s, want %s", got, ssh)
	}
	for _, u := range key.Usages {
		label := u.Label()
		if got, ok := key.UsageOfLabel(label[:]); !ok || got != u {
			t.Errorf("label of %s reads back as %q, %v", u, got, ok)
		}
	}
	if u, ok := key.UsageOfLabel(nil); ok {
		t.Errorf("an empty label reads as %s", u)
	}
}

func TestSpecValidate(t *testing.T) {
	good := key.Spec{Name: "k", Usage: key.SSH, Algorithm: key.P256}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	bad := map[string]func(*key.Spec){
		"name":      func(s *key.Spec) { s.Name = "K" },
		"usage":     func(s *key.Spec) { s.Usage = "any" },
		"algorithm": func(s *key.Spec) { s.Algorithm = "rsa1024" },
		"comment":   func(s *key.Spec) { s.Comment = "a\nb" },
		"long":      func(s *key.Spec) { s.Comment = strings.Repeat("a", limits.KeyComment+1) },
		"not UTF-8": func(s *key.Spec) { s.Comment = "\xff" },
		"bidi":      func(s *key.Spec) { s.Comment = "a\u202eb" },
	}
	for name, change := range bad {
		s := good
		change(&s)
		if err := s.Validate(); !errors.Is(err, key.ErrUsage) {
			t.Errorf("%s: %v; want ErrUsage", name, err)
		}
	}
}

func TestRing(t *testing.T) {
	ctx := t.Context()
	first, second := &keytest.Backend{}, &keytest.Backend{}
	ring := key.NewRing(first, second)
	release, err := ring.Create(ctx, key.Spec{Name: "release", Usage: key.Artifact, Algorithm: key.P256})
	if err != nil {
		t.Fatal(err)
	}
	other, err := second.Create(ctx, key.Spec{Name: "other", Usage: key.SSH, Algorithm: key.P256})
	if err != nil {
		t.Fatal(err)
	}
	infos, err := ring.List(ctx)
	if err != nil || len(infos) != 2 || infos[0].Ref.Name != "other" {
		t.Fatalf("list: %+v, %v", infos, err)
	}
	resolve := func(text string) (key.Signer, error) {
		ref, err := key.ParseRef(text)
		if err != nil {
			t.Fatal(err)
		}
		return ring.Resolve(ctx, ref)
	}
	for _, text := range []string{"release", "tpm/release", "id:" + string(release.Info().ID), "id:" + string(release.Info().ID[:8])} {
		if s, err := resolve(text); err != nil || s.Info().ID != release.Info().ID {
			t.Errorf("resolve %q: %v", text, err)
		}
	}
	if _, err := resolve("missing"); !errors.Is(err, key.ErrNotFound) || len(hint.Of(err)) == 0 {
		t.Errorf("missing key: %v, hints %q", err, hint.Of(err))
	}
	if _, err := second.Create(ctx, key.Spec{Name: "release", Usage: key.SSH, Algorithm: key.P256}); err != nil {
		t.Fatal(err)
	}
	if _, err := resolve("release"); !errors.Is(err, key.ErrAmbiguous) {
		t.Errorf("two keys of a name: %v; want ErrAmbiguous", err)
	}

	// A backend that does not answer could hold the name, but not the ID.
	first.Broken = errors.New("card is away")
	if _, err := resolve("other"); !errors.Is(err, first.Broken) {
		t.Errorf("name with a broken backend: %v", err)
	}
	if _, err := ring.Signer(ctx, other.Info().ID); err != nil {
		t.Errorf("whole ID with a broken backend: %v", err)
	}
	// A single unreadable key is in the way of its own name, and of IDs.
	first.Broken = &key.KeyError{Ref: key.Ref{Backend: "tpm", Name: "broken"}, Err: errors.New("torn file")}
	if _, err := resolve("other"); err != nil {
		t.Errorf("name beside an unreadable key: %v", err)
	}
	for _, text := range []string{"broken", "tpm/broken", "id:00000000"} {
		if _, err := resolve(text); !errors.Is(err, first.Broken) {
			t.Errorf("resolve %q: %v; want the unreadable key's error", text, err)
		}
	}
	if infos, err := ring.List(ctx); !errors.Is(err, first.Broken) || len(infos) != 3 {
		t.Errorf("list with a broken backend: %d keys, %v", len(infos), err)
	}
}

// folder is a backend whose keys are copies of one key, under several names.
type folder struct {
	keytest.Backend
	one     key.Signer
	names   []string
	deleted []string
}

// copied is a key under another name.
type copied struct {
	key.Signer
	name string
}

func (c copied) Info() key.Info {
	in := c.Signer.Info()
	in.Ref.Name = c.name
	return in
}

func (f *folder) Keys(context.Context) iter.Seq2[key.Signer, error] {
	return func(yield func(key.Signer, error) bool) {
		for _, name := range f.names {
			if !yield(copied{f.one, name}, nil) {
				return
			}
		}
	}
}

func (f *folder) Delete(_ context.Context, r key.Ref) error {
	f.deleted = append(f.deleted, r.String())
	return nil
}

// TestCopiesOfAKey: a copied key file does not stop the key.
func TestCopiesOfAKey(t *testing.T) {
	ctx := t.Context()
	f := &folder{names: []string{"laptop", "copy"}}
	var err error
	f.one, err = f.Create(ctx, key.Spec{Name: "laptop", Usage: key.SSH, Algorithm: key.P256})
	if err != nil {
		t.Fatal(err)
	}
	ring := key.NewRing(f)
	infos, failed := ring.List(ctx)
	if failed != nil || len(infos) != 2 {
		t.Fatalf("list: %+v, %v", infos, failed)
	}
	id := f.one.Info().ID
	for ref, want := range map[key.Ref]string{
		{ID: id}:                         "copy",
		{ID: id[:8]}:                     "copy",
		{Name: "laptop"}:                 "laptop",
		{Backend: "tpm", Name: "laptop"}: "laptop",
		{Name: "copy"}:                   "copy",
	} {
		s, err := ring.Resolve(ctx, ref)
		if err != nil || s.Info().Ref.Name != want {
			t.Errorf("resolve %q: %v; want %s", ref, err, want)
		}
		if in, err := key.Find(infos, failed, ref); err != nil || in.Ref.Name != want {
			t.Errorf("find %q: %+v, %v; want %s", ref, in.Ref, err, want)
		}
	}
	if s, err := ring.Signer(ctx, id); err != nil || s.Info().Ref.Name != "copy" {
		t.Errorf("signer: %v", err)
	}
	err = ring.Delete(ctx, key.Ref{ID: id})
	if !errors.Is(err, key.ErrAmbiguous) || !strings.Contains(strings.Join(hint.Of(err), ""), "tpm/copy, tpm/laptop") {
		t.Errorf("delete by ID: %v, hints %q", err, hint.Of(err))
	}
	if err := ring.Delete(ctx, key.Ref{Backend: "tpm", Name: "laptop"}); err != nil {
		t.Error(err)
	}
	if want := []string{"tpm/laptop"}; !slices.Equal(f.deleted, want) {
		t.Errorf("deleted %q, want %q", f.deleted, want)
	}
}
