package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// screen is a terminal whose person is the test.
type screen struct {
	t      *testing.T
	master *os.File
	slave  *os.File
	read   int // how much of it the person has seen

	mu    sync.Mutex
	shown strings.Builder
}

func newScreen(t *testing.T) *screen {
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
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	s := &screen{t: t, master: master, slave: slave}
	go s.watch()
	return s
}

func (s *screen) watch() {
	chunk := make([]byte, 4096)
	for {
		n, err := s.master.Read(chunk)
		s.mu.Lock()
		s.shown.Write(chunk[:n])
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown.String()
}

// unread is what was shown since the last answer.
func (s *screen) unread() string { return s.text()[s.read:] }

// answer waits for a question and types a line.
func (s *screen) answer(question, line string) {
	s.t.Helper()
	for start := time.Now(); !strings.Contains(s.unread(), question) || !strings.HasSuffix(s.unread(), ": "); {
		if time.Since(start) > 10*time.Second {
			s.t.Fatalf("waiting for %q, the terminal shows %q", question, s.unread())
		}
		time.Sleep(time.Millisecond)
	}
	s.read = len(s.text())
	if _, err := s.master.WriteString(line + "\r"); err != nil {
		s.t.Error(err)
	}
}

// sealsmith runs our program at the terminal; wait returns its error.
func (w *world) sealsmith(s *screen, args ...string) (wait func() error) {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), "sealsmith", args...)
	cmd.Dir, cmd.Env = w.dir, w.env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.slave, s.slave, s.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	return cmd.Wait
}

// TestChangePINAtTheTerminal: the old one, then the new one twice. Without an agent
// a wrong one is asked again.
func TestChangePINAtTheTerminal(t *testing.T) {
	w := newWorld(t)
	if _, err := w.try("first PIN\n", "sealsmith", "key", "create", "safe", "--usage", "ssh", "--pin-fd", "0"); err != nil {
		t.Fatal(err)
	}
	s := newScreen(t)
	wait := w.sealsmith(s, "key", "pin", "safe")
	s.answer("Enter the PIN that the key tpm/safe has now", "wrong PIN")
	s.answer("wrong PIN, 2 tries left", "first PIN")
	s.answer("Choose the new PIN of the key tpm/safe", "second PIN")
	s.answer("once more", "slip")
	s.answer("not the same", "second PIN")
	s.answer("once more", "second PIN")
	if err := wait(); err != nil {
		t.Fatalf("%v: %s", err, s.unread())
	}
	w.startAgent()
	wait = w.sealsmith(s, "key", "pin", "safe")
	s.answer("Enter the PIN that the key tpm/safe has now", "second PIN")
	s.answer("Choose the new PIN of the key tpm/safe", "third PIN")
	s.answer("once more", "third PIN")
	if err := wait(); err != nil {
		t.Fatalf("through the agent: %v: %s", err, s.unread())
	}
	wait = w.sealsmith(s, "key", "pin", "safe", "--remove")
	s.answer("Enter the PIN that the key tpm/safe has now", "third PIN")
	if err := wait(); err != nil {
		t.Fatalf("remove: %v: %s", err, s.unread())
	}
	for _, pin := range []string{"first PIN", "second PIN", "third PIN"} {
		if strings.Contains(s.text(), pin) {
			t.Errorf("%q is on the screen", pin)
		}
	}
}

// TestWrongPINsAreTold: how many tries are left, and when PINs are taken again.
func TestWrongPINsAreTold(t *testing.T) {
	w := newWorld(t)
	w.startAgent()
	change := func(old string) error {
		_, err := w.try(old+"\nanother PIN\n", "sealsmith", "key", "pin", "safe", "--pin-fd", "0", "--new-pin-fd", "0")
		return err
	}
	if _, err := w.try("a PIN\n", "sealsmith", "key", "create", "safe", "--usage", "ssh", "--pin-fd", "0"); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, change("wrong 1"), 4, "wrong PIN, 2 tries left")
	wantStatus(t, change("wrong 2"), 4, "wrong PIN, 1 try left")
	last := change("wrong 3")
	wantStatus(t, last, 4, "wrong PIN, 0 tries left")
	wantStatus(t, last, 4, "hint: the TPM accepts PINs again in about 17 minutes")
	locked := change("a PIN")
	wantStatus(t, locked, 5, "device is locked out")
	wantStatus(t, locked, 5, "hint: the TPM accepts PINs again in about 17 minutes")
	wantStatus(t, locked, 5, "hint: keys that were made without a PIN go on working")

	// Nobody is asked for what would be refused.
	s := newScreen(t)
	wait := w.sealsmith(s, "key", "pin", "safe")
	for start := time.Now(); !strings.Contains(s.unread(), "hint: keys that were"); time.Sleep(time.Millisecond) {
		if strings.Contains(s.unread(), "Enter the PIN") || time.Since(start) > 10*time.Second {
			t.Fatalf("the terminal shows %q", s.unread())
		}
	}
	if err := wait(); err == nil || err.Error() != "exit status 5" {
		t.Errorf("at the terminal: %v", err)
	}
}
