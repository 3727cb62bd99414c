package tpm_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"golang.org/x/sys/unix"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// TestDeviceNode drives a character device: a raw terminal with the software TPM
// at its other end. It cannot show what the kernel's TPM driver does, but it
// shows opening, polling, framing and deadlines.
func TestDeviceNode(t *testing.T) {
	chip := tpmtest.Start(t)
	o := tpmtest.Folders(t)
	o.Device = deviceNode(t, strings.TrimPrefix(chip.Device(), "unix:"))
	var said []string
	o.Notice = func(text string) { said = append(said, text) }
	d, err := tpm.NewDevice(o)
	if err != nil {
		t.Fatal(err)
	}
	b := backendOver(t, d, filepath.Join(t.TempDir(), "keys"), nil)
	defer closed(t, b)
	s := create(t, b, "k", key.RSA2048, nil)
	mustSign(t, s)
	if !strings.Contains(strings.Join(said, "\n"), "not shared") {
		t.Errorf("said %q about a device without resource manager", said)
	}
	chip.Commands()
	mustSign(t, s)
	if got := chip.Commands(); len(got) != 1 {
		t.Errorf("commands %v", got)
	}
	chip.Inject(tpmtest.Fault{On: tpm2.TPMCCSign, Kind: tpmtest.Answer, Code: tpm2.TPMRCRetry})
	mustSign(t, s)
}

func TestDeviceNodeThatIsWedged(t *testing.T) {
	chip := tpmtest.Start(t)
	o := tpmtest.Folders(t)
	o.Device = deviceNode(t, strings.TrimPrefix(chip.Device(), "unix:"))
	d, err := tpm.NewDevice(o)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.SetCommandLimit(tpm2.TPMCCGetCapability, 50*time.Millisecond)
	chip.Inject(tpmtest.Fault{On: tpm2.TPMCCGetCapability, Kind: tpmtest.Wedge})
	if _, err := d.Status(t.Context()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want a deadline", err)
	}
}

func TestDeviceThatIsNoTPM(t *testing.T) {
	o := tpmtest.Folders(t)
	o.Device = "/dev/null"
	o.Notice = func(text string) { t.Errorf("said %q", text) }
	_, err := open(t, o)
	if hints := strings.Join(hint.Of(err), "\n"); !errors.Is(err, key.ErrNoDevice) || !strings.Contains(hints, "no TPM") {
		t.Errorf("%v, hints %q", err, hints)
	}
}

// deviceNode makes a raw terminal, relays its other end to a socket, and returns
// the path of its device.
func deviceNode(t *testing.T, socket string) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/dev/pts/%d", number)
	// Kept open: the master gives errors while nobody has the slave.
	slave, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	raw := &unix.Termios{Cflag: unix.CS8 | unix.CREAD}
	raw.Cc[unix.VMIN] = 1
	if err := unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, raw); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var relays sync.WaitGroup
	relays.Go(func() { io.Copy(conn, master); conn.Close() })
	relays.Go(func() { io.Copy(master, conn); slave.Close() })
	t.Cleanup(func() { conn.Close(); slave.Close(); relays.Wait(); master.Close() })
	return path
}
