package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/key"
)

// pinKey makes a key with the PIN "1234" that remembers it.
func (h *harness) pinKey() key.Info {
	h.t.Helper()
	return h.key(key.Spec{Name: "k", Usage: key.SSH, PIN: keytest.Lend([]byte("1234"))})
}

func (h *harness) signs(in key.Info) error {
	k, err := h.client().Key(h.t.Context(), in.Ref, "")
	if err == nil {
		_, err = k.SignSSHSIG(h.t.Context(), "file", "sha256", make([]byte, 32))
	}
	return err
}

// TestChangePINAsks: for the old PIN, though it is remembered, and twice for the
// new one; and a wrong one is asked again.
func TestChangePINAsks(t *testing.T) {
	h := start(t, nil)
	in := h.pinKey()
	h.person.pins = []string{"1234"}
	if err := h.signs(in); err != nil {
		t.Fatal(err)
	}
	h.person.questions()
	h.person.pins = []string{"wrong", "1234", "5678", "5678", "5678"}
	now, err := h.client().ChangePINWithPrompt(t.Context(), in, key.PINChange{})
	if err != nil || !now.Policy.PIN || now.ID != in.ID {
		t.Fatalf("%+v, %v", now, err)
	}
	asked := h.person.questions()
	if len(asked) != 4 {
		t.Fatalf("asked %+v", asked)
	}
	for i, want := range []string{"that the key tpm/k has now", "that the key tpm/k has now", "Choose the new PIN of the key tpm/k", "once more"} {
		if !strings.Contains(asked[i].Title, want) {
			t.Errorf("question %d: %q; want %q", i, asked[i].Title, want)
		}
	}
	if !strings.Contains(asked[1].Error, "2 tries left") {
		t.Errorf("after a wrong PIN: %q", asked[1].Error)
	}
	if err := h.signs(in); err != nil {
		t.Errorf("with the new PIN: %v", err)
	}
	if n := len(h.person.questions()); n != 1 {
		t.Errorf("asked %d times for the new PIN", n)
	}
}

func TestChangePINIsRecorded(t *testing.T) {
	h := start(t, nil)
	in := h.pinKey()
	c := h.client()
	if _, err := c.ChangePIN(t.Context(), in, key.PINChange{Old: keytest.Lend([]byte("wrong"))}); err == nil {
		t.Error("a wrong PIN was taken")
	}
	for _, step := range []key.PINChange{
		{Old: keytest.Lend([]byte("1234")), New: keytest.Lend([]byte("5678"))},
		{Old: keytest.Lend([]byte("5678"))},
		{New: keytest.Lend([]byte("1234"))},
	} {
		now, err := c.ChangePIN(t.Context(), in, step)
		if err != nil || now.Policy.PIN != (step.New != nil) {
			t.Fatalf("%+v, %v", now, err)
		}
		in = now
	}
	want := []string{
		"remove-pin tpm/k begun", "remove-pin tpm/k failed", "change-pin tpm/k begun", "change-pin tpm/k done",
		"remove-pin tpm/k begun", "remove-pin tpm/k done", "set-pin tpm/k begun", "set-pin tpm/k done",
	}
	if got := h.outcomes(); !slices.Equal(got, want) {
		t.Errorf("audit %q, want %q", got, want)
	}
	if n := len(h.server.secrets.waiting); n != 0 {
		t.Errorf("%d secrets are left", n)
	}
}

// TestSigningDuringAChange: nobody uses the PIN that is about to go, neither from
// memory nor by asking, and the next PIN is not taken for a wrong one.
func TestSigningDuringAChange(t *testing.T) {
	h := start(t, nil)
	in := h.pinKey()
	h.person.pins = []string{"1234"}
	if err := h.signs(in); err != nil {
		t.Fatal(err)
	}
	asked, answer := make(chan struct{}), make(chan struct{})
	h.person.pins = nil
	h.person.pin = func(_ context.Context, q Question) (string, error) {
		if strings.Contains(q.Title, "has now") {
			asked <- struct{}{}
			<-answer
			return "1234", nil
		}
		return "5678", nil
	}
	changed, signed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := h.client().ChangePINWithPrompt(t.Context(), in, key.PINChange{})
		changed <- err
	}()
	<-asked
	go func() { signed <- h.signs(in) }()
	select {
	case err := <-signed:
		t.Errorf("signed during the change: %v", err)
	default:
	}
	close(answer)
	if err := <-changed; err != nil {
		t.Error(err)
	}
	// Software keys of before keep the old PIN, so this one may be refused.
	var wrong *key.PINError
	if err := <-signed; err != nil && !errors.As(err, &wrong) {
		t.Error(err)
	}
	if err := h.signs(in); err != nil {
		t.Errorf("after the change: %v", err)
	}
}

func TestChangePINRefusals(t *testing.T) {
	h := start(t, nil)
	pin := h.pinKey()
	plain := h.key(key.Spec{Name: "plain", Usage: key.SSH})
	c := h.client()
	call := func(in key.Info, body pinRequest) error {
		return c.call(t.Context(), "POST", "/v1/keys/"+string(in.ID)+"/pin", body, &keyAnswer{})
	}
	for name, x := range map[string]struct {
		key  key.Info
		body pinRequest
		want error
	}{
		"nothing said":             {pin, pinRequest{}, key.ErrUsage},
		"old is unknown":           {pin, pinRequest{Old: "file", New: pinNone}, key.ErrUsage},
		"old is needed":            {pin, pinRequest{Old: pinNone, New: pinNone}, key.ErrUsage},
		"old without its secret":   {pin, pinRequest{Old: pinSecret, New: pinNone}, key.ErrUsage},
		"old secret is unknown":    {pin, pinRequest{Old: pinSecret, OldSecret: "x", New: pinNone}, key.ErrUsage},
		"secret nobody wants":      {pin, pinRequest{Old: pinPrompt, New: pinNone, NewSecret: "x"}, key.ErrUsage},
		"new is unknown":           {pin, pinRequest{Old: pinPrompt, New: "ask"}, key.ErrUsage},
		"old of a key without PIN": {plain, pinRequest{Old: pinPrompt, New: pinNone}, key.ErrUsage},
		"nothing to remove":        {plain, pinRequest{Old: pinNone, New: pinNone}, key.ErrUsage},
		"wrong ones not counted":   {plain, pinRequest{Old: pinNone, New: pinPrompt}, key.ErrUsage},
		"another name":             {pin, pinRequest{Ref: "tpm/plain", Old: pinPrompt, New: pinNone}, key.ErrNotFound},
		"bad name":                 {pin, pinRequest{Ref: "../k", Old: pinPrompt, New: pinNone}, key.ErrUsage},
		"nobody to ask":            {pin, pinRequest{Old: pinPrompt, New: pinNone}, key.ErrDenied},
	} {
		if err := call(x.key, x.body); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
	}
	if asked := h.person.questions(); len(asked) != 1 {
		t.Errorf("asked %+v", asked)
	}
}
