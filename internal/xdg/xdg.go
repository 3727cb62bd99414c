package xdg

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/adrg/xdg"

	"github.com/sealsmith/sealsmith/internal/hint"
)

const app = "sealsmith"

// ConfigFile is where the configuration is read from unless told otherwise.
func ConfigFile() string { return filepath.Join(xdg.ConfigHome, app, "config.yaml") }

// UserUnits is where systemd looks for a user's own units (systemd.unit(5)).
func UserUnits() string { return filepath.Join(xdg.ConfigHome, "systemd", "user") }

// Data holds what must not be lost: the key files and the device pins.
func Data() string { return filepath.Join(xdg.DataHome, app) }

// Keys holds the key files.
func Keys() string { return filepath.Join(Data(), "keys") }

// Certs is the content-addressed store of CA certificates.
func Certs() string { return filepath.Join(Data(), "certs") }

// State holds what a machine remembers: the audit log, highest versions seen.
func State() string { return filepath.Join(xdg.StateHome, app) }

// AuditLog is the agent's log of what it was asked to do.
func AuditLog() string { return filepath.Join(State(), "audit.jsonl") }

// Seen is what is remembered of releases that were verified.
func Seen() string { return filepath.Join(State(), "seen.json") }

// AgentLog is where an agent logs that has nowhere else to.
func AgentLog() string { return filepath.Join(State(), "agent.log") }

// Runtime is the folder of the sockets and locks: $XDG_RUNTIME_DIR/sealsmith,
// else /run/user/UID/sealsmith if /run/user/UID exists, else a folder of
// [State]. It is never in a temporary folder, where another user could be there
// first (the xdg library would fall back to one).
func Runtime() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, app)
	}
	run := filepath.Join("/run/user", strconv.Itoa(os.Getuid()))
	if info, err := os.Stat(run); err == nil && info.IsDir() {
		return filepath.Join(run, app)
	}
	return filepath.Join(State(), "run")
}

// Private makes dir if needed and checks that it is a folder of ours that
// nobody else can enter or write: mode 0700, our uid, no symbolic link.
func Private(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	return checkPrivate(dir, info)
}

// checkPrivate says what is wrong with a folder, and how to mend it.
func checkPrivate(dir string, info fs.FileInfo) error {
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", dir)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Getuid() {
		return fmt.Errorf("folder %s belongs to uid %d", dir, st.Uid)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return hint.Wrap(fmt.Errorf("folder %s is open to other users (mode %#o)", dir, info.Mode().Perm()),
			"run: chmod 700 "+dir)
	}
	return nil
}

// OwnFile reports an error if a file that people may edit could have been
// written by another user: it must be a regular file of ours or of root's, not
// writable by others. A missing file is [fs.ErrNotExist].
func OwnFile(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("no owner information on this system")
	}
	if uid := int(st.Uid); uid != os.Getuid() && uid != 0 {
		return fmt.Errorf("%s belongs to uid %d", path, uid)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return hint.Wrap(fmt.Errorf("%s can be written by other users (mode %#o)", path, info.Mode().Perm()),
			"run: chmod go-w "+path)
	}
	return nil
}

// ReadOwnFile reads a file that [OwnFile] has nothing against and that has limit bytes
// at most.
func ReadOwnFile(path string, limit int) ([]byte, error) {
	if err := OwnFile(path); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err == nil && len(data) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return data, err
}
