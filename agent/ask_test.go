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

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/secret"
	"github.com/sealsmith/sealsmith/key"
)

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
			[]string{"", "That was wrong: wrong PIN, 2 tries left.", "That PIN was tried already."}, 2, true},
		{"the same for ever", []string{"1"}, []string{"1"},
			[]string{"", "That was wrong: wrong PIN, 2 tries left.", "That PIN was tried already."}, 2, false},
		{"the last try is left alone", []string{"1", "2", "1234"}, []string{"1", "2"},
			[]string{"", "That was wrong: wrong PIN, 2 tries left."}, 1, false},
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

// TestLastTry: one request never uses it up after a failure of its own; the next
// may, and says that it is the last.
func TestLastTry(t *testing.T) {
	inBubble(t, func(t *testing.T, p *person, pins *PINs) {
		d := newDevice(pins, key.SSH, false)
		d.left = 2
		stale, err := secret.Read(strings.NewReader("old"), 3)
		if err != nil {
			t.Fatal(err)
		}
		pins.remember(d.info.ID, stale) // is wrong by now, and takes a try
		var wrong *key.PINError
		if err := d.sign(t.Context()); !errors.As(err, &wrong) || wrong.TriesLeft != 1 || len(hint.Of(err)) == 0 {
			t.Errorf("got %v, hints %q", err, hint.Of(err))
		}
		if n := len(p.questions()); n != 0 || d.left != 1 {
			t.Errorf("%d prompts, %d tries left", n, d.left)
		}
		p.pins = []string{"1234"}
		if err := d.sign(t.Context()); err != nil {
			t.Error(err)
		}
		if asked := p.questions(); len(asked) != 1 || !strings.HasPrefix(asked[0].Error, "Only one try is left") {
			t.Errorf("asked %+v", asked)
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

// TestPromptsAreBounded: a flood of requests is no flood of programs. A key has one
// prompt at a time, whatever it is for, and all keys have few.
func TestPromptsAreBounded(t *testing.T) {
	deny := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
	t.Run("one key", func(t *testing.T) {
		inBubble(t, func(t *testing.T, p *person, pins *PINs) {
			p.confirm = func(ctx context.Context, _ Question) error { return deny(ctx) }
			p.pin = func(ctx context.Context, _ Question) (string, error) { return "", deny(ctx) }
			d := newDevice(pins, key.Artifact, false)
			results := make(chan error)
			ask := func(i int) {
				if i%2 == 0 {
					results <- pins.confirm(t.Context(), d.info.ID, Question{})
				} else {
					results <- d.sign(t.Context())
				}
			}
			go ask(0)
			time.Sleep(time.Second)
			for i := range 150 {
				go ask(i)
			}
			synctest.Wait()
			if n := len(p.questions()); n != 1 {
				t.Errorf("%d prompts at once", n)
			}
			if err := <-results; !errors.Is(err, errNoAnswer) {
				t.Errorf("the first: %v", err)
			}
			began, busy := time.Now(), 0
			for range 149 {
				if err := <-results; errors.Is(err, key.ErrBusy) && len(hint.Of(err)) > 0 {
					busy++
				}
			}
			// One has the place of the first, and its own time.
			if busy != 149 || time.Since(began) != time.Second {
				t.Errorf("%d of 149 gave up, after %v", busy, time.Since(began))
			}
			if n := len(p.questions()); n != 1 {
				t.Errorf("%d prompts afterwards", n)
			}
			pins.stopPrompts()
			if err := <-results; !errors.Is(err, errStopping) {
				t.Errorf("the second: %v", err)
			}
		})
	})
	t.Run("many keys", func(t *testing.T) {
		inBubble(t, func(t *testing.T, p *person, pins *PINs) {
			release := make(chan struct{})
			p.confirm = func(context.Context, Question) error { <-release; return nil }
			for i := range 2 * limits.Prompts {
				go func() {
					if err := pins.confirm(t.Context(), key.ID(fmt.Sprint(i)), Question{}); err != nil {
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
			if n := len(p.questions()); n != limits.Prompts {
				t.Errorf("%d prompts afterwards", n)
			}
		})
	})
	t.Run("waiting ends with the client and the agent", func(t *testing.T) {
		inBubble(t, func(t *testing.T, p *person, pins *PINs) {
			p.confirm = func(ctx context.Context, _ Question) error { return deny(ctx) }
			go pins.confirm(t.Context(), "k", Question{})
			synctest.Wait()
			ctx, cancel := context.WithCancel(t.Context())
			results := make(chan error)
			go func() { results <- pins.confirm(ctx, "k", Question{}) }()
			cancel()
			if err := <-results; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			go func() { results <- pins.confirm(t.Context(), "k", Question{}) }()
			synctest.Wait()
			pins.stopPrompts()
			if err := <-results; !errors.Is(err, errStopping) {
				t.Error(err)
			}
		})
	})
}
