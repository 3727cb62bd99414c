package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/internal/sockets"
	"github.com/sealsmith/sealsmith/internal/xdg"
)

// The names of the sockets: in their folder, and in LISTEN_FDNAMES.
const (
	sshSocket     = "ssh"
	controlSocket = "control"
)

// places are the sockets of an agent.
type places struct {
	ssh, control net.Listener
	standard     bool // they are those of the default agent
	activated    bool // somebody else made a socket, and will remove it
	folder       *sockets.Folder
}

// openPlaces opens the sockets that the command line means. An agent in the
// foreground is the default agent of its user and serves the default paths, unless
// -a says otherwise. Every other one has a folder of its own, so that any number of
// them can run, as with ssh-agent.
func openPlaces(f *flags, log *slog.Logger) (p *places, err error) {
	p = &places{standard: f.foreground && f.ssh == ""}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	dir := xdg.Runtime()
	if p.standard {
		if err := p.activate(); err != nil {
			return p, err
		}
	} else if f.ssh == "" || f.control == "" {
		if dir, err = p.ownFolder(f.temporary); err != nil {
			return p, fmt.Errorf("folder of the sockets: %w", err)
		}
	}
	if p.ssh == nil {
		if f.ssh != "" {
			p.ssh, err = sockets.ListenNew(f.ssh)
		} else {
			p.ssh, err = p.listen(filepath.Join(dir, "ssh.sock"))
		}
		if err != nil {
			return p, fmt.Errorf("ssh socket: %w", err)
		}
	}
	if p.control == nil {
		if f.control != "" {
			p.control, err = sockets.Listen(f.control)
		} else {
			p.control, err = p.listen(filepath.Join(dir, "control.sock"))
		}
		if err != nil {
			return p, fmt.Errorf("control socket: %w", err)
		}
	}
	if !f.noSweep {
		if err := sockets.Sweep(); err != nil {
			log.Warn("folders of agents that were killed are left", logx.Err, err)
		}
	}
	return p, nil
}

// listen opens a socket in a folder that all agents share, or that is our own.
func (p *places) listen(path string) (net.Listener, error) {
	if p.folder != nil {
		return sockets.ListenNew(path)
	}
	return sockets.Listen(path)
}

func (p *places) ownFolder(temporary bool) (string, error) {
	parent := xdg.Runtime()
	if temporary {
		parent = os.TempDir()
	}
	folder, err := sockets.NewFolder(parent)
	if err != nil {
		return "", err
	}
	p.folder = folder
	return folder.Path(), nil
}

// activate takes the sockets that a service manager handed over, if there are any
// (sd_listen_fds(3)).
func (p *places) activate() error {
	// The library makes room for as many as it is told of, and takes what is no number for none.
	if text, told := os.LookupEnv("LISTEN_FDS"); told && os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()) {
		if n, err := strconv.Atoi(text); err != nil || n < 0 || n > limits.HandedOver {
			return fmt.Errorf("%.20q handed-over sockets (LISTEN_FDS), at most %q and %q are wanted", text, sshSocket, controlSocket)
		}
	}
	files := activation.Files(true)
	for _, file := range files {
		defer file.Close() // FileListener duplicates it
	}
	for _, file := range files {
		place := &p.ssh
		switch name := file.Name(); {
		case name == sshSocket:
		case name == controlSocket:
			place = &p.control
		case len(files) > 1:
			return fmt.Errorf("handed-over socket is named %.200q, not %q or %q", name, sshSocket, controlSocket)
		}
		if *place != nil {
			return fmt.Errorf("two handed-over sockets are named %q", file.Name())
		}
		l, err := handedOver(file)
		if err != nil {
			return fmt.Errorf("handed-over descriptor %.200q: %w", file.Name(), err)
		}
		*place = l
		p.activated = true
	}
	return nil
}

// handedOver is the listener of a descriptor: that of a unix stream socket that listens.
// Others than its owner may connect, whom the agent does not serve; but a socket of the
// network has no peer that the kernel names.
func handedOver(file *os.File) (net.Listener, error) {
	kind, err := unix.GetsockoptInt(int(file.Fd()), unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	listens, err := unix.GetsockoptInt(int(file.Fd()), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	l, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	if _, local := l.(*net.UnixListener); !local || kind != unix.SOCK_STREAM || listens == 0 {
		return nil, errors.Join(errors.New("no unix stream socket that listens"), l.Close())
	}
	return l, nil
}

// close removes what openPlaces made. Listeners that are closed already may be.
func (p *places) close() error {
	var errs []error
	for _, l := range []net.Listener{p.ssh, p.control} {
		if l == nil {
			continue
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if p.folder != nil {
		errs = append(errs, p.folder.Close())
	}
	return errors.Join(errs...)
}
