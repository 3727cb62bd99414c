package daemon

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/sealsmith/sealsmith/internal/config"
	"github.com/sealsmith/sealsmith/internal/sandbox"
	"github.com/sealsmith/sealsmith/internal/xdg"
)

// restrict takes from this process what an agent that serves does not need. What it
// could do before, its helper still can.
func (d *Daemon) restrict(log *slog.Logger) error {
	if err := sandbox.NoNewPrivileges(); err != nil {
		return err
	}
	if d.sandbox == config.SandboxOff {
		log.Warn("the sandbox is switched off")
		return nil
	}
	folders, err := d.folders()
	if err != nil {
		return err
	}
	_ = time.Now().String() // reads the rules of our time zone, while it can
	d.abi, err = sandbox.Restrict(folders, d.sandbox == config.SandboxRequire)
	switch {
	case err != nil:
		return err
	case d.abi == 0:
		log.Warn("no sandbox: the kernel has no Landlock")
	case d.abi < sandbox.Wanted:
		log.Warn("the sandbox is incomplete: the kernel's Landlock is old", "abi", d.abi, "wanted", sandbox.Wanted)
	default:
		log.Info("sandboxed", "abi", d.abi)
	}
	return nil
}

// folders are what the agent needs from now on.
func (d *Daemon) folders() (f sandbox.Folders, err error) {
	f.Change = []string{xdg.Data(), xdg.State(), xdg.Runtime()}
	for _, dir := range f.Change {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return f, fmt.Errorf("folder for the sandbox: %w", err)
		}
	}
	// Where it is and where it points to, for those who link to it.
	f.Read = []string{filepath.Dir(d.configFile)}
	if target, err := filepath.EvalSymlinks(d.configFile); err == nil {
		f.Read = append(f.Read, filepath.Dir(target))
	}
	if device := d.device.String(); filepath.IsAbs(device) {
		f.Devices = []string{filepath.Dir(device)}
	}
	// At the end our sockets are removed, wherever they are.
	for _, l := range []net.Listener{d.places.ssh, d.places.control} {
		if _, handedOver := l.(*net.UnixListener); !handedOver {
			f.Remove = append(f.Remove, filepath.Dir(l.Addr().String()))
		}
	}
	if d.places.folder != nil {
		f.RemoveFolders = []string{filepath.Dir(d.places.folder.Path())}
	}
	return f, nil
}
