package tpm

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/key"
)

// defaultDevice is the kernel's resource manager: it can be shared.
const defaultDevice = "/dev/tpmrm0"

const (
	settingHint = "choose the TPM with --tpm, SEALSMITH_TPM or tpm: in config.yaml"
	swtpmHint   = "without a TPM, a software TPM shows how it works and protects nothing: install the package swtpm and give --tpm swtpm:$HOME/swtpm"
	groupHint   = "TPM devices are for the group tss; run: sudo usermod -aG tss $USER, then log in again"
)

type kind int

const (
	deviceNode kind = iota // a character device of the kernel
	swtpmChild             // swtpm, started by us
	unixSocket             // a raw unix socket that somebody else serves
)

// target is a parsed device string.
type target struct {
	kind kind
	path string // absolute
}

// ParseDevice checks a device string and returns its canonical form, by which
// devices are told apart: an absolute device path, swtpm:DIR or unix:PATH with
// an absolute path. The empty string is /dev/tpmrm0. It does not look whether
// the device exists. Its errors wrap [key.ErrUsage].
func ParseDevice(s string) (string, error) {
	t, err := parseTarget(s)
	return t.String(), err
}

func parseTarget(s string) (target, error) {
	if s == "" {
		s = defaultDevice
	}
	bad := func(why string) (target, error) {
		return target{}, hint.Wrap(fmt.Errorf("TPM %.200q: %s: %w", s, why, key.ErrUsage),
			"write a device path such as /dev/tpmrm0, swtpm:DIR or unix:PATH")
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return bad("control character")
	}
	t := target{kind: deviceNode, path: s}
	if path, found := strings.CutPrefix(s, "swtpm:"); found {
		t = target{swtpmChild, path}
	} else if path, found := strings.CutPrefix(s, "unix:"); found {
		t = target{unixSocket, path}
	} else if !filepath.IsAbs(s) {
		return bad("neither an absolute path nor swtpm:DIR nor unix:PATH")
	}
	if t.path == "" {
		return bad("no path")
	}
	path, err := filepath.Abs(t.path)
	if err != nil {
		return bad(err.Error())
	}
	if t.kind == swtpmChild && strings.Contains(path, ",") {
		return bad("swtpm would take what follows the comma for an option")
	}
	t.path = path
	return t, nil
}

// String is the canonical device string.
func (t target) String() string {
	switch t.kind {
	case swtpmChild:
		return "swtpm:" + t.path
	case unixSocket:
		return "unix:" + t.path
	}
	return t.path
}

// managed says that a resource manager stands between us and the TPM: the device
// can be shared, and each kept object costs a swap at every command.
func (t target) managed() bool {
	return t.kind == deviceNode && strings.HasPrefix(filepath.Base(t.path), "tpmrm")
}

// slots is how many keys are kept loaded. A TPM has at least three slots; one is
// for the parent.
func (t target) slots() int {
	if t.managed() {
		return 1
	}
	return 2
}

// open connects, to a software TPM by start. Its errors wrap [key.ErrNoDevice] or
// [key.ErrBusy].
func (t target) open(start func() (net.Conn, func() error, error)) (*link, error) {
	var l *link
	var err error
	switch t.kind {
	case swtpmChild:
		l = &link{}
		l.conn, l.after, err = start()
	case unixSocket:
		l, err = dialUnix(t.path)
	default:
		l, err = openNode(t.path)
	}
	if err != nil {
		return nil, t.explain(err)
	}
	return l, nil
}

// explain gives an error of opening its class and its advice.
func (t target) explain(err error) error {
	err = fmt.Errorf("open TPM %s: %w", t, err)
	switch {
	case errors.Is(err, syscall.EBUSY):
		return hint.Wrap(fmt.Errorf("%w: %w", err, key.ErrBusy), "the device that can be shared is "+defaultDevice)
	case errors.Is(err, fs.ErrPermission) && t.kind == deviceNode:
		return hint.Wrap(fmt.Errorf("%w: %w", err, key.ErrNoDevice), groupHint, settingHint)
	case errors.Is(err, key.ErrUnsupported), errors.Is(err, key.ErrUsage), errors.Is(err, key.ErrBusy):
		return hint.Wrap(err, settingHint)
	case t.kind == deviceNode:
		return hint.Wrap(fmt.Errorf("%w: %w", err, key.ErrNoDevice), swtpmHint, settingHint)
	}
	return hint.Wrap(fmt.Errorf("%w: %w", err, key.ErrNoDevice), settingHint)
}
