package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

// TestPINRules: what the configuration says about one key.
func TestPINRules(t *testing.T) {
	for _, c := range []struct {
		name    string
		rule    Rule
		wait    time.Duration
		prompts int // for two signatures
	}{
		{"usual, used in time", Rule{}, limits.PINIdle - time.Second, 1},
		{"usual, used late", Rule{}, limits.PINIdle, 2},
		{"short, used in time", Rule{PINIdle: time.Minute}, 59 * time.Second, 1},
		{"short, used late", Rule{PINIdle: time.Minute}, time.Minute, 2},
		{"long, used in time", Rule{PINIdle: time.Hour}, 59 * time.Minute, 1},
		{"as long as its life", Rule{PINIdle: limits.PINLife}, limits.PINLife, 2},
		{"never", Rule{PINNever: true}, 0, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, p *person, pins *PINs) {
				p.pins = []string{"1234"}
				d := newDevice(pins, key.SSH, false)
				pins.setRules(map[key.ID]Rule{d.info.ID: c.rule})
				for range 2 {
					if err := d.sign(t.Context()); err != nil {
						t.Fatal(err)
					}
					time.Sleep(c.wait)
				}
				if got := len(p.questions()); got != c.prompts {
					t.Errorf("%d prompts, want %d", got, c.prompts)
				}
				synctest.Wait()
				if n := len(pins.held()); (c.prompts == 2) != (n == 0) {
					t.Errorf("%d PINs are held", n)
				}
			})
		})
	}
}

// TestRulesChange: a rule that changes ends what was remembered by the old one, and
// leaves other keys alone.
func TestRulesChange(t *testing.T) {
	inBubble(t, func(t *testing.T, p *person, pins *PINs) {
		p.pins = []string{"1234"}
		d, other := newDevice(pins, key.SSH, false), newDevice(pins, key.SSH, false)
		other.info.ID = key.ID(strings.Repeat("b", 64))
		for _, one := range []*device{d, other} {
			if err := one.sign(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		left := func(id key.ID) HeldPIN {
			return HeldPIN{id, int((limits.PINIdle - time.Minute).Seconds()), int((limits.PINLife - time.Minute).Seconds())}
		}
		if diff := cmp.Diff([]HeldPIN{left(d.info.ID), left(other.info.ID)}, pins.held()); diff != "" {
			t.Error(diff)
		}
		pins.setRules(map[key.ID]Rule{d.info.ID: {PINNever: true}, other.info.ID: {Confirm: true}})
		if diff := cmp.Diff([]HeldPIN{left(other.info.ID)}, pins.held()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestSleepForgets: who opens a machine that slept is asked again.
func TestSleepForgets(t *testing.T) {
	inBubble(t, func(t *testing.T, p *person, pins *PINs) {
		p.pins = []string{"1234"}
		slept := time.Hour // before the agent was started
		pins.asleep = func() time.Duration { return slept }
		pins.slept = slept
		d := newDevice(pins, key.SSH, false)
		for _, c := range []struct {
			sleep   time.Duration
			prompts int
		}{{0, 1}, {limits.Sleep / 2, 0}, {-limits.Sleep / 2, 0}, {limits.Sleep, 1}, {0, 0}, {8 * time.Hour, 1}} {
			slept += c.sleep
			if err := d.sign(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := len(p.questions()); got != c.prompts {
				t.Errorf("%d prompts after %v, want %d", got, c.sleep, c.prompts)
			}
		}
		slept += time.Minute
		if held := pins.held(); len(held) != 0 {
			t.Errorf("held after a sleep: %v", held)
		}
	})
}

// TestAsleep: the two clocks agree while the machine runs.
func TestAsleep(t *testing.T) {
	before := asleep()
	if after := asleep(); before < -limits.Sleep/2 || after-before > limits.Sleep/2 || before-after > limits.Sleep/2 {
		t.Errorf("asleep for %v, then %v", before, after)
	}
}

// TestUnlockKey: a PIN that was given beforehand is as good as one that was typed.
func TestUnlockKey(t *testing.T) {
	h := start(t, nil)
	in := h.key(key.Spec{Name: "k", Usage: key.SSH, PIN: keytest.Lend([]byte("1234"))})
	h.person.pin = func(context.Context, Question) (string, error) { return "", fmt.Errorf("%w: no display", ErrNobody) }
	client, _ := h.dialSSH()
	if _, err := client.Sign(sshKey(t, in), sshsigData(t, "git")); err == nil {
		t.Error("signed without a PIN")
	}
	if logs := h.logs.String(); !strings.Contains(logs, "sealsmith agent unlock-key k") {
		t.Error("the log does not say what helps")
	}
	c := h.client()
	k, err := c.Key(t.Context(), in.Ref, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.SignSSHSIG(t.Context(), "git", "sha256", make([]byte, 32))
	if !errors.Is(err, key.ErrDenied) || !slices.ContainsFunc(hint.Of(err), func(s string) bool { return strings.HasSuffix(s, "unlock-key k") }) {
		t.Errorf("got %v with the hints %q", err, hint.Of(err))
	}
	var wrong *key.PINError
	if err := c.UnlockKey(t.Context(), in, keytest.Lend([]byte("wrong"))); !errors.As(err, &wrong) {
		t.Errorf("wrong PIN: %v", err)
	}
	if r := h.lastRecord(); r.Action != "unlock-key" || r.Key != in.ID || r.Outcome != outcomeFailed || r.Code != codePIN {
		t.Errorf("recorded %+v", r)
	}
	if err := c.UnlockKey(t.Context(), in, keytest.Lend([]byte("1234"))); err != nil {
		t.Fatal(err)
	}
	if r := h.lastRecord(); r.Action != "unlock-key" || r.Outcome != outcomeDone || r.Form != "" {
		t.Errorf("recorded %+v", r)
	}
	if _, err := client.Sign(sshKey(t, in), sshsigData(t, "git")); err != nil {
		t.Errorf("after it was unlocked: %v", err)
	}
}

// TestUnlockKeyByPrompt: the agent asks, even if it remembers a PIN.
func TestUnlockKeyByPrompt(t *testing.T) {
	h := start(t, nil)
	in := h.key(key.Spec{Name: "k", Usage: key.SSH, PIN: keytest.Lend([]byte("1234"))})
	h.person.pins = []string{"wrong", "1234"}
	c := h.client()
	for i, prompts := range []int{2, 1} {
		if err := c.call(t.Context(), "POST", "/v1/keys/"+string(in.ID)+"/unlock", unlockRequest{PIN: pinPrompt}, &struct{}{}); err != nil {
			t.Fatal(err)
		}
		asked := h.person.questions()
		if len(asked) != prompts || asked[0].Facts[2] != (Fact{"To remember it for", "later uses", false}) {
			t.Errorf("time %d: asked %+v", i, asked)
		}
	}
}

// TestUnlockKeyRefused: keys that have no PIN to remember.
func TestUnlockKeyRefused(t *testing.T) {
	pin := keytest.Lend([]byte("1234"))
	never := Rule{PINNever: true}
	for _, c := range []struct {
		name string
		spec key.Spec
		rule Rule
		body string // in place of the client's own
		want error
	}{
		{"no PIN", key.Spec{Usage: key.SSH}, Rule{}, "", key.ErrUsage},
		{"asked at each use", key.Spec{Usage: key.Artifact, PIN: pin}, Rule{}, "", key.ErrNotAllowed},
		{"never remembered", key.Spec{Usage: key.SSH, PIN: pin}, never, "", key.ErrNotAllowed},
		{"pin none", key.Spec{Usage: key.SSH, PIN: pin}, Rule{}, `{"pin":"none"}`, key.ErrUsage},
		{"no pin", key.Spec{Usage: key.SSH, PIN: pin}, Rule{}, `{}`, key.ErrUsage},
		{"unknown secret", key.Spec{Usage: key.SSH, PIN: pin}, Rule{}, `{"pin":"secret","secret":"x"}`, key.ErrUsage},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := start(t, nil)
			c.spec.Name = "k"
			in := h.key(c.spec)
			h.pins.setRules(map[key.ID]Rule{in.ID: c.rule})
			client := h.client()
			err := client.UnlockKey(t.Context(), in, pin)
			if c.body != "" {
				path := "/v1/keys/" + string(in.ID) + "/unlock"
				err = client.do(t.Context(), "POST", path, "application/json", strings.NewReader(c.body), int64(len(c.body)), &struct{}{})
			}
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if held := h.pins.held(); c.body == "" && len(held) > 0 {
				t.Errorf("held: %v", held)
			}
		})
	}
}
