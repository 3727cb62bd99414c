package prompt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// pty is a terminal whose person is the test.
type pty struct {
	master *os.File
	path   string // of the terminal

	mu    sync.Mutex
	shown strings.Builder
}

func openPTY(t *testing.T) *pty {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	conn, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var number int
	err = conn.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &pty{master: master, path: fmt.Sprintf("/dev/pts/%d", number)}
	// Holding the terminal open keeps its state between two users.
	slave, err := os.OpenFile(p.path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	go p.read()
	return p
}

func (p *pty) read() {
	chunk := make([]byte, 4096)
	for {
		n, err := p.master.Read(chunk)
		p.mu.Lock()
		p.shown.Write(chunk[:n])
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (p *pty) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shown.String()
}

// typeAfter types keys once the terminal shows the text.
func (p *pty) typeAfter(t *testing.T, text, keys string) {
	t.Helper()
	waitFor(t, func() (struct{}, bool) { return struct{}{}, strings.Contains(p.text(), text) })
	if _, err := p.master.WriteString(keys); err != nil {
		t.Error(err)
	}
}

func TestTerminal(t *testing.T) {
	for _, c := range []struct {
		keys      string
		pin       string // empty: refused with err
		confirmed bool
		err       error
	}{
		{"1234\r", "1234", false, nil},
		{"12\x7f\x7f\x7f34\n", "34", false, nil},
		{"yes\r", "yes", true, nil},
		{"Y\r", "Y", true, nil},
		{"\r", "", false, ErrCancelled},
		{"12\x03", "", false, ErrCancelled},
		{"\x04", "", false, ErrCancelled},
		{strings.Repeat("x", 256) + "\r", "", false, errLongPIN},
	} {
		t.Run(fmt.Sprintf("%.8q", c.keys), func(t *testing.T) {
			p := openPTY(t)
			ask := &terminal{p.path}
			done := make(chan struct{})
			go func() {
				defer close(done)
				p.typeAfter(t, "PIN: ", c.keys)
			}()
			pin, err := ask.PIN(t.Context(), question)
			<-done
			if c.pin != "" {
				wantPIN(t, pin, err, c.pin)
			} else if !errors.Is(err, c.err) {
				t.Errorf("PIN: %v, want %v", err, c.err)
			}
			if shown := p.text(); c.pin != "" && strings.Contains(shown, c.pin) {
				t.Errorf("the PIN is on the screen: %q", shown)
			}
			done = make(chan struct{})
			go func() {
				defer close(done)
				p.typeAfter(t, "Yes or no: ", c.keys)
			}()
			err = ask.Confirm(t.Context(), question)
			<-done
			if (err == nil) != c.confirmed {
				t.Errorf("confirm: %v", err)
			}
			if want := strings.ReplaceAll(question.text(200, 200), "\n", "\r\n"); !strings.Contains(p.text(), want) {
				t.Errorf("shown %q, want %q", p.text(), want)
			}
		})
	}
}

// TestTerminalNamesTheSecret: not everything that is typed is a PIN.
func TestTerminalNamesTheSecret(t *testing.T) {
	p := openPTY(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.typeAfter(t, "Passphrase: ", "open sesame\r")
	}()
	pin, err := (&terminal{p.path}).PIN(t.Context(), Prompt{Title: "Enter it.", Secret: "Passphrase"})
	<-done
	wantPIN(t, pin, err, "open sesame")
}

func TestTerminalGivesUp(t *testing.T) {
	p := openPTY(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		p.typeAfter(t, "PIN: ", "12")
		cancel()
	}()
	if pin, err := (&terminal{p.path}).PIN(ctx, question); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v", pin, err)
	}
	if _, err := (&terminal{"/dev/null"}).PIN(t.Context(), question); !errors.Is(err, ErrUnavailable) {
		t.Errorf("/dev/null is no terminal, got %v", err)
	}
	if err := (&terminal{"/nonexistent"}).Confirm(t.Context(), question); !errors.Is(err, ErrUnavailable) {
		t.Errorf("no terminal, got %v", err)
	}
}

// TestRealPinentry types into the real program on a terminal.
func TestRealPinentry(t *testing.T) {
	program := testenv.Need(t, "pinentry-curses")
	p := openPTY(t)
	t.Setenv("GPG_TTY", p.path)
	t.Setenv("TERM", "xterm")
	ask := New(program)
	go p.typeAfter(t, "PIN", "12%34\r")
	pin, err := ask.PIN(t.Context(), question)
	wantPIN(t, pin, err, "12%34")
	if !strings.Contains(p.text(), "tpm/release") {
		t.Errorf("the question is not on the screen: %q", p.text())
	}
	before := len(p.text())
	go func() {
		waitFor(t, func() (struct{}, bool) { return struct{}{}, strings.Contains(p.text()[before:], "OK") })
		p.master.WriteString("\t\r") // to the button Cancel
	}()
	if err := ask.Confirm(t.Context(), question); !errors.Is(err, ErrCancelled) {
		t.Errorf("Cancel: %v", err)
	}
}

// TestTerminalForgetsWhatCameBefore: keys typed before the question was shown are
// no answer to it.
func TestTerminalForgetsWhatCameBefore(t *testing.T) {
	p := openPTY(t)
	if _, err := p.master.WriteString("y\n"); err != nil {
		t.Fatal(err)
	}
	go p.typeAfter(t, "Yes or no: ", "n\r")
	if err := (&terminal{p.path}).Confirm(t.Context(), question); !errors.Is(err, ErrCancelled) {
		t.Errorf("typed ahead: %v; want the answer that came after", err)
	}
}
