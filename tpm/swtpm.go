package tpm

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/internal/sockets"
	"github.com/sealsmith/sealsmith/internal/xdg"
	"github.com/sealsmith/sealsmith/key"
)

// swtpmNotice is said each time that a software TPM is opened.
const swtpmNotice = "software TPM in %s: it protects NOTHING; whoever reads that folder has the keys"

// SWTPM starts the software TPM of one folder, with the program that was on PATH when
// it was made.
type SWTPM struct {
	dir, program string
	missing      error // why there is no program
	log          *slog.Logger
}

// NewSWTPM finds swtpm for a device string of the form swtpm:DIR. It is no error yet
// if there is none. A nil log discards.
func NewSWTPM(device string, log *slog.Logger) (*SWTPM, error) {
	t, err := parseTarget(device)
	if err != nil {
		return nil, err
	}
	if t.kind != swtpmChild {
		return nil, fmt.Errorf("%s is no software TPM: %w", t, key.ErrUsage)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return findSWTPM(t.path, log), nil
}

func findSWTPM(dir string, log *slog.Logger) *SWTPM {
	s := &SWTPM{dir: dir, log: log}
	s.program, s.missing = exec.LookPath("swtpm")
	s.missing = hint.Wrap(s.missing, "install the package swtpm")
	return s
}

// Start starts swtpm as a child on one end of a socket pair; conn is the other. The
// child ends when conn is closed, also when we are killed. Who closed conn calls
// ended, which waits for that and kills a child that stays; its error wraps
// [key.ErrBusy] if another swtpm has the folder.
func (s *SWTPM) Start() (conn net.Conn, ended func() error, err error) {
	if s.missing != nil {
		return nil, nil, s.missing
	}
	if err := xdg.Private(s.dir); err != nil {
		return nil, nil, fmt.Errorf("state folder of swtpm: %w", err)
	}
	ours, theirs, err := sockets.Pair()
	if err != nil {
		return nil, nil, err
	}
	defer theirs.Close() // the child has its own, or it would never see our end close
	cmd := exec.Command(s.program, "socket", "--tpm2", "--tpmstate", "dir="+s.dir,
		"--fd", "3", "--flags", "not-need-init,startup-clear", "--terminate")
	cmd.ExtraFiles = []*os.File{theirs}
	stderr := &head{}
	cmd.Stderr = stderr
	// A process group of its own: ^C at a terminal is for us, and we stop the
	// child in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	endWithThread(cmd.SysProcAttr)
	release, err := startKept(cmd)
	if err != nil {
		return nil, nil, errors.Join(err, ours.Close())
	}
	s.log.Debug("swtpm started", "pid", cmd.Process.Pid, logx.Path, s.dir)
	return ours, func() error {
		defer release()
		return reap(cmd, stderr, s.log)
	}, nil
}

// startKept starts a child on a thread that stays until release. A swtpm that cannot
// give its answer to somebody who was killed does not see the end of its connection:
// it would stay for ever, with the lock of its folder.
func startKept(cmd *exec.Cmd) (release func(), err error) {
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			<-ended
		}
	}()
	return sync.OnceFunc(func() { close(ended) }), <-started
}

// reap waits for a child whose connection is closed, and kills it if it stays.
func reap(cmd *exec.Cmd, stderr *head, log *slog.Logger) error {
	timer := time.AfterFunc(limits.TPMExit, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	timer.Stop()
	log.Debug("swtpm ended", "state", cmd.ProcessState.String(), "stderr", stderr.String())
	if err == nil {
		return nil
	}
	err = fmt.Errorf("swtpm: %w: %.200q", err, stderr.String())
	if bytes.Contains(stderr.text, []byte("Could not lock")) {
		err = fmt.Errorf("%w: %w", err, key.ErrBusy)
	}
	return err
}

// head keeps the beginning of what a child says: its first complaint.
type head struct{ text []byte }

// Write implements [io.Writer].
func (h *head) Write(p []byte) (int, error) {
	room := limits.TPMFrame - len(h.text)
	h.text = append(h.text, p[:min(room, len(p))]...)
	return len(p), nil
}

// String is what was kept, without the space around it.
func (h *head) String() string { return string(bytes.TrimSpace(h.text)) }

// lockReset is TPM2_DictionaryAttackLockReset with the empty lockoutAuth (TPM
// 2.0 part 3, section 25.3); go-tpm v0.9.8 has no such command.
var lockReset = []byte{
	0x80, 0x02, 0, 0, 0, 27, 0, 0, 0x01, 0x39, // sessions; size; code
	0x40, 0, 0, 0x0A, // TPM_RH_LOCKOUT
	0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0, // an empty password
}
