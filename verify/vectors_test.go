package verify

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/sealsmith/sealsmith/internal/sigtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/provenance"
)

var update = flag.Bool("update", false, "sign the files in testdata again, with a new key")

// vectors are signatures by a key that is gone, over message: the same ones in
// each process, as fuzzing needs them.
type vectors struct {
	pem       []byte
	sshsig    []byte
	sigstore  []byte
	statement []byte
}

func (v *vectors) files() map[string]*[]byte {
	return map[string]*[]byte{
		"release.pem": &v.pem, "file.sig": &v.sshsig, "file.sigstore.json": &v.sigstore, "statement.sigstore.json": &v.statement,
	}
}

func loadVectors(t testing.TB) *vectors {
	t.Helper()
	v := &vectors{}
	if *update {
		s := signAll(t, key.P256)
		*v = vectors{sigtest.PEM(t, s.key.Info().Public), s.sshsig, s.sigstore, s.statement}
	}
	for name, data := range v.files() {
		path := filepath.Join("testdata", name)
		var err error
		if *update {
			err = os.WriteFile(path, *data, 0o644)
		} else {
			*data, err = os.ReadFile(path)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return v
}

func (v *vectors) verifier(t testing.TB) *Verifier {
	t.Helper()
	trust, err := ParseKeys(v.pem)
	if err != nil {
		t.Fatal(err)
	}
	return newVerifier(t, trust)
}

func TestVectors(t *testing.T) {
	vec := loadVectors(t)
	v := vec.verifier(t)
	if _, err := v.Release(Release{Sums: message, SSHSIG: vec.sshsig, Sigstore: vec.sigstore}); err != nil {
		t.Error(err)
	}
	if _, err := v.Statement(vec.statement, provenance.ImageSignatureType, hexDigest(message)); err != nil {
		t.Error(err)
	}
}

// TestBitFlips flips every bit of signatures, statements and files: nothing is
// accepted but what decodes to the same content.
func TestBitFlips(t *testing.T) {
	vec := loadVectors(t)
	v := vec.verifier(t)
	flips(vec.sigstore, func(b []byte) {
		if _, err := v.Blob(b, bytes.NewReader(message)); err == nil && !proto.Equal(decode(t, b), decode(t, vec.sigstore)) {
			t.Errorf("accepted %s", b)
		}
	})
	flips(vec.statement, func(b []byte) {
		_, err := v.Statement(b, provenance.ImageSignatureType, hexDigest(message))
		if err == nil && !proto.Equal(decode(t, b), decode(t, vec.statement)) {
			t.Errorf("accepted %s", b)
		}
	})
	flips(vec.sshsig, func(b []byte) {
		if _, err := v.SSH(b, bytes.NewReader(message)); err == nil {
			t.Errorf("accepted %s", b)
		}
	})
	flips(message, func(b []byte) {
		if _, err := v.SSH(vec.sshsig, bytes.NewReader(b)); err == nil {
			t.Errorf("the SSHSIG covers %q", b)
		}
		if _, err := v.Blob(vec.sigstore, bytes.NewReader(b)); err == nil {
			t.Errorf("the Sigstore bundle covers %q", b)
		}
		if _, err := v.Statement(vec.statement, provenance.ImageSignatureType, hexDigest(b)); err == nil {
			t.Errorf("the statement covers %q", b)
		}
	})
}

func decode(t testing.TB, b []byte) *protobundle.Bundle {
	t.Helper()
	var p protobundle.Bundle
	if err := protojson.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	return &p
}

// flips calls f with b, one bit changed, for every bit.
func flips(b []byte, f func([]byte)) {
	for i := range 8 * len(b) {
		c := bytes.Clone(b)
		c[i/8] ^= 1 << (i % 8)
		f(c)
	}
}

func FuzzBlob(f *testing.F) {
	vec := loadVectors(f)
	v := vec.verifier(f)
	f.Add(vec.sigstore, message)
	f.Add(vec.statement, message)
	f.Fuzz(func(t *testing.T, bundle, file []byte) {
		if _, err := v.Blob(bundle, bytes.NewReader(file)); err == nil && !bytes.Equal(file, message) {
			t.Fatalf("%q is accepted for %q", bundle, file)
		}
	})
}

func FuzzStatement(f *testing.F) {
	vec := loadVectors(f)
	v := vec.verifier(f)
	want, err := provenance.ParseStatement(decode(f, vec.statement).GetDsseEnvelope().GetPayload())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(vec.statement)
	f.Add(vec.sigstore)
	f.Fuzz(func(t *testing.T, bundle []byte) {
		result, err := v.Statement(bundle, provenance.ImageSignatureType, hexDigest(message))
		if err == nil && !cmp.Equal(result.Statement, want) {
			t.Fatalf("%q is accepted for %+v", bundle, result.Statement)
		}
	})
}

func FuzzSSH(f *testing.F) {
	vec := loadVectors(f)
	v := vec.verifier(f)
	f.Add(vec.sshsig, message)
	f.Fuzz(func(t *testing.T, armored, file []byte) {
		if _, err := v.SSH(armored, bytes.NewReader(file)); err == nil && !bytes.Equal(file, message) {
			t.Fatalf("%q is accepted for %q", armored, file)
		}
	})
}

// FuzzParseKeys checks that what is accepted means the same after it was written
// again.
func FuzzParseKeys(f *testing.F) {
	f.Add(loadVectors(f).pem)
	f.Add([]byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f x"))
	f.Fuzz(func(t *testing.T, file []byte) {
		trust, err := ParseKeys(file)
		if err != nil {
			return
		}
		again := allPEM(t, trust)
		other, err := ParseKeys(again)
		if err != nil || !bytes.Equal(allPEM(t, other), again) {
			t.Fatalf("%s came back as %s, %v", file, again, err)
		}
	})
}

func allPEM(t testing.TB, trust *Trust) (all []byte) {
	for _, k := range trust.keys {
		all = append(all, sigtest.PEM(t, k)...)
	}
	return all
}
