package cli

import (
	"errors"
	"io"
	"math"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sealsmith/sealsmith/key"
)

// TestOwnDescriptors: what this process opened itself is no PIN, and stays open.
func TestOwnDescriptors(t *testing.T) {
	own, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if _, err := writer.WriteString("max 100000\n"); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	if _, err := new(app).readLine(int(own.Fd()), "PIN", 64); !errors.Is(err, key.ErrUsage) || !strings.Contains(err.Error(), "was given to this process") {
		t.Errorf("a descriptor of our own: %v", err)
	}
	if left, err := io.ReadAll(own); err != nil || string(left) != "max 100000\n" {
		t.Errorf("then it held %q, %v", left, err)
	}
	for _, fd := range []int{-1, 1 << 20, math.MaxInt32, math.MaxInt32 + 1, 1 << 32} {
		if _, err := new(app).readLine(fd, "PIN", 64); !errors.Is(err, key.ErrUsage) {
			t.Errorf("descriptor %d: %v", fd, err)
		}
	}
}

// TestGivenDescriptor: one that came through an exec is not closed by the next.
func TestGivenDescriptor(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if _, err := writer.WriteString("a PIN\nanother\n"); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	given, err := unix.FcntlInt(reader.Fd(), unix.F_DUPFD, 3)
	if err != nil {
		t.Fatal(err)
	}
	pin, err := new(app).readLine(given, "PIN", 64)
	if err != nil {
		t.Fatal(err)
	}
	defer pin.Wipe()
	if err := pin.Use(func(line []byte) error {
		if string(line) != "a PIN" {
			t.Errorf("read %q", line)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
