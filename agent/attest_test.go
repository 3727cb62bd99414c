package agent

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/key"
)

// attested is a backend whose device vouches for its keys, after asking for their
// PIN.
type attested struct{ *keytest.Backend }

type attester struct {
	key.Signer
	auth key.AuthFunc
}

// Attest implements [key.Attester].
func (a attester) Attest(ctx context.Context, nonce []byte) ([]byte, error) {
	evidence := []byte("evidence for " + string(nonce))
	if !a.Info().Policy.PIN {
		return evidence, nil
	}
	request := key.AuthRequest{Key: a.Info(), TriesLeft: func(context.Context) (int, error) { return 3, nil }}
	err := a.auth(ctx, request, func(pin []byte) error {
		if string(pin) != "1234" {
			return &key.PINError{TriesLeft: 2}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return evidence, nil
}

// Keys implements [key.Backend].
func (b attested) Keys(ctx context.Context) iter.Seq2[key.Signer, error] {
	return func(yield func(key.Signer, error) bool) {
		for s, err := range b.Backend.Keys(ctx) {
			if !yield(attester{s, b.Auth}, err) {
				return
			}
		}
	}
}

func TestAttest(t *testing.T) {
	h := start(t, nil)
	h.server.config.Keys = key.NewRing(attested{h.backend})
	c := h.client()
	release := h.key(key.Spec{Name: "release", Usage: key.Artifact})
	safe := h.key(key.Spec{Name: "safe", Usage: key.SSH, PIN: keytest.Lend([]byte("1234"))})
	evidence, err := c.Attest(t.Context(), release, []byte("a nonce"))
	if err != nil || string(evidence) != "evidence for a nonce" {
		t.Fatalf("%q, %v", evidence, err)
	}
	if n := len(h.person.questions()); n != 0 {
		t.Errorf("a person was asked %d times: nothing was signed", n)
	}
	_, want := sha256Of(evidence)
	if r := h.lastRecord(); r.Action != "attest" || r.Key != release.ID || r.Ref != "tpm/release" || r.Digest != want || r.Outcome != outcomeDone {
		t.Errorf("recorded %+v", r)
	}
	h.person.pins = []string{"1234"}
	if evidence, err = c.Attest(t.Context(), safe, nil); err != nil || string(evidence) != "evidence for " {
		t.Errorf("%q, %v", evidence, err)
	}
	asked := h.person.questions()
	if len(asked) != 1 || !strings.Contains(asked[0].Title, "PIN of the key tpm/safe") || !hasFact(asked[0], "that the key is in this device") {
		t.Errorf("asked %+v", asked)
	}
}

func hasFact(q Question, value string) bool {
	for _, f := range q.Facts {
		if f.Value == value && !f.Quoted {
			return true
		}
	}
	return false
}

// TestDeletedKeyIsNotAttested, not even for who waited for a person meanwhile.
func TestDeletedKeyIsNotAttested(t *testing.T) {
	h := start(t, nil)
	h.server.config.Keys = key.NewRing(attested{h.backend})
	in := h.key(key.Spec{Name: "k", Usage: key.SSH, PIN: keytest.Lend([]byte("1234"))})
	asked, answer := make(chan struct{}), make(chan struct{})
	h.person.pin = func(context.Context, Question) (string, error) { asked <- struct{}{}; <-answer; return "1234", nil }
	c := h.client()
	done := make(chan error)
	go func() {
		evidence, err := c.Attest(t.Context(), in, nil)
		if evidence != nil {
			t.Errorf("%q", evidence)
		}
		done <- err
	}()
	<-asked
	if err := h.client().Delete(t.Context(), in); err != nil {
		t.Error(err)
	}
	answer <- struct{}{}
	if err := <-done; !errors.Is(err, key.ErrNotFound) || !strings.Contains(err.Error(), "deleted meanwhile") {
		t.Errorf("%v", err)
	}
	if r := h.lastRecord(); r.Action != "attest" || r.Outcome != outcomeFailed {
		t.Errorf("recorded %+v", r)
	}
}

// TestAttestIsRefused, and that is recorded, if there is such a key at all.
func TestAttestIsRefused(t *testing.T) {
	h := start(t, nil)
	c := h.client()
	soft := h.key(key.Spec{Name: "soft", Usage: key.SSH})
	if _, err := c.Attest(t.Context(), soft, nil); !errors.Is(err, key.ErrUnsupported) {
		t.Errorf("a device that vouches for nothing: %v", err)
	}
	if r := h.lastRecord(); r.Action != "attest" || r.Key != soft.ID || r.Outcome != outcomeFailed || r.Code != "unsupported" {
		t.Errorf("recorded %+v", r)
	}
	before := len(h.records())
	stranger := soft
	stranger.ID = key.ID(strings.Repeat("0", 64))
	if _, err := c.Attest(t.Context(), stranger, nil); !errors.Is(err, key.ErrNotFound) {
		t.Errorf("no such key: %v", err)
	}
	if err := c.call(t.Context(), "POST", "/v1/keys/"+string(soft.ID)+"/attest", map[string]int{"force": 1}, &struct{}{}); !errors.Is(err, key.ErrUsage) {
		t.Errorf("unknown field: %v", err)
	}
	if n := len(h.records()); n != before {
		t.Errorf("%d records", n-before)
	}
}

func TestEndorsement(t *testing.T) {
	h := start(t, nil)
	c := h.client()
	eks, err := c.EndorsementKeys(t.Context())
	if err != nil || eks.Device != "test:" || string(eks.Keys) != `[{"template":"L-1"}]` {
		t.Errorf("%+v, %v", eks, err)
	}
	answer, err := c.Answer(t.Context(), []byte("challenge"))
	if err != nil || string(answer) != "answer" {
		t.Errorf("%q, %v", answer, err)
	}
	_, digest := sha256Of([]byte("challenge"))
	if r := h.lastRecord(); r.Action != "answer" || r.Ref != "test:" || r.Digest != digest || r.Outcome != outcomeDone {
		t.Errorf("recorded %+v", r)
	}
	if _, err := c.Answer(t.Context(), []byte("another")); !errors.Is(err, key.ErrForeign) || h.lastRecord().Code != "foreign" {
		t.Errorf("%v; recorded %+v", err, h.lastRecord())
	}
	certificate := strings.Repeat("0", 64)
	if err := c.Pin(t.Context(), certificate); err != nil {
		t.Error(err)
	}
	if r := h.lastRecord(); r.Action != "pin" || r.Ref != "test:" || r.Digest != "sha256:"+certificate || r.Outcome != outcomeDone {
		t.Errorf("recorded %+v", r)
	}
	if err := c.Pin(t.Context(), strings.Repeat("A", 1<<20)); !errors.Is(err, key.ErrForeign) {
		t.Errorf("%v", err)
	}
	if r := h.lastRecord(); r.Digest != "" || r.Outcome != outcomeFailed {
		t.Errorf("recorded %+v", r)
	}
}

// TestUnrecordedEvidenceIsKept: what cannot be recorded is not given out.
func TestUnrecordedEvidenceIsKept(t *testing.T) {
	h := start(t, nil)
	h.server.config.Keys = key.NewRing(attested{h.backend})
	in := h.key(key.Spec{Name: "k", Usage: key.SSH})
	c := h.client()
	if err := h.server.config.Audit.Close(); err != nil {
		t.Fatal(err)
	}
	if evidence, err := c.Attest(t.Context(), in, nil); err == nil || evidence != nil {
		t.Errorf("%q, %v", evidence, err)
	}
	if answer, err := c.Answer(t.Context(), []byte("challenge")); err == nil || answer != nil {
		t.Errorf("%q, %v", answer, err)
	}
}
