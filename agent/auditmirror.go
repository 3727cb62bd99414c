package agent

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// The sockets of the system's log.
const (
	journalSocket = "/run/systemd/journal/socket" // https://systemd.io/JOURNAL_NATIVE_PROTOCOL
	syslogSocket  = "/dev/log"                    // RFC 3164
)

// mirror sends records to the system's log. Nothing ever waits for that: what it is
// too slow for is lost there, and counted.
type mirror struct {
	sockets []mirrorSocket
	queue   chan []byte
	done    chan struct{}
	lost    atomic.Uint64

	conn   net.Conn // nil: not connected
	encode func(line []byte) []byte
}

type mirrorSocket struct {
	path   string
	encode func(line []byte) []byte
}

func newMirror(journal, syslog string) *mirror {
	m := &mirror{
		sockets: []mirrorSocket{{journal, journalEntry}, {syslog, syslogEntry}},
		queue:   make(chan []byte, limits.AuditQueue), done: make(chan struct{}),
	}
	go m.run()
	return m
}

// send queues a record if there is room.
func (m *mirror) send(line []byte) {
	select {
	case m.queue <- line:
	default:
		m.lost.Add(1)
	}
}

// takeLost is how many records were lost since it was asked last.
func (m *mirror) takeLost() uint64 { return m.lost.Swap(0) }

// close sends what is queued, for a moment at most.
func (m *mirror) close() {
	close(m.queue)
	select {
	case <-m.done:
	case <-time.After(limits.AuditFlush):
	}
}

func (m *mirror) run() {
	defer close(m.done)
	for line := range m.queue {
		err := m.deliver(line)
		if err != nil {
			err = m.deliver(line) // a log that was restarted has another socket
		}
		if err != nil && m.exists() {
			m.lost.Add(1)
		}
	}
	if m.conn != nil {
		m.conn.Close()
	}
}

// exists says whether the system has a log: one that has none loses nothing.
func (m *mirror) exists() bool {
	for _, s := range m.sockets {
		if _, err := os.Stat(s.path); err == nil {
			return true
		}
	}
	return false
}

func (m *mirror) deliver(line []byte) error {
	if m.conn == nil {
		if err := m.dial(); err != nil {
			return err
		}
	}
	err := m.conn.SetWriteDeadline(time.Now().Add(limits.AuditFlush))
	if err == nil {
		_, err = m.conn.Write(m.encode(line))
	}
	if err != nil {
		m.conn.Close()
		m.conn = nil
	}
	return err
}

func (m *mirror) dial() (err error) {
	for _, s := range m.sockets {
		if m.conn, err = net.Dial("unixgram", s.path); err == nil {
			m.encode = s.encode
			return nil
		}
	}
	m.conn = nil // not an interface with nothing in it
	return err
}

// mirrorName is what the system's log has the records under.
const mirrorName = "sealsmith-audit"

// The records are informational, of the facility authpriv (RFC 3164, section 4.1.1).
const (
	authFacility = 10
	infoSeverity = 6
)

// journalEntry writes a record, which has no line feed in it, for journald.
func journalEntry(line []byte) []byte {
	return fmt.Appendf(nil, "MESSAGE=%s\nPRIORITY=%d\nSYSLOG_FACILITY=%d\nSYSLOG_IDENTIFIER=%s\n", line, infoSeverity, authFacility, mirrorName)
}

// syslogEntry writes a record as the C library does for a local syslog: in the local
// time, without a host.
func syslogEntry(line []byte) []byte {
	return fmt.Appendf(nil, "<%d>%s %s[%d]: %s", authFacility<<3|infoSeverity, time.Now().Format(time.Stamp), mirrorName, os.Getpid(), line)
}
