package logx

import (
	"fmt"
	"io"
	"log/slog"
)

// Attribute keys: one spelling for the whole program.
const (
	Key     = "key"
	Ref     = "ref"
	Peer    = "peer"
	Purpose = "purpose"
	Device  = "device"
	Path    = "path"
	Err     = "err"
	Hint    = "hint" // what can be done about it
)

// New makes a logger that writes to w in the format "text" or "json".
func New(w io.Writer, format string, level slog.Level) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: level}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("log format %.20q is neither text nor json", format)
}
