package daemon

import (
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/logx"
)

// manager is the service manager that started this process (sd_notify(3)).
type manager struct {
	conn *net.UnixConn // nil: it wants to know nothing
	log  *slog.Logger
}

// newManager connects to the socket in NOTIFY_SOCKET, if there is one: the sandbox
// forbids that later, if it is an abstract one. What we start is no concern of the
// manager's; nor are we, if somebody waits for us in its place.
func newManager(waited bool, log *slog.Logger) *manager {
	m := &manager{log: log}
	path := os.Getenv("NOTIFY_SOCKET")
	os.Unsetenv("NOTIFY_SOCKET")
	if path == "" || waited {
		return m
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		log.Warn("the service manager cannot be told anything", logx.Err, err)
		return m
	}
	m.conn = conn
	return m
}

// tell tells one of sd_notify's states. It does not wait long for a manager that does
// not listen.
func (m *manager) tell(state string) {
	if m.conn == nil {
		return
	}
	err := m.conn.SetWriteDeadline(time.Now().Add(limits.ServiceManager))
	if err == nil {
		_, err = m.conn.Write([]byte(state))
	}
	if err != nil {
		m.log.Warn("the service manager cannot be told", "state", state, logx.Err, err)
	}
}
