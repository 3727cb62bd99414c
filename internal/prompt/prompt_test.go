package prompt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/secret"
)

var question = Prompt{
	Title: `Sign with the key "release"`,
	Error: "Wrong PIN, 2 tries left",
	Facts: []Line{{"Key", "tpm/release", false}, {"Digest", "sha256:0a", false}, {"Name", "100%\u202e\nKey: other", true}},
	Claims: []Line{
		{"Subject", "image.tar\nKey: trusted", true},
		{"Comment", strings.Repeat("ä", 200), false}, // quoted all the same
	},
}

// fake makes this test binary a pinentry or askpass with the given behaviour.
func fake(t *testing.T, behaviour string) (program, log string) {
	t.Helper()
	log = filepath.Join(t.TempDir(), "log")
	t.Setenv(role, behaviour)
	t.Setenv("TEST_LOG", log)
	t.Setenv("TERM", "xterm")
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return program, log
}

// answers is a table row for both kinds of programs.
type answers struct {
	name, behaviour string
	pin             string // empty: refused with err
	confirmed       bool
	err             error
}

func (c answers) run(t *testing.T, p Prompter) {
	t.Helper()
	pin, err := p.PIN(t.Context(), question)
	if c.pin == "" {
		if !errors.Is(err, c.err) {
			t.Errorf("PIN: %v, want %v", err, c.err)
		}
	} else {
		wantPIN(t, pin, err, c.pin)
	}
	err = p.Confirm(t.Context(), question)
	if (err == nil) != c.confirmed || err != nil && c.err != nil && !errors.Is(err, c.err) {
		t.Errorf("confirm: %v, want %v, %v", err, c.confirmed, c.err)
	}
}

func wantPIN(t *testing.T, pin *secret.Buffer, err error, want string) {
	t.Helper()
	if err != nil {
		t.Error(err)
		return
	}
	defer pin.Wipe()
	if err := pin.Use(func(got []byte) error {
		if string(got) != want {
			t.Errorf("PIN %q, want %q", got, want)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestPinentry(t *testing.T) {
	long := strings.Repeat("x", 256)
	for _, c := range []answers{
		{"typed", "D 1234|OK", "1234", false, nil},
		{"escapes", "D %25%C3%A4 |OK", "%ä ", false, nil},
		{"control character", "D 12%0a34|OK", "", false, errControl},
		{"two parts, comments, status", "# hello|S PASSWORD_FROM_CACHE|D 12|D 34|OK done", "1234", false, nil},
		{"nothing typed", "OK", "", true, ErrCancelled},
		{"cancelled", "ERR 83886179 Operation cancelled <Pinentry>", "", false, ErrCancelled},
		{"closed", "ERR 83886278 Fully cancelled", "", false, ErrCancelled},
		{"not confirmed", "ERR 83886194 Not confirmed", "", false, ErrCancelled},
		{"timeout", "ERR 83886142 Timeout", "", false, ErrCancelled},
		{"no terminal", "ERR 83918950 Inappropriate ioctl for device", "", false, ErrUnavailable},
		{"longest PIN", "D " + long[:255] + "|OK", long[:255], false, nil},
		{"long PIN", "D " + long + "|OK", "", false, errLongPIN},
		{"endless line", "D " + strings.Repeat(long, 5) + "|OK", "", false, ErrUnavailable},
		{"endless lines", strings.Repeat("S x|", 65) + "OK", "", false, ErrUnavailable},
		{"cut escape", "D 12%2|OK", "", false, ErrUnavailable},
		{"bad escape", "D 12%zz|OK", "", false, ErrUnavailable},
		{"bad error code", "ERR x", "", false, ErrUnavailable},
		{"error zero", "ERR 0 no error", "", false, ErrUnavailable},
		{"inquiry", "INQUIRE QUALITY 1234|OK", "", false, ErrUnavailable},
		{"unknown word", "HELLO|OK", "", false, ErrUnavailable},
		{"dies", "die", "", false, ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			program, _ := fake(t, "pinentry:"+c.behaviour)
			if c.name == "long PIN" || c.name == "longest PIN" || c.err == errControl {
				// A data line for CONFIRM is an error of another kind.
				pin, err := New(program).PIN(t.Context(), question)
				if c.pin == "" && !errors.Is(err, c.err) {
					t.Errorf("got %v, want %v", err, c.err)
				} else if c.pin != "" {
					wantPIN(t, pin, err, c.pin)
				}
				return
			}
			c.run(t, New(program))
		})
	}
}

// TestPinentryIsTold checks what reaches pinentry.
func TestPinentryIsTold(t *testing.T) {
	program, log := fake(t, "pinentry:OK")
	t.Setenv("GPG_TTY", "/dev/pts/x")
	t.Setenv("LC_ALL", "C")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	if err := New(program).Confirm(ctx, question); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	got := string(data)
	for _, want := range []string{
		"OPTION ttyname=/dev/pts/x\n", "OPTION ttytype=xterm\n", "OPTION lc-ctype=C.UTF-8\n", "SETTIMEOUT 99\n", "SETERROR Wrong PIN, 2 tries left\n",
		`SETDESC Sign with the key "release"%0A%0AKey: tpm/release%0ADigest: sha256:0a%0AName: "100%25\u202e\nKey: other"%0A%0AThe program says:%0A`,
		"CONFIRM\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("pinentry was not told %q; it was told:\n%s", want, got)
		}
	}
}

// TestPinentryLongQuestion: what is hostile gives way, however it is written, and
// every fact is there; else nothing is asked.
func TestPinentryLongQuestion(t *testing.T) {
	program, log := fake(t, "pinentry:OK")
	digest := "sha256:" + strings.Repeat("0a", 32)
	q := Prompt{Title: "Enter the PIN of the key tpm/" + strings.Repeat("k", 64) + "."}
	for range 4 {
		q.Facts = append(q.Facts, Line{"Subject 1", digest, false}, Line{"Subject 1 is called", strings.Repeat("%", 500), true})
	}
	q.Claims = []Line{{"Subject", strings.Repeat("\n", 500), true}}
	if err := New(program).Confirm(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(data), ": "+digest+"%0A"); n != 4 {
		t.Errorf("%d of 4 digests are shown", n)
	}
	for range 10 {
		q.Facts = append(q.Facts, Line{"Subject 1", digest, false})
	}
	if err := New(program).Confirm(t.Context(), q); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a question that cannot be shown: %v", err)
	}
	if again, err := os.ReadFile(log); err != nil || strings.Count(string(again), "CONFIRM") != 1 {
		t.Errorf("asked all the same: %q, %v", again, err)
	}
	q.Facts = append(q.Facts, Line{"Subject 1", strings.Repeat("x", limits.PromptText), false})
	if err := (&askpass{program}).Confirm(t.Context(), q); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a question that is too long for anybody: %v", err)
	}
}

// TestCancelled: the client is gone, so is the dialog. The program is asked to
// leave, which gives a terminal back as it was, and killed only if it stays.
func TestCancelled(t *testing.T) {
	for _, kind := range []string{"pinentry:hang", "pinentry:stubborn", "askpass:hang", "askpass:stubborn"} {
		t.Run(kind, func(t *testing.T) {
			program, log := fake(t, kind)
			var p Prompter = &askpass{program}
			if strings.HasPrefix(kind, "pinentry") {
				p = New(program)
			}
			cause := errors.New("client is gone")
			ctx, cancel := context.WithCancelCause(t.Context())
			done := make(chan error)
			go func() { _, err := p.PIN(ctx, question); done <- err }()
			pid := waitFor(t, func() (int, bool) {
				data, err := os.ReadFile(log)
				_, text, found := strings.Cut(string(data), "pid ")
				if err != nil || !strings.HasSuffix(text, "\n") || !found {
					return 0, false
				}
				pid, err := strconv.Atoi(strings.TrimSpace(text))
				return pid, err == nil
			})
			cancel(cause)
			if err := <-done; !errors.Is(err, cause) {
				t.Errorf("got %v", err)
			}
			if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("the program still runs: %v", err)
			}
			data, err := os.ReadFile(log)
			if err != nil || !strings.HasSuffix(string(data), "\n"+syscall.SIGTERM.String()+"\n") {
				t.Errorf("the program was not asked to leave: %q, %v", data, err)
			}
		})
	}
}

// TestCancelledGrandchild: a program whose child left for another session, with our
// pipe open, keeps nobody waiting.
func TestCancelledGrandchild(t *testing.T) {
	setsid, err := exec.LookPath("setsid")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program, started := filepath.Join(dir, "askpass"), filepath.Join(dir, "started")
	script := fmt.Sprintf("#!/bin/sh\n%s sh -c 'echo $$ > %s; exec sleep 60' &\nsleep 60\n", setsid, started)
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { _, err := (&askpass{program}).PIN(ctx, question); done <- err }()
	pid := waitFor(t, func() (int, bool) {
		data, err := os.ReadFile(started)
		pid, convErr := strconv.Atoi(strings.TrimSpace(string(data)))
		return pid, err == nil && convErr == nil
	})
	defer syscall.Kill(pid, syscall.SIGKILL)
	cancel()
	select {
	case err := <-done:
		if err == nil {
			t.Error("answered")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("still waits for the grandchild")
	}
}

// waitFor polls for something that another process does.
func waitFor[T any](t *testing.T, f func() (T, bool)) T {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if v, ok := f(); ok {
			return v
		}
	}
	t.Fatal("it never happened")
	panic("unreachable")
}

func TestPinentryThatStays(t *testing.T) {
	program, _ := fake(t, "pinentry:stay")
	if err := New(program).Confirm(t.Context(), question); err != nil {
		t.Error(err)
	}
}

func TestNew(t *testing.T) {
	dir := t.TempDir()
	pinentry := filepath.Join(dir, "pinentry")
	if err := os.WriteFile(pinentry, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	curses := filepath.Join(dir, "curses")
	target := filepath.Join(dir, "pinentry-curses")
	if err := errors.Join(os.Mkdir(curses, 0o700), os.WriteFile(target, []byte("#!/bin/sh\n"), 0o700), os.Symlink(target, filepath.Join(curses, "pinentry"))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, setting string
		env           map[string]string
		want          Prompter // nil: nobody
	}{
		{"nothing", "", nil, nil},
		{"setting", "/opt/pinentry", nil, &assuanPrompter{"/opt/pinentry"}},
		{"X11", "", map[string]string{"DISPLAY": ":0", "SSH_ASKPASS": "/a"}, &assuanPrompter{pinentry}},
		{"Wayland", "", map[string]string{"WAYLAND_DISPLAY": "wayland-0"}, &assuanPrompter{pinentry}},
		{"terminal", "", map[string]string{"GPG_TTY": "/dev/tty1"}, &assuanPrompter{pinentry}},
		{"terminal only", "", map[string]string{"DISPLAY": ":0", "PATH": curses}, nil},
		{"terminal only, and askpass", "", map[string]string{"DISPLAY": ":0", "PATH": curses, "SSH_ASKPASS": "/a"}, &askpass{"/a"}},
		{"terminal only, with one", "", map[string]string{"GPG_TTY": "/dev/tty1", "PATH": curses, "SSH_ASKPASS": "/a"}, &assuanPrompter{filepath.Join(curses, "pinentry")}},
		{"askpass forced", "", map[string]string{"DISPLAY": ":0", "SSH_ASKPASS": "/a", "SSH_ASKPASS_REQUIRE": "force"}, &askpass{"/a"}},
		{"askpass preferred", "", map[string]string{"DISPLAY": ":0", "SSH_ASKPASS": "/a", "SSH_ASKPASS_REQUIRE": "prefer"}, &askpass{"/a"}},
		{"setting over askpass", "/opt/pinentry", map[string]string{"SSH_ASKPASS": "/a", "SSH_ASKPASS_REQUIRE": "force"}, &assuanPrompter{"/opt/pinentry"}},
		{"force without askpass", "", map[string]string{"DISPLAY": ":0", "SSH_ASKPASS_REQUIRE": "force"}, &assuanPrompter{pinentry}},
		{"no pinentry", "", map[string]string{"DISPLAY": ":0", "PATH": "/nonexistent", "SSH_ASKPASS": "/a"}, &askpass{"/a"}},
		{"askpass", "", map[string]string{"SSH_ASKPASS": "/a"}, &askpass{"/a"}},
		{"askpass never", "", map[string]string{"SSH_ASKPASS": "/a", "SSH_ASKPASS_REQUIRE": "never"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("PATH", dir)
			for _, name := range []string{"DISPLAY", "WAYLAND_DISPLAY", "GPG_TTY", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE"} {
				t.Setenv(name, c.env[name])
			}
			if path := c.env["PATH"]; path != "" {
				t.Setenv("PATH", path)
			}
			got := New(c.setting)
			_, same := got.(nobody)
			switch want := c.want.(type) {
			case *assuanPrompter:
				g, ok := got.(*assuanPrompter)
				same = ok && *g == *want
			case *askpass:
				g, ok := got.(*askpass)
				same = ok && *g == *want
			}
			if !same {
				t.Errorf("got %#v, want %#v", got, c.want)
			}
			if who := Who(got); c.want == nil && !strings.Contains(who, "no SSH_ASKPASS") || c.want != nil && !strings.HasPrefix(who, "/") {
				t.Errorf("it is called %q", who)
			}
		})
	}
}
