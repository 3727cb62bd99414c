package cli

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/sigtest"
	"github.com/sealsmith/sealsmith/sign"
)

// files are those of a release, by name.
type files map[string][]byte

// testCA has releases of a root and an intermediate.
type testCA struct {
	catalogs map[bundle.Kind]*bundle.Catalog
	store    *bundle.Store
}

func newTestCA(t testing.TB) *testCA {
	t.Helper()
	store, err := bundle.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &testCA{map[bundle.Kind]*bundle.Catalog{}, store}
	root := &x509.Certificate{Subject: pkix.Name{CommonName: "CA of roots"}}
	for i, kind := range bundle.Kinds() {
		name := fmt.Sprintf("CA of %s", kind)
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: name}, SubjectKeyId: []byte{byte(i)},
			NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}, root, private.Public(), private)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Add(der); err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256(der)
		ca.catalogs[kind] = &bundle.Catalog{Entries: []bundle.Entry{{
			Vendor: "IBM", Name: name, URL: "https://ca.example/" + string(kind),
			Fingerprints: []bundle.Fingerprint{{Hash: crypto.SHA256, Digest: digest[:]}},
		}}}
	}
	return ca
}

// release builds a release, signed by a key in a namespace.
func (ca *testCA) release(t testing.TB, k *sigtest.Key, namespace, date string) files {
	t.Helper()
	out, err := bundle.Release(t.Context(), bundle.Options{Date: date, Catalogs: ca.catalogs, Fetcher: &bundle.Fetcher{Store: ca.store, Offline: true}})
	if err != nil {
		t.Fatal(err)
	}
	all := files{}
	for _, f := range out.Files {
		all[f.Name] = f.Data
	}
	var errs [2]error
	sums := all[bundle.SumsName]
	all[bundle.SumsName+sshsigEnding], errs[0] = sign.SSH(t.Context(), k, namespace, bytes.NewReader(sums))
	all[bundle.SumsName+sigstoreEnding], errs[1] = sign.Blob(t.Context(), k, bytes.NewReader(sums))
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return all
}

// write writes the files into a folder that has no others.
func (f files) write(t testing.TB, dir string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	for name, data := range f {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// verifying runs `bundle verify` as people do.
type verifying struct {
	dir  string
	args []string
}

func newVerifying(t testing.TB, publicKey []byte) *verifying {
	t.Helper()
	dir := t.TempDir()
	public := filepath.Join(dir, "key.pub")
	if err := os.WriteFile(public, publicKey, 0o600); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "release")
	return &verifying{folder, []string{
		"bundle", "verify", folder, "--key", public, "--state", filepath.Join(dir, "seen.json"), "--time", "2026-05-01T00:00:00Z",
	}}
}

// verify returns the exit status and what was printed.
func (v *verifying) verify(t testing.TB, f files, args ...string) (status int, out, errs string) {
	t.Helper()
	f.write(t, v.dir)
	var stdout, stderr bytes.Buffer
	status = Main(t.Context(), append(slices.Clone(v.args), args...), Streams{In: bytes.NewReader(nil), Out: &stdout, Err: &stderr})
	return status, stdout.String(), stderr.String()
}
