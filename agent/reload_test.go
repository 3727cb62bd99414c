package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/key"
)

// TestReload: new rules are in force at once, and a refused reload changes nothing.
func TestReload(t *testing.T) {
	var next Settings
	var wrong error
	h := start(t, func(c *Config) {
		c.ConfigFile = "/x/config.yaml"
		c.Reload = func() (Settings, error) { return next, wrong }
	})
	in := h.key(key.Spec{Name: "k", Usage: key.SSH})
	c := h.client()
	k, err := c.Key(t.Context(), in.Ref, "")
	if err != nil {
		t.Fatal(err)
	}
	sign := func(namespace string) error {
		_, err := k.SignSSHSIG(t.Context(), namespace, "sha256", make([]byte, 32))
		return err
	}
	if err := errors.Join(sign("git"), expect(t, sign("mail"), key.ErrNotAllowed)); err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Millisecond)
	next = Settings{Rules: map[key.ID]Rule{in.ID: {Namespaces: []string{"mail"}}}}
	got, err := c.Reload(t.Context())
	if err != nil || got.File != "/x/config.yaml" || got.Loaded.Before(before) {
		t.Errorf("got %+v, %v", got, err)
	}
	if r := h.lastRecord(); r.Action != "reload" || r.Ref != "/x/config.yaml" || r.Outcome != outcomeDone {
		t.Errorf("recorded %+v", r)
	}
	if err := errors.Join(sign("mail"), expect(t, sign("git"), key.ErrNotAllowed)); err != nil {
		t.Error(err)
	}
	next, wrong = Settings{}, hint.Wrap(fmt.Errorf("%w: line 3", ErrConfiguration), "mend it")
	if _, err := c.Reload(t.Context()); !errors.Is(err, ErrConfiguration) || !strings.HasSuffix(err.Error(), "line 3") || len(hint.Of(err)) != 1 {
		t.Errorf("got %v", err)
	}
	if r := h.lastRecord(); r.Outcome != outcomeFailed || r.Code != "configuration" {
		t.Errorf("recorded %+v", r)
	}
	if status, err := c.Status(t.Context()); err != nil || !status.Configuration.Loaded.Equal(got.Loaded) {
		t.Errorf("status %+v, %v", status, err)
	}
	if err := sign("mail"); err != nil {
		t.Error(err)
	}
}

// expect is nil if err is of the class.
func expect(t *testing.T, err, class error) error {
	t.Helper()
	if errors.Is(err, class) {
		return nil
	}
	return fmt.Errorf("got %v, want %w", err, class)
}

// TestReloadInProcess: an agent inside a command has nothing to reload.
func TestReloadInProcess(t *testing.T) {
	h := start(t, nil)
	if _, err := h.client().Reload(t.Context()); !errors.Is(err, key.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
}

// ill is a device that fails on demand.
type ill struct {
	fakeDevice
	err error
}

// Status implements [Device].
func (d *ill) Status(context.Context) (any, error) { return nil, d.err }

// TestStatus: what people ask an agent.
func TestStatus(t *testing.T) {
	device := &ill{}
	h := start(t, func(c *Config) { c.Device = device })
	in := h.key(key.Spec{Name: "k", Usage: key.SSH, PIN: keytest.Lend([]byte("1234"))})
	c := h.client()
	if err := c.UnlockKey(t.Context(), in, keytest.Lend([]byte("1234"))); err != nil {
		t.Fatal(err)
	}
	status, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if status.Sockets != (Sockets{h.ssh, h.control}) || status.Keys.Hardware != 1 || status.DeviceError != nil || status.Configuration.Loaded.IsZero() {
		t.Errorf("got %+v", status)
	}
	if len(status.PINs) != 1 || status.PINs[0].Key != in.ID || status.PINs[0].Seconds > 15*60 || status.PINs[0].Seconds < 14*60 {
		t.Errorf("PINs %+v", status.PINs)
	}
	for _, d := range []struct {
		err  error
		code string // empty: no error of the device
	}{
		{fmt.Errorf("open: %w", key.ErrNoDevice), "no_device"},
		{key.ErrDenied, "no_device"}, // not the device's
		{&key.LockoutError{}, "locked_out"},
		{nil, ""},
		{key.ErrBusy, "busy"},
		{nil, ""},
	} {
		device.err = d.err
		c.Device(t.Context())
		status, err := c.Status(t.Context())
		if e := status.DeviceError; err != nil || (e == nil) != (d.code == "") || e != nil && (e.Code != d.code || time.Since(e.Time) > time.Minute) {
			t.Errorf("after %v: %+v, %v", d.err, e, err)
		}
	}
}
