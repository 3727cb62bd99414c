package tpm

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
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

// startSWTPM starts swtpm as a child on one end of a socket pair, with its state
// in dir. The child ends when our end is closed, also when we are killed.
func startSWTPM(dir string, log *slog.Logger) (*link, error) {
	path, err := exec.LookPath("swtpm")
	if err != nil {
		return nil, hint.Wrap(err, "install the package swtpm")
	}
	if err := xdg.Private(dir); err != nil {
		return nil, fmt.Errorf("state folder of swtpm: %w", err)
	}
	ours, theirs, err := sockets.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close() // the child has its own, or it would never see our end close
	cmd := exec.Command(path, "socket", "--tpm2", "--tpmstate", "dir="+dir,
		"--fd", "3", "--flags", "not-need-init,startup-clear", "--terminate")
	cmd.ExtraFiles = []*os.File{theirs}
	stderr := &head{}
	cmd.Stderr = stderr
	// A process group of its own: ^C at a terminal is for us, and we stop the
	// child in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	log.Debug("swtpm started", "pid", cmd.Process.Pid, logx.Path, dir)
	return &link{conn: ours, after: func() error { return reap(cmd, stderr, log) }}, nil
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
