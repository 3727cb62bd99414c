package tpm_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-tpm/tpm2/transport"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

func TestParseDevice(t *testing.T) {
	folder := t.TempDir()
	t.Chdir(folder)
	for in, want := range map[string]string{
		"":                 "/dev/tpmrm0",
		"/dev/tpmrm0":      "/dev/tpmrm0",
		"/dev/../dev/tpm0": "/dev/tpm0",
		"swtpm:/a/b/":      "swtpm:/a/b",
		"swtpm:state":      "swtpm:" + folder + "/state",
		"unix:/run/x.sock": "unix:/run/x.sock",
		"unix:./x":         "unix:" + folder + "/x",
		"swtpm:":           "",
		"swtpm:/a,mode=0":  "",
		"unix:":            "",
		"tpmrm0":           "",
		"device:/dev/tpm0": "",
		"/dev/tpm\n0":      "",
		"swtpm:a\x00b":     "",
	} {
		got, err := tpm.ParseDevice(in)
		switch {
		case want == "":
			if !errors.Is(err, key.ErrUsage) || len(hint.Of(err)) == 0 {
				t.Errorf("%q: %q, %v; want ErrUsage and a hint", in, got, err)
			}
		case err != nil || got != want:
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		default:
			if again, err := tpm.ParseDevice(got); again != got || err != nil {
				t.Errorf("%q: canonical %q becomes %q, %v", in, got, again, err)
			}
		}
	}
}

func TestNoDevice(t *testing.T) {
	regular := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(regular, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for device, want := range map[string]error{
		"/dev/no-such-tpm":      key.ErrNoDevice,
		"unix:/run/no-such.tpm": key.ErrNoDevice,
		regular:                 key.ErrUsage,
	} {
		o := tpmtest.Folders(t)
		o.Device = device
		_, err := open(t, o)
		if hints := strings.Join(hint.Of(err), "\n"); !errors.Is(err, want) || !strings.Contains(hints, "SEALSMITH_TPM") {
			t.Errorf("%s: %v, hints %q; want %v and the setting", device, err, hints, want)
		}
	}
	o := tpmtest.Folders(t)
	o.Device = "swtpm:" + filepath.Join(t.TempDir(), "state")
	t.Setenv("PATH", "")
	_, err := open(t, o)
	if hints := strings.Join(hint.Of(err), "\n"); !errors.Is(err, key.ErrNoDevice) || !strings.Contains(hints, "package swtpm") {
		t.Errorf("without swtpm: %v, hints %q", err, hints)
	}
}

// open makes a device and uses it once.
func open(t *testing.T, o tpm.Options) (*tpm.Device, error) {
	t.Helper()
	d, err := tpm.NewDevice(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Do(t.Context(), func(transport.TPM) error { return nil }); err != nil {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		return nil, err
	}
	return d, nil
}

func TestNewDeviceTouchesNothing(t *testing.T) {
	o := tpmtest.Folders(t)
	o.Device = "unix:/run/no-such.tpm"
	d, err := tpm.NewDevice(o)
	if err != nil {
		t.Fatal(err)
	}
	b := backendOver(t, d, filepath.Join(t.TempDir(), "keys"), nil)
	for range b.Keys(t.Context()) {
		t.Error("a key")
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{o.LockDir, o.DataDir} {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if err := d.Do(t.Context(), nil); err == nil {
		t.Error("a closed device was used")
	}
}

func TestOneOwner(t *testing.T) {
	chip := tpmtest.Start(t)
	first, err := open(t, chip.Options())
	if err != nil {
		t.Fatal(err)
	}
	_, err = open(t, chip.Options())
	hints := strings.Join(hint.Of(err), "")
	if !errors.Is(err, key.ErrBusy) || !strings.Contains(err.Error(), chip.Device()) || !strings.Contains(hints, "fuser -v /") {
		t.Errorf("second owner: %v, hints %q; want ErrBusy that names the device, and how to find the first", err, hints)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := open(t, chip.Options())
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(chip.Options().LockDir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestWaitingCanBeCancelledAndCloseWaits(t *testing.T) {
	d := tpmtest.Start(t).Open()
	started, release := make(chan bool), make(chan bool)
	var wg sync.WaitGroup
	wg.Go(func() {
		err := d.Do(context.Background(), func(transport.TPM) error {
			close(started)
			<-release
			return nil
		})
		if err != nil {
			t.Errorf("the job in hand: %v", err)
		}
	})
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() {
		if err := d.Do(ctx, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("the waiting job: %v", err)
		}
	})
	cancel()
	wg.Go(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	close(release)
	wg.Wait()
}

// swtpmDevice makes a device that starts swtpm itself, and collects what it says.
func swtpmDevice(t *testing.T, o tpm.Options, said *[]string) *tpm.Device {
	t.Helper()
	o.Notice = func(text string) { *said = append(*said, text) }
	d, err := tpm.NewDevice(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestSWTPM(t *testing.T) {
	testenv.Need(t, testenv.SWTPM)
	o := tpmtest.Folders(t)
	o.Device = "swtpm:" + filepath.Join(t.TempDir(), "state")
	pids := &pidHandler{Handler: o.Log.Handler()}
	o.Log = slog.New(pids)
	keys := filepath.Join(t.TempDir(), "keys")
	var said []string

	d := swtpmDevice(t, o, &said)
	b := backendOver(t, d, keys, lend(t, "right"))
	create(t, b, "k", key.P256, []byte("right"))
	mustSign(t, keytest.Only(t, b))
	if text := strings.Join(said, "\n"); !strings.Contains(text, "protects NOTHING") || !strings.Contains(text, "first use") {
		t.Errorf("said %q", text)
	}

	// Another process with other folders of locks: swtpm's own lock tells.
	other := tpmtest.Folders(t)
	other.Device = o.Device
	if _, err := open(t, other); !errors.Is(err, key.ErrBusy) {
		t.Errorf("second swtpm on the folder: %v; want ErrBusy", err)
	}

	// Killed: the next use starts it again and resets what the kill cost.
	if err := syscall.Kill(pids.last(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantCounter(t, d, 0)
	mustSign(t, keytest.Only(t, b))

	// Stopped and started: the keys are still there, and nothing was counted.
	closed(t, b)
	said = nil
	d = swtpmDevice(t, o, &said)
	b = backendOver(t, d, keys, lend(t, "right"))
	mustSign(t, keytest.Only(t, b))
	wantCounter(t, d, 0)
	if text := strings.Join(said, "\n"); strings.Contains(text, "first use") {
		t.Errorf("said %q at the second use", text)
	}
}

func wantCounter(t *testing.T, d *tpm.Device, want uint32) {
	t.Helper()
	s, err := d.Status(t.Context())
	if err != nil || s.Lockout.Counter != want {
		t.Errorf("lockout counter %d, %v; want %d", s.Lockout.Counter, err, want)
	}
}

// pidHandler remembers the pid that is logged when swtpm starts.
type pidHandler struct {
	slog.Handler
	mu   sync.Mutex
	pids []int
}

func (h *pidHandler) Handle(ctx context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "pid" {
			h.mu.Lock()
			h.pids = append(h.pids, int(a.Value.Int64()))
			h.mu.Unlock()
		}
		return true
	})
	return h.Handler.Handle(ctx, r)
}

func (h *pidHandler) WithAttrs(attrs []slog.Attr) slog.Handler { return h }

func (h *pidHandler) last() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pids[0]
}

// fakeTPM serves what answer makes of each command; nil hangs up.
func fakeTPM(t *testing.T, answer func(command []byte) []byte) (device string) {
	t.Helper()
	socket := filepath.Join(testenv.SocketDir(t), "tpm.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { l.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				buf := make([]byte, 4096)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					a := answer(buf[:n])
					if a == nil {
						return
					}
					c.Write(a)
				}
			})
		}
	})
	return "unix:" + socket
}
