package agent

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/key"
)

func TestCreateAndDelete(t *testing.T) {
	h := start(t, nil)
	c := h.client()
	ctx := t.Context()
	plain, err := c.Create(ctx, key.Spec{Name: "plain", Usage: key.SSH, Algorithm: key.P256, Comment: "me@here"})
	if err != nil || plain.Comment != "me@here" || plain.Policy.PIN {
		t.Fatalf("%+v, %v", plain, err)
	}
	pin := keytest.Lend([]byte("secret 1"))
	if _, err := c.Create(ctx, key.Spec{Name: "pin", Usage: key.SSH, Algorithm: key.P256, PIN: pin}); err != nil {
		t.Fatal(err)
	}
	h.person.pins = []string{"secret 2"}
	asked, err := c.CreateWithPrompt(ctx, key.Spec{Name: "asked", Usage: key.Artifact, Algorithm: key.P384, Unattended: true})
	if err != nil || !asked.Policy.PIN || !asked.Policy.Unattended {
		t.Fatalf("%+v, %v", asked, err)
	}
	if n := len(h.person.questions()); n != 2 {
		t.Errorf("asked %d times for a new PIN", n)
	}
	list, err := c.List(ctx)
	if err != nil || len(list) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	for name, want := range map[string]string{"pin": "secret 1", "asked": "secret 2"} {
		h.person.pins = []string{want}
		k, err := c.Key(ctx, key.Ref{Name: name}, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.SignSSHSIG(ctx, "file", "sha256", make([]byte, 32)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.Resolve(ctx, key.Ref{Name: "none"}); !errors.Is(err, key.ErrNotFound) || len(hint.Of(err)) == 0 {
		t.Errorf("a missing key: %v", err)
	}
	if in, err := c.Resolve(ctx, key.Ref{ID: plain.ID[:8]}); err != nil || in.ID != plain.ID {
		t.Errorf("by prefix: %+v, %v", in, err)
	}
	if err := c.Delete(ctx, plain); err != nil {
		t.Error(err)
	}
	if err := c.Delete(ctx, plain); !errors.Is(err, key.ErrNotFound) {
		t.Errorf("second delete: %v", err)
	}
	for _, want := range []string{
		"create plain begun", "create tpm/plain done", "create tpm/pin done", "create tpm/asked done",
		"delete tpm/plain begun", "delete tpm/plain done",
	} {
		if got := h.outcomes(); !slices.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
}

// copied is a backend whose keys are there twice, until the copy is deleted.
type copied struct {
	*keytest.Backend
	name string
}

type namedKey struct {
	key.Signer
	name string
}

func (k namedKey) Info() key.Info {
	in := k.Signer.Info()
	in.Ref.Name = k.name
	return in
}

func (b *copied) Keys(ctx context.Context) iter.Seq2[key.Signer, error] {
	return func(yield func(key.Signer, error) bool) {
		for s, err := range b.Backend.Keys(ctx) {
			if !yield(s, err) || b.name != "" && !yield(namedKey{s, b.name}, nil) {
				return
			}
		}
	}
}

func (b *copied) Delete(ctx context.Context, r key.Ref) error {
	if r.Name != b.name {
		return b.Backend.Delete(ctx, r)
	}
	b.name = ""
	return nil
}

// TestDeleteOneOfTwo: of two files with the same key, the one that is meant goes.
func TestDeleteOneOfTwo(t *testing.T) {
	h := start(t, nil)
	one := h.key(key.Spec{Name: "one", Usage: key.SSH})
	h.server.config.Keys = key.NewRing(&copied{Backend: h.backend, name: "two"})
	two := one
	two.Ref.Name = "two"
	c := h.client()
	other := two
	other.ID = key.ID(strings.Repeat("0", 64))
	if err := c.Delete(t.Context(), other); !errors.Is(err, key.ErrNotFound) {
		t.Errorf("another key of that name: %v", err)
	}
	for query, want := range map[string]error{
		"":                             key.ErrAmbiguous,
		"?ref=":                        key.ErrUsage,
		"?ref=tpm/two&ref=tpm/one":     key.ErrUsage,
		"?ref=tpm/two&force=1":         key.ErrUsage,
		"?name=two":                    key.ErrUsage,
		"?ref=tpm/two;":                key.ErrUsage,
		"?ref=" + other.Ref.Name + "x": key.ErrNotFound,
	} {
		if err := c.call(t.Context(), "DELETE", "/v1/keys/"+string(one.ID)+query, nil, &struct{}{}); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", query, err, want)
		}
	}
	if err := c.Delete(t.Context(), two); err != nil {
		t.Error(err)
	}
	if list, err := c.List(t.Context()); err != nil || len(list) != 1 || list[0].Ref != one.Ref {
		t.Errorf("left are %v, %v", list, err)
	}
}

// TestDeletedKeySignsNoMore: not even for those who were waiting for a person when
// it was deleted.
func TestDeletedKeySignsNoMore(t *testing.T) {
	h := start(t, nil)
	plain := h.key(key.Spec{Name: "plain", Usage: key.Artifact})
	pin := h.key(key.Spec{Name: "pin", Usage: key.Artifact, PIN: keytest.Lend([]byte("1234"))})
	c := h.client()
	// A person who answers although the prompt is gone.
	asked, answer := make(chan struct{}), make(chan struct{})
	h.person.confirm = func(context.Context, Question) error { asked <- struct{}{}; <-answer; return nil }
	h.person.pin = func(context.Context, Question) (string, error) { asked <- struct{}{}; <-answer; return "1234", nil }
	for _, in := range []key.Info{plain, pin} {
		k, err := c.Key(t.Context(), in.Ref, "")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			s, err := k.SignBlob(t.Context(), []byte("x"))
			if s != nil {
				t.Errorf("%s signed", in.Ref)
			}
			done <- err
		}()
		<-asked
		if err := c.Delete(t.Context(), in); err != nil {
			t.Error(err)
		}
		answer <- struct{}{}
		if err := <-done; !errors.Is(err, key.ErrNotFound) || !strings.Contains(err.Error(), "deleted meanwhile") {
			t.Errorf("%s: %v", in.Ref, err)
		}
		if r := h.lastRecord(); r.Action != "sign" || r.Outcome != outcomeFailed || r.Key != in.ID {
			t.Errorf("audit %+v", r)
		}
	}
	if n := len(h.server.uses.all); n != 0 {
		t.Errorf("%d requests are still under way", n)
	}
}
