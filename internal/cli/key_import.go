package cli

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/internal/daemon"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/secret"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// keyImportFlags are the flags of `key import`.
type keyImportFlags struct {
	usage, comment      string
	pin, unattended     bool
	pinFD, passphraseFD int

	hasPINFD, hasPassphraseFD bool
}

func (a *app) keyImport() *cobra.Command {
	var f keyImportFlags
	c := &cobra.Command{
		Use:   "import NAME FILE",
		Short: "bring a key that was made elsewhere into the TPM",
		Long: `Import stores a key that exists already. FILE, or - for standard input, is one of

  a private key in OpenSSH's form, or in PEM as PKCS #1, SEC 1 or PKCS #8
  a key that was wrapped for this TPM: sealsmith key create NAME --wrap-for
  a TSS2 key file of other software, for a key of this TPM

A private key is encrypted for the TPM before it leaves this process. It gets the
usage that --usage names; that of a wrapped key is part of the key. A passphrase of
the file is asked for; --pin gives the key a PIN, which the TPM checks.

A private key existed outside the TPM, and is marked as imported wherever it is shown.
Copies of its file go on working: delete those that nothing needs. Better is a new
key, where the old one can be replaced: sealsmith key create.

  sealsmith key import laptop ~/.ssh/id_ecdsa --usage ssh --pin
  openssl pkey -in old.pem | sealsmith key import release - --usage artifact
  sealsmith key import moved wrapped.tpm`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeSecondFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.hasPINFD, f.hasPassphraseFD = cmd.Flags().Changed("pin-fd"), cmd.Flags().Changed("passphrase-fd")
			return a.importFile(cmd.Context(), args[0], args[1], f)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.usage, "usage", "", "what a private key is for: ssh, ssh-ca, ssh-host, artifact or digest")
	flags.StringVar(&f.comment, "comment", "", "comment of the public key (default: that of a wrapped key, else NAME)")
	flags.BoolVar(&f.pin, "pin", false, "protect a private key with a PIN, which is asked for")
	flags.IntVar(&f.pinFD, "pin-fd", -1, "read the PIN's line from file descriptor `N` (implies --pin)")
	flags.IntVar(&f.passphraseFD, "passphrase-fd", -1, "read the line of the file's passphrase from file descriptor `N`")
	flags.BoolVar(&f.unattended, "unattended", false, "sign without asking anybody: for demos, CI and benchmarks")
	return c
}

// importFile imports the key of a file.
func (a *app) importFile(ctx context.Context, name, path string, f keyImportFlags) error {
	spec := key.ImportSpec{Name: name, Comment: f.comment, Unattended: f.unattended}
	if err := spec.Validate(); err != nil {
		return err
	}
	if path == "-" && (f.hasPINFD && f.pinFD == 0 || f.hasPassphraseFD && f.passphraseFD == 0) {
		return usageError(errors.New("standard input cannot be both the key and its PIN or passphrase"))
	}
	file, err := a.readKey(path)
	if err != nil {
		return err
	}
	defer file.Wipe()
	var private crypto.Signer // nil: the file is wrapped
	err = file.Use(func(data []byte) (err error) {
		if isWrapped(data) {
			spec.File = bytes.Clone(data)
			return checkWrapped(spec, f)
		}
		private, err = a.privateKey(ctx, data, path, f)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	in, err := a.importKey(ctx, spec, private, f)
	if errors.Is(err, key.ErrExists) && len(hint.Of(err)) == 0 {
		return hint.Wrap(err, "choose another name, or see what it is with: sealsmith key show "+name)
	}
	if err != nil {
		return err
	}
	a.noteImport(in, private != nil, path)
	a.noteNew(in)
	fmt.Fprintln(a.Out, in.Ref.Name)
	return nil
}

// readKey reads a file that may be a private key into locked memory, in a process
// that others cannot look into.
func (a *app) readKey(path string) (*secret.Buffer, error) {
	from, done := a.untilStopped(a.In)
	defer done()
	if path != "-" {
		f, err := open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	}
	if err := daemon.Harden(); err != nil { // after the file was opened: it may be in /dev/fd
		return nil, err
	}
	file, err := secret.Read(from, limits.PrivateKeyFile)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return file, nil
}

// warnOpen says that a private key was open to others. To refuse it would help
// nobody: it is safer in the TPM than where it is.
func (a *app) warnOpen(path string) {
	info, err := os.Stat(path)
	if path != "-" && err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		a.notice(fmt.Sprintf("%s can be read by other users (mode %04o): they may have the key", path, info.Mode().Perm()))
	}
}

// isWrapped tells a file that only a TPM can decrypt from a private key.
func isWrapped(data []byte) bool {
	return bytes.Contains(data, []byte("-----BEGIN TSS2 PRIVATE KEY-----"))
}

// checkWrapped refuses what cannot be imported before any device is asked, and
// flags that would change what is fixed in the file.
func checkWrapped(spec key.ImportSpec, f keyImportFlags) error {
	in, err := tpm.Describe(spec.File)
	switch {
	case err != nil:
		return err
	case f.usage != "" && f.usage != string(in.Usage):
		return hint.Wrap(usageError(fmt.Errorf("--usage %.40q: the key is of usage %s, which is part of it", f.usage, in.Usage)), "leave --usage out")
	case f.pin || f.hasPINFD:
		return hint.Wrap(usageError(errors.New("a wrapped key has the PIN, or none, that it was wrapped with")),
			"change it afterwards: sealsmith key pin "+spec.Name)
	case f.hasPassphraseFD:
		return usageError(errors.New("a wrapped key has no passphrase"))
	}
	return nil
}

// importKey has the device import a wrapped key, or the private key once it is
// wrapped for the device.
func (a *app) importKey(ctx context.Context, spec key.ImportSpec, private crypto.Signer, f keyImportFlags) (key.Info, error) {
	var o tpm.WrapOptions
	if private != nil {
		var wipe func()
		var err error
		if o, wipe, err = a.importOptions(spec, private, f); err != nil {
			return key.Info{}, err
		}
		defer wipe()
	}
	client, done, err := a.keys(ctx)
	if err != nil {
		return key.Info{}, err
	}
	defer done()
	// Nobody is asked for the PIN of a key that there will not be.
	if _, err := client.Resolve(ctx, key.Ref{Name: spec.Name}); err == nil {
		return key.Info{}, fmt.Errorf("key %q: %w", spec.Name, key.ErrExists)
	}
	if private != nil {
		_, storage, err := storageOf(ctx, client)
		if err != nil {
			return key.Info{}, err
		}
		parent, err := tpm.ParseStorage(storage.PEM())
		if err != nil {
			return key.Info{}, err
		}
		if spec.File, err = tpm.Wrap(ctx, parent, private, o); err != nil {
			return key.Info{}, err
		}
	}
	return client.Import(ctx, spec)
}

// importOptions say what a private key becomes. The PIN is read at once if it comes
// from a file descriptor, and else asked for when the key is wrapped.
func (a *app) importOptions(spec key.ImportSpec, private crypto.Signer, f keyImportFlags) (o tpm.WrapOptions, wipe func(), err error) {
	if f.usage == "" {
		return o, nil, hint.Wrap(usageError(errors.New("--usage is missing: it becomes part of the key")),
			"say what the key is for: --usage ssh, ssh-ca, ssh-host, artifact or digest")
	}
	o = tpm.WrapOptions{Usage: key.Usage(f.usage)}
	o.PIN, wipe, err = a.localPIN(f.pin, f.hasPINFD, f.pinFD, "Choose a PIN for the imported key "+spec.Name+".")
	if err == nil {
		if err = tpm.CheckWrap(private, o); err != nil {
			wipe()
		}
	}
	return o, wipe, err
}

// noteImport says what remains of a key that existed before.
func (a *app) noteImport(in key.Info, wasPrivate bool, path string) {
	if wasPrivate {
		a.warnOpen(path)
	}
	switch {
	case wasPrivate && path != "-":
		a.notice(fmt.Sprintf("%s existed outside the TPM: %s and every copy of it still work, without TPM or PIN. Delete them unless something else needs them. No attestation will say that the key was made in a TPM",
			in.Ref.Name, path))
	case wasPrivate:
		a.notice(fmt.Sprintf("%s existed outside the TPM: every copy of it still works, without TPM or PIN. No attestation will say that the key was made in a TPM", in.Ref.Name))
	case in.Imported:
		a.notice(fmt.Sprintf("%s was not made in this TPM: who made it may have kept a copy. No attestation will say that it was made in a TPM", in.Ref.Name))
	}
}
