package daemon

import (
	"bytes"
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

// TestPinentry has the real program ask at a terminal, outside of the sandbox.
func TestPinentry(t *testing.T) {
	t.Parallel()
	pinentry := testenv.Need(t, testenv.Pinentry)
	screen, tty := openTerminal(t)
	a := newAsked(t, "GPG_TTY="+tty, "TERM=xterm", "LANG=C.UTF-8", "DISPLAY=", "WAYLAND_DISPLAY=")
	a.begin(t, "pinentry: "+pinentry+"\n")
	var mu sync.Mutex
	var shown bytes.Buffer
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := screen.Read(buf)
			mu.Lock()
			shown.Write(buf[:n])
			mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	text := func() string {
		mu.Lock()
		defer mu.Unlock()
		return shown.String()
	}
	// A client that goes away gets its prompt off the screen.
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() { result <- a.sign(ctx) }()
	eventually(t, "a prompt", func() bool { return strings.Contains(text(), "PIN:") })
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	mu.Lock()
	shown.Reset()
	mu.Unlock()
	go func() { result <- a.sign(t.Context()) }()
	eventually(t, "another prompt", func() bool { return strings.Contains(text(), "PIN:") })
	if !strings.Contains(text(), "Asked by (not verified)") {
		t.Errorf("the screen shows %q", text())
	}
	if _, err := screen.WriteString("27182\r"); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
}

// openTerminal makes a terminal: our side, and the name of the other.
func openTerminal(t *testing.T) (ours *os.File, name string) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	fd := int(ours.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 200}); err != nil {
		t.Fatal(err)
	}
	name = fmt.Sprintf("/dev/pts/%d", n)
	// Held open, the terminal outlives a program on it.
	held, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { held.Close() })
	return ours, name
}
