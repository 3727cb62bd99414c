package agent

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/key"
)

func TestDigestSigner(t *testing.T) {
	h := start(t, nil)
	c := h.client()
	for _, alg := range []key.Algorithm{key.P256, key.RSA2048} {
		in := h.key(key.Spec{Name: string(alg), Usage: key.Digest, Algorithm: alg, Unattended: true})
		s, err := c.Signer(t.Context(), in.Ref, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			digest := hashOf(hash, []byte("m"))
			opts := []crypto.SignerOpts{hash}
			if alg.RSA() {
				opts = append(opts, &rsa.PSSOptions{Hash: hash, SaltLength: rsa.PSSSaltLengthEqualsHash})
			}
			for _, o := range opts {
				signature, err := s.Sign(nil, digest, o)
				if err != nil || !keytest.Verifies(s.Public(), o, digest, signature) {
					t.Errorf("%s with %v: %x, %v", alg, o, signature, err)
				}
			}
		}
		if _, err := s.Sign(nil, make([]byte, 31), crypto.SHA256); !errors.Is(err, key.ErrUsage) {
			t.Errorf("31 bytes: %v", err)
		}
		if _, err := s.Sign(nil, make([]byte, 20), crypto.SHA1); !errors.Is(err, key.ErrUsage) {
			t.Errorf("SHA-1: %v", err)
		}
		if _, err := s.Sign(nil, make([]byte, 32), &rsa.PSSOptions{Hash: crypto.SHA256, SaltLength: 5}); err == nil {
			t.Error("an odd salt length was taken")
		}
		if r := h.lastRecord(); r.SHA256 != "" {
			t.Errorf("audit claims to know the data: %+v", r)
		}
	}
}

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

// TestBrokenBackend: its error is listed beside the keys that work, and a name
// that it could hold is not resolved to another key.
func TestBrokenBackend(t *testing.T) {
	h := start(t, nil)
	in := h.key(key.Spec{Name: "k", Usage: key.SSH})
	h.backend.Broken = hint.Wrap(fmt.Errorf("look for the device: %w", key.ErrNoDevice), "plug it in")
	c := h.client()
	list, err := c.List(t.Context())
	if len(list) != 1 || !errors.Is(err, key.ErrNoDevice) || len(hint.Of(err)) != 1 {
		t.Errorf("%v, %v, hints %q", list, err, hint.Of(err))
	}
	if _, err := c.Resolve(t.Context(), key.Ref{Name: "other"}); !errors.Is(err, key.ErrNoDevice) {
		t.Errorf("resolve: %v", err)
	}
	if got, err := c.Resolve(t.Context(), key.Ref{ID: in.ID}); err != nil || got.ID != in.ID {
		t.Errorf("by whole id: %v, %v", got, err)
	}
	client, _ := h.dialSSH()
	if keys, err := client.List(); err != nil || len(keys) != 1 {
		t.Errorf("SSH: %v, %v", keys, err)
	}
}

func TestStatusAndDevice(t *testing.T) {
	h := start(t, nil)
	for name, c := range map[string]*Client{"socket": h.client(), "in process": inProcess(t, h.server)} {
		s, err := c.Status(t.Context())
		if err != nil || s.API != 1 || s.Device != "test:" || s.PID == 0 {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
		d, err := c.Device(t.Context())
		if err != nil || d.Device != "test:" || string(d.Status) != `{"lockout":3}` {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

func inProcess(t *testing.T, s *Server) *Client {
	t.Helper()
	c := InProcess(s)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if _, err := c.Status(context.Background()); err == nil {
			t.Error("a closed client answers")
		}
	})
	return c
}

func TestInProcessSigns(t *testing.T) {
	h := start(t, nil)
	h.key(key.Spec{Name: "k", Usage: key.SSH})
	c := inProcess(t, h.server)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			k, err := c.Key(t.Context(), key.Ref{Name: "k"}, "")
			if err == nil {
				_, err = k.SignSSHSIG(t.Context(), "git", "sha256", make([]byte, 32))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestDialNobody(t *testing.T) {
	h := start(t, nil)
	if _, err := Dial(t.Context(), h.control+"x"); !errors.Is(err, ErrNoAgent) || len(hint.Of(err)) == 0 {
		t.Errorf("no socket: %v", err)
	}
	h.stop()
	if _, err := Dial(t.Context(), h.control); !errors.Is(err, ErrNoAgent) {
		t.Errorf("after shutdown: %v", err)
	}
}

// TestErrorsTravel: each class of error survives the way to the client.
func TestErrorsTravel(t *testing.T) {
	for _, c := range codes {
		err := hint.Wrap(fmt.Errorf("step: %w", c.err), "do this")
		status, w := encodeError(err)
		got := roundTrip(t, w).decode()
		if !errors.Is(got, c.err) || got.Error() != err.Error() || status != c.status || !reflect.DeepEqual(hint.Of(got), []string{"do this"}) {
			t.Errorf("%v came back as %v (%d)", err, got, status)
		}
	}
	for _, left := range []int{-1, 0, 3} {
		_, w := encodeError(fmt.Errorf("step: %w", &key.PINError{TriesLeft: left}))
		var pin *key.PINError
		if got := roundTrip(t, w).decode(); !errors.As(got, &pin) || pin.TriesLeft != left {
			t.Errorf("%d tries left came back as %+v", left, got)
		}
	}
	for _, recovery := range []time.Duration{0, 90 * time.Second} {
		_, w := encodeError(fmt.Errorf("step: %w", &key.LockoutError{Recovery: recovery}))
		var lockout *key.LockoutError
		if got := roundTrip(t, w).decode(); !errors.As(got, &lockout) || lockout.Recovery != recovery {
			t.Errorf("recovery %v came back as %+v", recovery, got)
		}
	}
	_, w := encodeError(&key.KeyError{Ref: key.Ref{Backend: "tpm", Name: "torn"}, Err: hint.Wrap(errors.New("torn file"), "do this")})
	var unreadable *key.KeyError
	if got := roundTrip(t, w).decode(); !errors.As(got, &unreadable) || unreadable.Ref.Name != "torn" || got.Error() != "torn file" || len(hint.Of(got)) != 1 {
		t.Errorf("unreadable key came back as %v", got)
	}
	_, w = encodeError(errors.New("plain"))
	if got := roundTrip(t, w).decode(); got.Error() != "plain" || errors.Unwrap(got) != nil {
		t.Errorf("plain came back as %v", got)
	}
}

func roundTrip(t *testing.T, w wireError) (back wireError) {
	t.Helper()
	data, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	return back
}

// TestCancelledRequest: a client that gives up takes its prompt with it.
func TestCancelledRequest(t *testing.T) {
	h := start(t, nil)
	in := h.key(key.Spec{Name: "k", Usage: key.Artifact})
	asked, gone := make(chan struct{}), make(chan struct{})
	h.person.confirm = func(ctx context.Context, _ Question) error {
		close(asked)
		<-ctx.Done()
		close(gone)
		return ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	k, err := h.client().Key(ctx, in.Ref, "")
	if err != nil {
		t.Fatal(err)
	}
	go func() { <-asked; cancel() }()
	if _, err := k.SignBlob(ctx, bytes.Repeat([]byte("x"), 100<<10)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-gone
}

// TestShutdown: prompts end, commands in flight finish, later calls fail.
func TestShutdown(t *testing.T) {
	h := start(t, nil)
	in := h.key(key.Spec{Name: "k", Usage: key.Artifact})
	asked := make(chan struct{})
	h.person.confirm = func(ctx context.Context, _ Question) error {
		close(asked)
		<-ctx.Done()
		return ctx.Err()
	}
	silent, err := net.Dial("unix", h.control) // must not hold it up
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	k, err := h.client().Key(t.Context(), in.Ref, "")
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error)
	go func() { _, err := k.SignBlob(t.Context(), []byte("x")); result <- err }()
	<-asked
	began := time.Now()
	h.stop()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("shutdown took %v", took)
	}
	if err := <-result; !errors.Is(err, key.ErrDenied) {
		t.Errorf("the request in flight: %v", err)
	}
	for _, serve := range []func(net.Listener) error{h.server.ServeSSH, h.server.ServeControl} {
		if err := serve(&pairListener{done: make(chan struct{})}); err != nil {
			t.Errorf("serving after shutdown: %v", err)
		}
	}
}

// TestSpecNamesEveryCode: the contract and the table agree.
func TestSpecNamesEveryCode(t *testing.T) {
	spec, err := os.ReadFile(filepath.Join(testenv.Root(), "docs", "spec", "control-api.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]int{codePIN: 403, codeLockout: 503, codeUnreadable: 500, codeInternal: 500, codeNoEndpoint: 404}
	for _, c := range codes {
		rows[c.code] = c.status
	}
	for code, status := range rows {
		if row := fmt.Sprintf("| `%s` | %d |", code, status); !strings.Contains(string(spec), row) {
			t.Errorf("the specification has no row %q", row)
		}
	}
}
