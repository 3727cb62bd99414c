package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
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

func TestWrongPINs(t *testing.T) {
	for _, c := range []struct {
		name   string
		typed  []string
		sent   []string
		errors []string // shown with each prompt
		left   int
		ok     bool
	}{
		{"second is right", []string{"1", "1234"}, []string{"1", "1234"}, []string{"", "That was wrong: wrong PIN, 2 tries left."}, 2, true},
		{"the same again is not sent", []string{"1", "1", "1234"}, []string{"1", "1234"},
			[]string{"", "That was wrong: wrong PIN, 2 tries left.", "That was wrong: wrong PIN, 2 tries left."}, 2, true},
		{"the same for ever", []string{"1"}, []string{"1"},
			[]string{"", "That was wrong: wrong PIN, 2 tries left.", "That was wrong: wrong PIN, 2 tries left."}, 2, false},
		{"three wrong ones", []string{"1", "2", "3", "1234"}, []string{"1", "2", "3"},
			[]string{"", "That was wrong: wrong PIN, 2 tries left.", "That was wrong: wrong PIN, 1 try left."}, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, p *person, pins *PINs) {
				p.pins = c.typed
				d := newDevice(pins, key.SSH, false)
				err := d.sign(t.Context())
				var wrong *key.PINError
				if (err == nil) != c.ok || err != nil && !errors.As(err, &wrong) {
					t.Errorf("got %v", err)
				}
				var shown []string
				for _, q := range p.questions() {
					shown = append(shown, q.Error)
				}
				if diff := cmp.Diff(c.errors, shown); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(c.sent, d.sent); diff != "" || d.left != c.left {
					t.Errorf("%d left, %s", d.left, diff)
				}
			})
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

func TestNoPromptInLockout(t *testing.T) {
	inBubble(t, func(t *testing.T, p *person, pins *PINs) {
		d := newDevice(pins, key.SSH, false)
		d.left = 0
		var lockout *key.LockoutError
		if err := d.sign(t.Context()); !errors.As(err, &lockout) {
			t.Errorf("got %v", err)
		}
		if asked := p.questions(); len(asked) != 0 {
			t.Errorf("asked %v", asked)
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

// TestOnePromptPerKey: parallel requests for a key share its prompt; those for
// another key do not wait.
func TestOnePromptPerKey(t *testing.T) {
	inBubble(t, func(t *testing.T, p *person, pins *PINs) {
		answer := make(chan struct{})
		p.pin = func(ctx context.Context, q Question) (string, error) {
			if strings.Contains(q.Title, "tpm/k") {
				<-answer
			}
			return "1234", nil
		}
		var mu sync.Mutex
		signed := 0
		for range 8 {
			d := newDevice(pins, key.SSH, false)
			go func() {
				if err := d.sign(t.Context()); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				signed++
			}()
		}
		synctest.Wait()
		other := newDevice(pins, key.SSH, false)
		other.info.ID, other.info.Ref.Name = key.ID(strings.Repeat("b", 64)), "other"
		if err := other.sign(t.Context()); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() { gone <- newDevice(pins, key.SSH, false).sign(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("one that left the queue: %v", err)
		}
		close(answer)
		synctest.Wait()
		if asked := p.questions(); len(asked) != 2 || signed != 8 {
			t.Errorf("%d prompts, %d signatures", len(asked), signed)
		}
	})
}

func TestPromptEnds(t *testing.T) {
	hang := func(ctx context.Context, _ Question) (string, error) {
		<-ctx.Done()
		return "", ctx.Err()
	}
	t.Run("nobody answers", func(t *testing.T) {
		inBubble(t, func(t *testing.T, p *person, pins *PINs) {
			p.pin = hang
			began := time.Now()
			err := newDevice(pins, key.SSH, false).sign(t.Context())
			if !errors.Is(err, key.ErrDenied) || time.Since(began) != limits.PromptTime {
				t.Errorf("%v after %v", err, time.Since(began))
			}
		})
	})
	t.Run("client is gone", func(t *testing.T) {
		inBubble(t, func(t *testing.T, p *person, pins *PINs) {
			p.pin = hang
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := newDevice(pins, key.SSH, false).sign(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	})
	t.Run("agent stops", func(t *testing.T) {
		inBubble(t, func(t *testing.T, p *person, pins *PINs) {
			p.pin = hang
			done := make(chan error)
			go func() { done <- newDevice(pins, key.SSH, false).sign(t.Context()) }()
			synctest.Wait()
			pins.stopPrompts()
			if err := <-done; !errors.Is(err, errStopping) || !errors.Is(err, key.ErrDenied) {
				t.Error(err)
			}
		})
	})
}

func TestNewPIN(t *testing.T) {
	for _, c := range []struct {
		typed []string
		want  string // empty: refused
	}{
		{[]string{"12", "12"}, "12"},
		{[]string{"12", "13", "14", "14"}, "14"},
		{[]string{"1", "2", "3", "4", "5", "6", "7", "7"}, ""},
		{nil, ""},
	} {
		inBubble(t, func(t *testing.T, p *person, pins *PINs) {
			p.pins = c.typed
			var got string
			err := pins.newPIN(t.Context(), Question{Title: "Choose"}, func(pin []byte) error { got = string(pin); return nil })
			if got != c.want || (err == nil) != (c.want != "") || err != nil && !errors.Is(err, key.ErrDenied) {
				t.Errorf("%q: got %q, %v", c.typed, got, err)
			}
		})
	}
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

// TestPromptsAreBounded: a flood of requests is no flood of programs.
func TestPromptsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, p *person, pins *PINs) {
		release := make(chan struct{})
		p.confirm = func(context.Context, Question) error { <-release; return nil }
		for range 3 * limits.Prompts {
			go func() {
				if err := pins.confirm(t.Context(), Question{}); err != nil {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		if n := len(p.questions()); n != limits.Prompts {
			t.Errorf("%d prompts at once", n)
		}
		close(release)
		synctest.Wait()
		if n := len(p.questions()); n != 2*limits.Prompts {
			t.Errorf("%d prompts afterwards", n)
		}
	})
}
