package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/sealsmith/sealsmith/internal/atomicfile"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// wrapFlags are the flags of `key create --wrap-for`.
type wrapFlags struct {
	parent, output, pubkey string
}

// check refuses flags that make no sense together.
func (f wrapFlags) check(unattended bool) error {
	switch {
	case f.parent == "" && (f.output != "" || f.pubkey != ""):
		return usageError(errors.New("--output and --pubkey belong to --wrap-for: a key of this TPM is stored in the key folder"))
	case f.parent != "" && unattended:
		return hint.Wrap(usageError(errors.New("--unattended is not part of a wrapped key")), "say it where the key is used: sealsmith key import --unattended")
	}
	return nil
}

// wrapKey makes a key for another machine's TPM, in memory, and writes it so that
// only that TPM can use it. It uses no device.
func (a *app) wrapKey(ctx context.Context, spec key.Spec, f wrapFlags) error {
	data, err := readFile(f.parent, limits.TrustFile)
	if err != nil {
		return err
	}
	parent, err := tpm.ParseStorage(data)
	if err != nil {
		return fmt.Errorf("%s: %w", f.parent, err)
	}
	name, err := tpm.StorageName(parent)
	if err != nil {
		return err
	}
	if isFile(f.output) { // said before a PIN is asked for
		return outputExists(f.output)
	}
	private, err := tpm.Generate(spec.Algorithm)
	if err != nil {
		return err
	}
	comment := cmp.Or(spec.Comment, spec.Name)
	line, err := sshwire.AuthorizedKey(private.Public(), comment)
	if err != nil {
		return err
	}
	file, err := tpm.Wrap(ctx, parent, private, tpm.WrapOptions{Usage: spec.Usage, PIN: spec.PIN, Description: comment})
	if err != nil {
		return err
	}
	// The public key can be had from the file, so the file comes last.
	if f.pubkey != "" {
		if err := writeOutput(f.pubkey, line); err != nil {
			return err
		}
	}
	if err := a.writeWrapped(f.output, file); err != nil {
		return err
	}
	if f.pubkey == "" {
		a.say("%s", line[:len(line)-1])
	}
	a.say("only the TPM with the storage key %s can use it", name)
	a.say("there, run: sealsmith key import %s %s", spec.Name, cmp.Or(f.output, "FILE"))
	return nil
}

// writeWrapped writes a wrapped key: to stdout, or to a file that must be new, for
// what is overwritten may be the only copy of another key.
func (a *app) writeWrapped(path string, file []byte) error {
	if path == "" || path == "-" {
		_, err := a.Out.Write(file)
		return err
	}
	if _, err := os.Stat(path); err == nil && !isFile(path) {
		return writeOutput(path, file) // a device or a pipe
	}
	err := atomicfile.WriteNew(path, file, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return outputExists(path)
	}
	return err
}

// isFile says whether an output leads to a regular file.
func isFile(path string) bool {
	info, err := os.Stat(path)
	return path != "-" && err == nil && info.Mode().IsRegular()
}

func outputExists(path string) error {
	return hint.Wrap(fmt.Errorf("write %s: %w", path, fs.ErrExist), "name another file: a wrapped key is not overwritten")
}

// localPIN says where the PIN of a key comes from that is wrapped in this process:
// a file descriptor, which is read at once, the terminal, later, or nowhere. wipe is
// for the end; it is nil if there is an error.
func (a *app) localPIN(ask, fromFD bool, fd int, title string) (pin key.LendFunc, wipe func(), err error) {
	switch {
	case fromFD:
		buf, err := a.readPIN(fd)
		if err != nil {
			return nil, nil, err
		}
		return lend(buf), buf.Wipe, nil
	case !ask:
		return nil, func() {}, nil
	}
	terminal := a.terminal()
	if terminal == nil {
		return nil, nil, hint.Wrap(fmt.Errorf("no PIN was given: %w", key.ErrDenied), "give it with --pin-fd N")
	}
	return newPIN(terminal, title), func() {}, nil
}
