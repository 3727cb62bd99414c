package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

func TestRead(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want string // empty: refused
	}{
		"short": {"1234", "1234"},
		"full":  {"12345678", "12345678"},
		"long":  {"123456789", ""},
		"empty": {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := Read(iotest.OneByteReader(strings.NewReader(c.in)), 8)
			if c.want == "" {
				if err == nil {
					t.Fatal("accepted")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer b.Wipe()
			wantSecret(t, b, c.want)
		})
	}
	broken := errors.New("broken")
	if _, err := Read(iotest.ErrReader(broken), 8); !errors.Is(err, broken) {
		t.Errorf("broken stream: %v", err)
	}
}

func TestWipe(t *testing.T) {
	b := hold(t, "hunter2")
	b.Wipe()
	b.Wipe()
	if err := b.Use(func([]byte) error { return nil }); err == nil {
		t.Error("a wiped secret was lent")
	}
}

func TestNeverPrinted(t *testing.T) {
	b := hold(t, "hunter2")
	defer b.Wipe()
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+"\n", b)
	}
	fmt.Fprintln(&out, b.String(), b.GoString())
	slog.New(slog.NewTextHandler(&out, nil)).Info("pin", "pin", b)
	if err := json.NewEncoder(&out).Encode(map[string]any{"pin": b}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), redacted); n != 11 {
		t.Errorf("%d times %s in:\n%s", n, redacted, out.String())
	}
	if s := out.String(); strings.Contains(s, "hunter2") || strings.Contains(s, "104 117") || strings.Contains(s, "68756e") {
		t.Errorf("the secret was printed:\n%s", s)
	}
}

func TestForgottenBufferIsReported(t *testing.T) {
	var size atomic.Int64
	OnLeak(func(n int) { size.Store(int64(n)) })
	defer onLeak.Store(nil)
	func() {
		b, err := New(5)
		if err != nil {
			t.Error(err)
		}
		runtime.KeepAlive(b)
	}()
	for deadline := time.Now().Add(5 * time.Second); size.Load() == 0 && time.Now().Before(deadline); {
		runtime.GC()
		runtime.Gosched()
	}
	if size.Load() != 5 {
		t.Fatalf("reported %d, want the leak of 5 bytes", size.Load())
	}
}

func TestRefusedLockIsToldOnce(t *testing.T) {
	var r refusal
	first := errors.New("first")
	r.report(first)
	var told []error
	r.f = func(err error) { told = append(told, err) }
	r.report(errors.New("second"))
	r.report(errors.New("third"))
	if len(told) != 1 || !errors.Is(told[0], first) {
		t.Errorf("told %v", told)
	}
}

// hold makes a Buffer that the caller wipes.
func hold(t *testing.T, text string) *Buffer {
	t.Helper()
	b, err := Read(strings.NewReader(text), len(text))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wantSecret(t *testing.T, b *Buffer, want string) {
	t.Helper()
	err := b.Use(func(secret []byte) error {
		if string(secret) != want || b.Len() != len(want) {
			t.Errorf("secret is %q of length %d, want %q", secret, b.Len(), want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
