package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/secret"
	"github.com/sealsmith/sealsmith/key"
)

// device is a key.AuthFunc's other side: a key with the PIN "1234".
type device struct {
	pins *PINs
	info key.Info
	left int
	sent []string // what the device was sent
	err  error    // what it answers to the right PIN
}

func newDevice(p *PINs, usage key.Usage, unattended bool) *device {
	id := key.ID(strings.Repeat("a", 64))
	return &device{pins: p, left: 3, info: key.Info{
		ID: id, Ref: key.Ref{Backend: "tpm", Name: "k"}, Usage: usage, Policy: key.Policy{PIN: true, Unattended: unattended},
	}}
}

func (d *device) sign(ctx context.Context) error {
	request := key.AuthRequest{Key: d.info, TriesLeft: func(context.Context) (int, error) { return d.left, nil }}
	return d.pins.Auth(ctx, request, func(pin []byte) error {
		d.sent = append(d.sent, string(pin))
		if string(pin) != "1234" {
			d.left--
			return fmt.Errorf("device: %w", &key.PINError{TriesLeft: d.left})
		}
		return d.err
	})
}

// inBubble runs a test in a synctest bubble with a person and a store of PINs.
func inBubble(t *testing.T, f func(t *testing.T, p *person, pins *PINs)) {
	synctest.Test(t, func(t *testing.T) {
		p := &person{}
		pins := NewPINs(p)
		f(t, p, pins)
		pins.Close()
		synctest.Wait()
	})
}

func TestPINIsRemembered(t *testing.T) {
	inBubble(t, func(t *testing.T, p *person, pins *PINs) {
		p.pins = []string{"1234"}
		d := newDevice(pins, key.SSH, false)
		use := func(wantPrompts int) {
			t.Helper()
			if err := d.sign(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := len(p.questions()); got != wantPrompts {
				t.Errorf("%d prompts, want %d", got, wantPrompts)
			}
		}
		use(1)
		use(0)
		time.Sleep(limits.PINIdle - time.Second)
		use(0)
		time.Sleep(limits.PINIdle - time.Second)
		use(0)
		time.Sleep(limits.PINIdle + time.Second)
		use(1)
		// However often it is used, it is forgotten in the end.
		for began := time.Now(); time.Since(began) < limits.PINLife-2*time.Minute; time.Sleep(time.Minute) {
			use(0)
		}
		time.Sleep(2 * time.Minute)
		use(1)
		pins.forget(d.info.ID)
		use(1)
	})
}

func TestPINOfSupervisedKeyIsNot(t *testing.T) {
	for _, c := range []struct {
		usage      key.Usage
		unattended bool
		prompts    int // for two signatures
	}{
		{key.SSH, false, 1}, {key.Artifact, false, 2}, {key.Digest, false, 2}, {key.Artifact, true, 1}, {key.Digest, true, 1},
	} {
		inBubble(t, func(t *testing.T, p *person, pins *PINs) {
			p.pins = []string{"1234"}
			d := newDevice(pins, c.usage, c.unattended)
			for range 2 {
				if err := d.sign(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if got := len(p.questions()); got != c.prompts {
				t.Errorf("%s, unattended %v: %d prompts, want %d", c.usage, c.unattended, got, c.prompts)
			}
		})
	}
}

func TestRememberedPINThatIsWrong(t *testing.T) {
	inBubble(t, func(t *testing.T, p *person, pins *PINs) {
		p.pins = []string{"1234"}
		d := newDevice(pins, key.SSH, false)
		stale, err := secret.Read(strings.NewReader("old"), 3)
		if err != nil {
			t.Fatal(err)
		}
		pins.remember(d.info.ID, stale)
		for range 2 {
			if err := d.sign(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff([]string{"old", "1234", "1234"}, d.sent); diff != "" {
			t.Error(diff)
		}
	})
}

func TestDeviceFailureAfterPIN(t *testing.T) {
	inBubble(t, func(t *testing.T, p *person, pins *PINs) {
		p.pins = []string{"1234"}
		d := newDevice(pins, key.SSH, false)
		d.err = key.ErrNoDevice
		if err := d.sign(t.Context()); !errors.Is(err, key.ErrNoDevice) {
			t.Errorf("got %v", err)
		}
		if len(pins.remembered) != 0 {
			t.Error("a PIN that was not proven is remembered")
		}
	})
}

// TestPINThroughTheAgent: one prompt, which says what it is for, then none.
func TestPINThroughTheAgent(t *testing.T) {
	h := start(t, nil)
	in := h.key(key.Spec{Name: "k", Usage: key.SSH, PIN: keytest.Lend([]byte("1234"))})
	h.person.pins = []string{"wrong", "1234"}
	client, _ := h.dialSSH()
	for range 3 {
		if _, err := client.Sign(sshKey(t, in), sshsigData(t, "git")); err != nil {
			t.Error(err)
		}
	}
	asked := h.person.questions()
	if len(asked) != 2 || asked[0].Title != "Enter the PIN of the key tpm/k." || asked[0].Facts[2] != (Fact{"File signature for", "git", false}) {
		t.Errorf("asked %+v", asked)
	}
}
