package agent

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/testenv"
)

// systemLog is a datagram socket that a test reads.
func systemLog(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func received(t *testing.T, c *net.UnixConn) string {
	t.Helper()
	b := make([]byte, 4096)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

// TestAuditMirror: the line of the file is in the system's log, whichever there is.
func TestAuditMirror(t *testing.T) {
	dir := testenv.SocketDir(t)
	journal, syslog := filepath.Join(dir, "journal"), filepath.Join(dir, "syslog")
	for _, c := range []struct {
		name, path string
		want       string
	}{
		{"journald", journal, `^MESSAGE=(.*)\nPRIORITY=6\nSYSLOG_FACILITY=10\nSYSLOG_IDENTIFIER=sealsmith-audit\n$`},
		{"syslog", syslog, `^<86>[A-Z][a-z]{2} [ 1-3]\d \d\d:\d\d:\d\d sealsmith-audit\[\d+\]: (.*)$`},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := systemLog(t, c.path)
			path := filepath.Join(dir, c.name+".jsonl")
			a := openLog(t, path, 0)
			a.mirror = newMirror(journal, syslog)
			writeRecords(t, a, 1)
			sent := regexp.MustCompile(c.want).FindStringSubmatch(received(t, log))
			if sent == nil || sent[1] != readLines(t, path)[0] {
				t.Errorf("sent %q", sent)
			}
			if err := errors.Join(log.Close(), os.Remove(c.path)); err != nil { // restarted
				t.Fatal(err)
			}
			log = systemLog(t, c.path)
			writeRecords(t, a, 1)
			if got := received(t, log); !strings.Contains(got, `"seq":2`) {
				t.Errorf("after a restart: %q", got)
			}
			if err := os.Remove(c.path); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestAuditMirrorStuck: a system's log that takes nothing holds no signature up, and
// what it did not get is told.
func TestAuditMirrorStuck(t *testing.T) {
	dir := testenv.SocketDir(t)
	systemLog(t, filepath.Join(dir, "journal")) // which nobody reads
	path := filepath.Join(dir, "audit.jsonl")
	a := openLog(t, path, 0)
	a.mirror = newMirror(filepath.Join(dir, "journal"), filepath.Join(dir, "none"))
	began := time.Now()
	writeRecords(t, a, limits.AuditQueue+2000) // more than a socket's buffer has room for
	if took := time.Since(began); took > limits.AuditFlush {
		t.Errorf("records waited %v", took)
	}
	lines := readLines(t, path)
	if !strings.Contains(lines[len(lines)-1], `"unmirrored":1}`) || strings.Contains(lines[0], "unmirrored") {
		t.Errorf("the last record is %s", lines[len(lines)-1])
	}
	began = time.Now()
	a.Close()
	if took := time.Since(began); took > 3*limits.AuditFlush {
		t.Errorf("the end took %v", took)
	}
}

// TestAuditMirrorMissing: where there is no log nothing is lost.
func TestAuditMirrorMissing(t *testing.T) {
	dir := t.TempDir()
	m := newMirror(filepath.Join(dir, "a"), filepath.Join(dir, "b"))
	m.send([]byte("{}"))
	m.close()
	if n := m.takeLost(); n != 0 {
		t.Errorf("%d records lost", n)
	}
}
