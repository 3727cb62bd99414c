package agent

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/limits"
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
	h := start(t, func(c *Config) {
		c.Process = func() *Process { return &Process{Sandbox{3, 6}, "/bin/pinentry"} }
	})
	for name, c := range map[string]*Client{"socket": h.client(), "in process": inProcess(t, h.server)} {
		s, err := c.Status(t.Context())
		if err != nil || s.API != 1 || s.Device != "test:" || s.PID == 0 {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
		if s.Process == nil || s.Sandbox.ABI != 3 || s.Sandbox.Full != 6 || s.Asks != "/bin/pinentry" {
			t.Errorf("%s: process %+v", name, s.Process)
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
	if _, err := Dial(t.Context(), h.control+"x"); !errors.Is(err, ErrNoAgent) {
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

// TestLongErrors: no request makes a long answer of its own words.
func TestLongErrors(t *testing.T) {
	_, w := encodeError(hint.Wrap(errors.New(strings.Repeat("ä", limits.ErrorText)), "x"+strings.Repeat("ä", limits.ErrorText)))
	for _, text := range []string{w.Message, w.Hints[0]} {
		if got, cut := strings.CutSuffix(text, "..."); !cut || len(got) > limits.ErrorText || len(got) < limits.ErrorText-1 || !utf8.ValidString(got) {
			t.Errorf("%d bytes are left of a text: %.20q", len(got), got)
		}
	}
	c := start(t, nil).client()
	err := c.call(t.Context(), "POST", "/v1/keys", map[string]string{strings.Repeat("x", 1<<20): ""}, &struct{}{})
	if !errors.Is(err, key.ErrUsage) || len(err.Error()) > limits.ErrorText+3 {
		t.Errorf("an answer of %d bytes: %.100v", len(err.Error()), err)
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
