package cli

import (
	"context"
	"crypto"
	"errors"
	"fmt"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/prompt"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/key"
)

// privateKey parses a private key. Its passphrase, if it has one, is read from the
// file descriptor that was given, or asked for at the terminal.
func (a *app) privateKey(ctx context.Context, data []byte, path string, f keyImportFlags) (crypto.Signer, error) {
	k, err := sshwire.PrivateKey(data, nil)
	if !errors.Is(err, sshwire.ErrPassphrase) {
		return k, err
	}
	if f.hasPassphraseFD {
		passphrase, err := a.readLine(f.passphraseFD, "passphrase", limits.Passphrase)
		if err != nil {
			return nil, err
		}
		defer passphrase.Wipe()
		err = passphrase.Use(func(text []byte) (err error) {
			k, err = sshwire.PrivateKey(data, text)
			return err
		})
		return k, denied(err)
	}
	terminal := a.terminal()
	if terminal == nil {
		return nil, hint.Wrap(fmt.Errorf("%w: %w", key.ErrDenied, err), "give it with --passphrase-fd N")
	}
	return askPassphrase(ctx, terminal, data, path)
}

// askPassphrase asks until a passphrase is right, as often as for a PIN.
func askPassphrase(ctx context.Context, terminal prompt.Prompter, data []byte, path string) (k crypto.Signer, err error) {
	question := prompt.Prompt{Title: "Enter the passphrase of the private key file.", Secret: "Passphrase"}
	question.Facts = []prompt.Line{{Label: "File", Value: path, Quoted: true}}
	for range limits.PINPrompts {
		passphrase, err := terminal.PIN(ctx, question)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", key.ErrDenied, err)
		}
		err = passphrase.Use(func(text []byte) (err error) {
			k, err = sshwire.PrivateKey(data, text)
			return err
		})
		passphrase.Wipe()
		if !errors.Is(err, sshwire.ErrWrongPassphrase) {
			return k, err
		}
		question.Error = "The passphrase was wrong."
	}
	return nil, denied(sshwire.ErrWrongPassphrase)
}

// denied gives a wrong passphrase the class of a wrong PIN.
func denied(err error) error {
	if errors.Is(err, sshwire.ErrWrongPassphrase) {
		return fmt.Errorf("%w: %w", key.ErrDenied, err)
	}
	return err
}
