package agent

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/secret"
	"github.com/sealsmith/sealsmith/key"
)

func TestSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s secrets
		defer s.wipe()
		put := func() string {
			t.Helper()
			buf, err := secret.Read(strings.NewReader("1234"), 4)
			if err != nil {
				t.Fatal(err)
			}
			name, err := s.put(1000, buf)
			if err != nil {
				t.Fatal(err)
			}
			return name
		}
		use := func(name string, uid int) error {
			return s.lend(name, uid)(t.Context(), func(pin []byte) error {
				if string(pin) != "1234" {
					t.Errorf("lent %q", pin)
				}
				return nil
			})
		}
		waiting := func() int {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.waiting)
		}
		name := put()
		if err := use(name, 0); !errors.Is(err, key.ErrUsage) {
			t.Errorf("another user: %v", err)
		}
		if err := use(name, 1000); err != nil {
			t.Errorf("first use: %v", err)
		}
		if err := use(name, 1000); !errors.Is(err, key.ErrUsage) {
			t.Errorf("second use: %v", err)
		}
		name = put()
		time.Sleep(limits.SecretLife - time.Second)
		if waiting() != 1 {
			t.Error("forgotten too early")
		}
		time.Sleep(2 * time.Second)
		if err := use(name, 1000); !errors.Is(err, key.ErrUsage) || waiting() != 0 {
			t.Errorf("too late: %v", err)
		}
		for range limits.Secrets {
			put()
		}
		buf, err := secret.Read(strings.NewReader("1234"), 4)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.put(1000, buf); !errors.Is(err, key.ErrBusy) {
			t.Errorf("one too many: %v", err)
		}
	})
}
