package daemon

import (
	"io"
	"io/fs"
	"log/slog"
	"log/syslog"
	"os"
	"sync"
	"syscall"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/internal/xdg"
)

// newLog logs to stderr. In the background that is gone, and who sends it to /dev/null, as
// the start-up file of a shell does, reads none either: then the system's log is the place,
// as with ssh-agent, or, where there is none, a file. shown says that it is stderr.
func newLog(f *flags, stderr io.Writer) (log *slog.Logger, shown bool, err error) {
	level := slog.LevelInfo
	if f.debug {
		level = slog.LevelDebug
	}
	out := stderr
	if shown = f.foreground && !f.detached && !isNull(stderr); !shown {
		out = unseen()
	}
	log, err = logx.New(out, f.logFormat, level)
	return log, shown, err
}

// unseen is where an agent logs that has no stderr.
func unseen() io.Writer {
	if w, err := syslog.New(syslog.LOG_INFO|syslog.LOG_AUTHPRIV, "sealsmith-agent"); err == nil {
		return w
	}
	if err := xdg.Private(xdg.State()); err != nil {
		return io.Discard
	}
	return &logFile{path: xdg.AgentLog()}
}

// isNull says whether what is written to w is lost.
func isNull(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	if err != nil {
		return true // it is closed
	}
	null, err := os.Stat(os.DevNull)
	return err == nil && os.SameFile(info, null)
}

// logFile is a log file that does not grow for ever: when it is full it becomes PATH.old, in
// the place of an older one. Agents share it: each line is one write at the end.
type logFile struct {
	path string
	mu   sync.Mutex
	f    *os.File // nil until the first line
}

// Write implements [io.Writer] for whole lines.
func (l *logFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		if info, err := l.f.Stat(); err != nil || info.Size()+int64(len(line)) > limits.AgentLog {
			l.f.Close()
			l.f = nil
			_ = os.Rename(l.path, l.path+".old") // if it fails, the file grows
		}
	}
	if l.f == nil {
		f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return 0, err
		}
		if info, err := f.Stat(); err != nil || info.Mode().Type() != 0 {
			f.Close()
			return 0, fs.ErrInvalid
		}
		l.f = f
	}
	return l.f.Write(line)
}
