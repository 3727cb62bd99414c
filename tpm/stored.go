package tpm

import (
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/internal/xdg"
	"github.com/sealsmith/sealsmith/key"
)

// record is NAME.json: what the key file has no room for.
type record struct {
	ID         key.ID    `json:"id"`
	Created    time.Time `json:"created"`
	ParentName string    `json:"parent_name"` // hexadecimal
	Unattended bool      `json:"unattended"`
}

// storedKey is a key of the folder, or what is wrong with it.
type storedKey struct {
	info   key.Info
	object *object
	unfit  error // why it cannot sign, though it can be listed; nil: it can
	err    error // why it cannot be listed; then only info.Ref is set
	mark   fileState
}

// readKey reads the files of one key. Its error is a [*key.KeyError].
func readKey(dir, name string) storedKey {
	k := storedKey{info: key.Info{Ref: key.Ref{Backend: backendName, Name: name}}}
	k.mark = stateOf(filepath.Join(dir, name+keySuffix)) // before it is read
	base := dir + string(filepath.Separator) + name      // Join would lose an empty name
	if err := k.read(base); err != nil {
		advice := "restore it from a backup, or remove " + base + ".tpm, .pub and .json"
		if errors.Is(err, errNoName) {
			advice = "give " + base + ".tpm, .pub and .json another name, or remove them"
		}
		k.err = &key.KeyError{Ref: k.info.Ref, Err: hint.Wrap(fmt.Errorf("key file %.80q: %w", name+keySuffix, err), advice)}
	}
	return k
}

// errNoName is what is wrong with a key file that somebody else named. That is no
// wrong usage by whoever lists the folder.
var errNoName = errors.New("the name is no key name")

// read fills in k from the files whose paths begin with base.
func (k *storedKey) read(base string) error {
	if !key.ValidName(k.info.Ref.Name) {
		return errNoName
	}
	data, err := xdg.ReadOwnFile(base+keySuffix, limits.TPMKeyFile)
	if err != nil {
		return err
	}
	file, err := parseKeyFile(data)
	if err != nil {
		return err
	}
	if err := k.fill(file); err != nil {
		return err
	}
	k.info.Comment = comment(base+publicSuffix, k.info.Ref.Name)
	k.info.Certificate = certificate(base+certificateSuffix, k.info.Public)
	data, err = xdg.ReadOwnFile(base+recordSuffix, limits.TPMSideFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // made elsewhere
	}
	if err != nil {
		return err
	}
	return k.addRecord(data)
}

// fill takes what the key file says about itself.
func (k *storedKey) fill(file *keyFile) error {
	public, err := parsePublic(file.public)
	if err != nil {
		return err
	}
	in := &k.info
	if in.Public, err = publicKey(public); err != nil {
		return err
	}
	if in.Algorithm, err = key.AlgorithmOf(in.Public); err != nil {
		return err
	}
	if in.ID, err = key.NewID(in.Public); err != nil {
		return err
	}
	usage, labelled := key.UsageOfLabel(public.AuthPolicy.Buffer)
	if !labelled {
		usage = key.SSH
	}
	in.Usage = usage
	// A file that does not say whether the key has an auth value: ask for one.
	in.Policy.PIN = file.emptyAuth == nil || !*file.emptyAuth
	a := public.ObjectAttributes
	in.Policy.Uncounted = a.NoDA
	in.Imported = !a.FixedTPM || !a.FixedParent || !a.SensitiveDataOrigin
	name, err := tpm2.ObjectName(public)
	if err != nil {
		return err
	}
	k.object = &object{name: string(name.Buffer), public: file.public, private: file.private}
	if k.unfit = file.fit(public); k.unfit == nil {
		k.object.under, k.unfit = newParentRef(file)
	}
	return nil
}

// fit says why we cannot sign with a key that other software made.
func (f *keyFile) fit(public *tpm2.TPMTPublic) error {
	a := public.ObjectAttributes
	why := ""
	switch {
	case f.kind.Equal(oidSealed):
		why = "it holds sealed data, not a key"
	case f.kind.Equal(oidImportable):
		why = "it must be imported first"
	case !a.SignEncrypt || a.Restricted:
		why = "it is not made to sign"
	case !a.UserWithAuth:
		why = "its use needs a policy"
	default:
		return nil
	}
	return fmt.Errorf("key file: %s: %w", why, key.ErrUnsupported)
}

// addRecord takes what we wrote down when the key was made.
func (k *storedKey) addRecord(data []byte) error {
	var r record
	if err := decodeJSON(data, &r); err != nil {
		return fmt.Errorf("%s: %w", recordSuffix, err)
	}
	if r.ID != k.info.ID {
		return fmt.Errorf("%s is of another key: id %.80q", recordSuffix, r.ID)
	}
	parent, err := parseName(r.ParentName)
	if err != nil {
		return fmt.Errorf("%s: %w", recordSuffix, err)
	}
	k.object.parent, k.info.Parent = parent, r.ParentName
	k.info.Created, k.info.Policy.Unattended = r.Created, r.Unattended
	return nil
}

// comment reads the comment of an OpenSSH public key file. It decides nothing,
// so a bad one is replaced by the key's name.
func comment(path, name string) string {
	data, err := xdg.ReadOwnFile(path, limits.TPMSideFile)
	if err != nil {
		return name
	}
	fields := strings.SplitN(strings.TrimSuffix(string(data), "\n"), " ", 3)
	if len(fields) < 3 {
		return name
	}
	spec := key.Spec{Name: name, Usage: key.SSH, Algorithm: key.P256, Comment: fields[2]}
	if spec.Validate() != nil {
		return name
	}
	return fields[2]
}

// certificate reads the OpenSSH certificate of a key. It decides nothing here, so a
// file that is none, or for another key, is passed over.
func certificate(path string, pub crypto.PublicKey) string {
	data, err := xdg.ReadOwnFile(path, limits.TPMCertificateFile)
	if err != nil {
		return ""
	}
	blob, certified, err := sshwire.CertificateLine(data)
	if err != nil {
		return ""
	}
	if same, ok := pub.(interface{ Equal(crypto.PublicKey) bool }); !ok || !same.Equal(certified) {
		return ""
	}
	return string(blob)
}

// decodeJSON decodes exactly one object without unknown fields. A null, which
// encoding/json takes for anything, is none.
func decodeJSON(data []byte, into any) error {
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
		return errors.New("not a JSON object")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the JSON object")
	}
	return nil
}
