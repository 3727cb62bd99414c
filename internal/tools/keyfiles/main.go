// Keyfiles is go-tpm-keyfiles, the library behind ssh-tpm-agent, as a program: a
// second opinion on TPM key files for the tests.
//
//	keyfiles show FILE                                print the fields as JSON
//	keyfiles encode FILE                              print the file as the library writes it
//	keyfiles create -tpm SOCKET [-kind ecdsa|rsa] [-bits N] [-parent HANDLE]
//	                [-description TEXT] [-pin FILE]   make a key, print its file
//	keyfiles wrap -target FILE [-description TEXT] [-pin FILE] FILE
//	                                                  wrap a PKCS #8 key for a storage key (TPMT_PUBLIC)
//	keyfiles import -tpm SOCKET FILE                  import a wrapped key, print its file
//	keyfiles sign -tpm SOCKET [-pin FILE] FILE        sign the SHA-256 digest on standard input
//
// # Trust
//
// For tests only: it believes the TPM, and what the library believes.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	keyfile "github.com/foxboron/go-tpm-keyfiles"
	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "keyfiles:", err)
		os.Exit(1)
	}
}

// options are the flags of every command; each uses those that it needs.
type options struct {
	tpm, kind, description, pin, target string
	bits                                int
	parent                              uint
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("no command: show, encode, create or sign")
	}
	var o options
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.StringVar(&o.tpm, "tpm", "", "`socket` of the TPM")
	flags.StringVar(&o.kind, "kind", "ecdsa", "`kind` of key: ecdsa or rsa")
	flags.IntVar(&o.bits, "bits", 256, "size of the key")
	flags.UintVar(&o.parent, "parent", uint(tpm2.TPMRHOwner), "`handle` of the parent")
	flags.StringVar(&o.description, "description", "", "comment in the file")
	flags.StringVar(&o.pin, "pin", "", "`file` that holds the PIN")
	flags.StringVar(&o.target, "target", "", "`file` that holds the storage key to wrap for")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if args[0] == "create" {
		return create(o, out)
	}
	data, err := os.ReadFile(flags.Arg(0))
	if err != nil {
		return err
	}
	if args[0] == "wrap" {
		return wrap(o, data, out)
	}
	k, err := keyfile.Decode(data)
	if err != nil {
		return err
	}
	switch args[0] {
	case "show":
		return show(k, out)
	case "encode":
		return keyfile.Encode(out, k)
	case "import":
		return importKey(o, k, out)
	case "sign":
		return sign(o, k, in, out)
	}
	return fmt.Errorf("no command %q", args[0])
}

// show prints what the library found in a file.
func show(k *keyfile.TPMKey, out io.Writer) error {
	return json.NewEncoder(out).Encode(map[string]any{
		"type": k.Keytype.String(), "empty_auth": k.EmptyAuth, "description": k.Description, "parent": uint32(k.Parent),
		"public": hex.EncodeToString(k.Pubkey.Bytes()), "private": hex.EncodeToString(k.Privkey.Buffer),
		"secret": hex.EncodeToString(k.Secret.Buffer),
	})
}

// open connects to the TPM and reads the PIN, if there is one.
func (o options) open() (t transport.TPMCloser, pin []byte, err error) {
	if o.pin != "" {
		if pin, err = os.ReadFile(o.pin); err != nil {
			return nil, nil, err
		}
	}
	t, err = linuxudstpm.Open(o.tpm)
	return t, pin, err
}

func create(o options, out io.Writer) error {
	t, pin, err := o.open()
	if err != nil {
		return err
	}
	defer t.Close()
	kind := tpm2.TPMAlgECC
	if o.kind == "rsa" {
		kind = tpm2.TPMAlgRSA
	}
	k, err := keyfile.NewLoadableKey(t, kind, o.bits, nil,
		keyfile.WithParent(tpm2.TPMHandle(o.parent)), keyfile.WithUserAuth(pin), keyfile.WithDescription(o.description))
	if err != nil {
		return err
	}
	return keyfile.Encode(out, k)
}

func wrap(o options, private []byte, out io.Writer) error {
	block, _ := pem.Decode(private)
	if block == nil {
		return errors.New("no PEM block")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return err
	}
	var pk any
	switch k := parsed.(type) {
	case *ecdsa.PrivateKey:
		pk = *k
	case *rsa.PrivateKey:
		pk = *k
	default:
		return fmt.Errorf("key of type %T", parsed)
	}
	area, err := os.ReadFile(o.target)
	if err != nil {
		return err
	}
	target, err := tpm2.Unmarshal[tpm2.TPMTPublic](area)
	if err != nil {
		return err
	}
	var pin []byte
	if o.pin != "" {
		if pin, err = os.ReadFile(o.pin); err != nil {
			return err
		}
	}
	k, err := keyfile.NewImportablekey(target, pk, keyfile.WithUserAuth(pin), keyfile.WithDescription(o.description))
	if err != nil {
		return err
	}
	return keyfile.Encode(out, k)
}

func importKey(o options, k *keyfile.TPMKey, out io.Writer) error {
	t, _, err := o.open()
	if err != nil {
		return err
	}
	defer t.Close()
	loadable, err := keyfile.ImportTPMKey(t, k, nil)
	if err != nil {
		return err
	}
	return keyfile.Encode(out, loadable)
}

func sign(o options, k *keyfile.TPMKey, in io.Reader, out io.Writer) error {
	t, pin, err := o.open()
	if err != nil {
		return err
	}
	defer t.Close()
	digest, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	s, err := k.Signer(t, nil, pin)
	if err != nil {
		return err
	}
	signature, err := s.Sign(nil, digest, crypto.SHA256)
	if err != nil {
		return err
	}
	_, err = out.Write(signature)
	return err
}
