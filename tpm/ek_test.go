package tpm_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// TestEKPolicies derives what can be derived: policy A, PolicySecret of the
// endorsement hierarchy, and policy B, which is A or C. C, PolicyAuthorizeNV, is
// confirmed by B, which swtpm_setup's P-384 certificates confirm.
func TestEKPolicies(t *testing.T) {
	t.Parallel()
	for template, hash := range map[string]tpm2.TPMIAlgHash{"H-2": tpm2.TPMAlgSHA256, "H-3": tpm2.TPMAlgSHA384, "H-4": tpm2.TPMAlgSHA512} {
		wantA, c, wantB := tpm.EKPolicies(hash)
		derive := func(policy interface {
			Update(*tpm2.PolicyCalculator) error
		}) []byte {
			p, err := tpm2.NewPolicyCalculator(hash)
			if err == nil {
				err = policy.Update(p)
			}
			if err != nil {
				t.Fatal(err)
			}
			return p.Hash().Digest
		}
		if a := derive(tpm2.PolicySecret{AuthHandle: tpm2.TPMRHEndorsement}); !bytes.Equal(a, wantA) {
			t.Errorf("%s: policy A is %x", template, a)
		}
		branches := tpm2.TPMLDigest{Digests: []tpm2.TPM2BDigest{{Buffer: wantA}, {Buffer: c}}}
		if b := derive(tpm2.PolicyOr{PHashList: branches}); !bytes.Equal(b, wantB) || !bytes.Equal(b, tpm.EKTemplate(template).AuthPolicy.Buffer) {
			t.Errorf("%s: policy B is %x", template, b)
		}
	}
	if a, _, _ := tpm.EKPolicies(tpm2.TPMAlgSHA256); !bytes.Equal(a, tpm.EKTemplate("L-1").AuthPolicy.Buffer) {
		t.Errorf("policy A is %x", a)
	}
}

// TestEndorsementKeys are those that swtpm_setup made.
func TestEndorsementKeys(t *testing.T) {
	t.Parallel()
	chip := tpmtest.StartProvisioned(t)
	keys, err := chip.Open().EndorsementKeys(t.Context())
	if err != nil || len(keys) != 2 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for i, want := range []tpm.EK{
		{Template: "H-3", Algorithm: key.P384, Index: 0x01c00016},
		{Template: "L-1", Algorithm: key.RSA2048, Index: 0x01c00002},
	} {
		k := keys[i]
		if k.Template != want.Template || k.Algorithm != want.Algorithm || k.Index != want.Index || k.Problem != "" || k.Pinned || len(k.Intermediates) != 0 {
			t.Errorf("%+v, want %+v", k, want)
		}
		if _, err := x509.ParseCertificate(k.Certificate); err != nil {
			t.Error(err)
		}
	}
}

// testCA is a maker of certificates in a test.
type testCA struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newTestCA(t *testing.T) *testCA {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m := &testCA{t: t, key: k, cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}}
	if m.cert, err = x509.ParseCertificate(m.certify("test CA", &k.PublicKey)); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *testCA) certify(name string, pub crypto.PublicKey) []byte {
	m.t.Helper()
	c := *m.cert
	c.Subject.CommonName = name
	der, err := x509.CreateCertificate(rand.Reader, &c, m.cert, pub, m.key)
	if err != nil {
		m.t.Fatal(err)
	}
	return der
}

// endorse writes a certificate into NV memory for the endorsement key that the TPM
// makes from a template, and pads it.
func (m *testCA) endorse(chip *tpmtest.TPM, index tpm2.TPMHandle, template tpm2.TPMTPublic) []byte {
	m.t.Helper()
	rsp, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(template)}.Execute(chip)
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := (tpm2.FlushContext{FlushHandle: rsp.ObjectHandle}).Execute(chip); err != nil {
		m.t.Fatal(err)
	}
	public, err := rsp.OutPublic.Contents()
	if err != nil {
		m.t.Fatal(err)
	}
	pub, err := tpm2.Pub(*public)
	if err != nil {
		m.t.Fatal(err)
	}
	der := m.certify("", pub)
	writeNV(m.t, chip, index, append(bytes.Clone(der), bytes.Repeat([]byte{0xff}, 700)...))
	return der
}

// TestAttestWithEachEK: endorsement keys of both ranges, made by a nonce or not, and
// not kept by the TPM, so that they are made again.
func TestAttestWithEachEK(t *testing.T) {
	t.Parallel()
	m := newTestCA(t)
	nonce := []byte("a nonce of the maker")
	withNonce := tpm2.ECCEKTemplate
	withNonce.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: append(bytes.Clone(nonce), make([]byte, 32-len(nonce))...)},
		Y: tpm2.TPM2BECCParameter{Buffer: make([]byte, 32)},
	})
	for name, test := range map[string]struct {
		index    tpm2.TPMHandle
		template tpm2.TPMTPublic
		extra    map[tpm2.TPMHandle][]byte
	}{
		"L-2":               {0x01c0000a, tpm2.ECCEKTemplate, nil},
		"L-2 with a nonce":  {0x01c0000a, withNonce, map[tpm2.TPMHandle][]byte{0x01c0000b: nonce}},
		"L-2 by a template": {0x01c0000a, tpm2.ECCEKTemplate, map[tpm2.TPMHandle][]byte{0x01c0000c: tpm2.Marshal(tpm2.ECCEKTemplate)}},
		"L-1":               {0x01c00002, tpm2.RSAEKTemplate, nil},
		"H-1":               {0x01c00012, tpm.EKTemplate("H-1"), nil},
		"H-2":               {0x01c00014, tpm.EKTemplate("H-2"), nil},
		"H-3":               {0x01c00016, tpm.EKTemplate("H-3"), nil},
		"H-4":               {0x01c00018, tpm.EKTemplate("H-4"), nil},
		"H-6":               {0x01c0001c, tpm.EKTemplate("H-6"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			chip := tpmtest.Start(t)
			der := m.endorse(chip, test.index, test.template)
			for index, data := range test.extra {
				writeNV(t, chip, index, data)
			}
			d := chip.Open()
			keys, err := d.EndorsementKeys(t.Context())
			if err != nil || len(keys) != 1 || keys[0].Problem != "" || !bytes.Equal(keys[0].Certificate, der) {
				t.Fatalf("%+v, %v", keys, err)
			}
			e := mustAttest(t, create(t, backendOver(t, d, filepath.Join(t.TempDir(), "keys"), nil), "k", key.P256, nil))
			challenge, pending, err := tpm.NewChallenge(e, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			answer, err := d.Answer(t.Context(), challenge)
			if err != nil {
				t.Fatal(err)
			}
			_, err = tpm.VerifyAttestation(e, tpm.VerifyOptions{
				At: time.Now(),
				VerifyEK: func(leaf *x509.Certificate, _ []*x509.Certificate, _ time.Time) error {
					return leaf.CheckSignatureFrom(m.cert)
				},
				Binding: tpm.Binding{Pending: pending, Answer: answer},
			})
			if err != nil {
				t.Error(err)
			}
			if err := d.Pin(t.Context(), keys[0].SHA256); err != nil {
				t.Errorf("pin: %v", err)
			}
		})
	}
}

// TestBestEK: P-256 is preferred, and what cannot be used is passed over.
func TestBestEK(t *testing.T) {
	t.Parallel()
	m := newTestCA(t)
	chip := tpmtest.StartProvisioned(t)
	writeNV(t, chip, 0x01c0000a, bytes.Repeat([]byte{0xff}, 100)) // erased
	der := m.endorse(chip, 0x01c00014, tpm.EKTemplate("H-2"))
	e := mustAttest(t, create(t, newBackend(t, chip, nil), "k", key.P256, nil))
	if !bytes.Equal(e.EKCertificate, der) {
		t.Error("another EK certificate")
	}
}

// TestBadEKCertificates are listed with what is wrong, and never used.
func TestBadEKCertificates(t *testing.T) {
	t.Parallel()
	m := newTestCA(t)
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := m.certify("", &m.key.PublicKey)
	chip := tpmtest.Start(t)
	for index, data := range map[tpm2.TPMHandle][]byte{
		0x01c0000a: good[:len(good)-1],
		0x01c00014: m.certify("", &other.PublicKey), // P-384 where P-256 belongs
		0x01c00016: append([]byte{0x30, 0x82, 0, 4}, "none"...),
		0x01c00002: good, // ECC where RSA belongs
	} {
		writeNV(t, chip, index, data)
	}
	d := chip.Open()
	keys, err := d.EndorsementKeys(t.Context())
	if err != nil || len(keys) != 4 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for _, k := range keys {
		if k.Problem == "" || k.Public != nil {
			t.Errorf("%s: problem %q", k.Template, k.Problem)
		}
		if k.SHA256 == "" {
			continue
		}
		if err := d.Pin(t.Context(), k.SHA256); !errors.Is(err, key.ErrUnsupported) {
			t.Errorf("pinned by %s: %v", k.Template, err)
		}
	}
	if _, err := attest(t, create(t, backendOver(t, d, filepath.Join(t.TempDir(), "keys"), nil), "k", key.P256, nil), nil); !errors.Is(err, key.ErrUnsupported) {
		t.Errorf("attested: %v", err)
	}
}

// TestCertificateOfAnotherTPM: the TPM does not have the key of the certificate in
// its own NV memory.
func TestCertificateOfAnotherTPM(t *testing.T) {
	t.Parallel()
	m := newTestCA(t)
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	chip := tpmtest.Start(t)
	writeNV(t, chip, 0x01c0000a, m.certify("", &stranger.PublicKey))
	d := chip.Open()
	keys, err := d.EndorsementKeys(t.Context())
	if err != nil || len(keys) != 1 {
		t.Fatalf("%+v, %v", keys, err)
	}
	if err := d.Pin(t.Context(), keys[0].SHA256); !errors.Is(err, key.ErrForeign) || !strings.Contains(err.Error(), "not that of the certificate") {
		t.Errorf("pin: %v", err)
	}
}

// TestChain reads the certificates of issuers, however the maker laid them out.
func TestChain(t *testing.T) {
	t.Parallel()
	m := newTestCA(t)
	one, two := m.certify("one", &m.key.PublicKey), m.certify("two", &m.key.PublicKey)
	pad := func(b []byte, with byte, n int) []byte {
		return append(bytes.Clone(b), bytes.Repeat([]byte{with}, n)...)
	}
	both := append(bytes.Clone(one), two...)
	for name, test := range map[string]struct {
		indexes [][]byte
		want    int
	}{
		"none":                   {nil, 0},
		"each in its own":        {[][]byte{one, two}, 2},
		"padded":                 {[][]byte{pad(one, 0xff, 50), pad(two, 0, 50)}, 2},
		"together":               {[][]byte{both}, 2},
		"across two indexes":     {[][]byte{both[:100], both[100:]}, 2},
		"something else":         {[][]byte{one, []byte("hello")}, 0},
		"cut":                    {[][]byte{one, two[:len(two)-1]}, 0},
		"too many":               {[][]byte{bytes.Repeat(one, 3), bytes.Repeat(one, 3), bytes.Repeat(one, 3)}, 0},
		"more than all may have": {[][]byte{pad(one, 0, 1600), pad(nil, 0, 2000), pad(nil, 0, 2000), pad(nil, 0, 2000), pad(nil, 0, 2000), pad(nil, 0, 2000), pad(nil, 0, 2000), pad(nil, 0, 2000), pad(nil, 0, 2000)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			chip := tpmtest.StartProvisioned(t)
			for i, data := range test.indexes {
				writeNV(t, chip, 0x01c00100+tpm2.TPMHandle(i), data)
			}
			keys, err := chip.Open().EndorsementKeys(t.Context())
			if err != nil || len(keys) == 0 {
				t.Fatal(err)
			}
			if got := len(keys[0].Intermediates); got != test.want {
				t.Errorf("%d certificates, want %d", got, test.want)
			}
			for i, want := range [][]byte{one, two}[:test.want] {
				if !bytes.Equal(keys[0].Intermediates[i], want) {
					t.Errorf("certificate %d is another", i)
				}
			}
		})
	}
}

// TestLargeNV: an index that claims more than a certificate can have is not read.
func TestLargeNV(t *testing.T) {
	t.Parallel()
	device := fakeTPM(t, func(command []byte) []byte {
		switch tpm2.TPMCC(binary.BigEndian.Uint32(command[6:10])) {
		case tpm2.TPMCCGetCapability:
			if bytes.Contains(command, []byte{0x01, 0xc0}) {
				return frame(0, 0, 0, 0, 1, 0, 0, 0, 1, 0x01, 0xc0, 0, 2)
			}
			return frame(0, 0, 0, 0, 1, 0, 0, 0, 0)
		case tpm2.TPMCCNVReadPublic:
			public := tpm2.Marshal(tpm2.New2B(tpm2.TPMSNVPublic{
				NVIndex: 0x01c00002, NameAlg: tpm2.TPMAlgSHA256, DataSize: 0xffff, Attributes: tpm2.TPMANV{AuthRead: true},
			}))
			return frame(append(public, 0, 0)...)
		}
		return nil
	})
	o := tpmtest.Folders(t)
	o.Device = device
	d, err := tpm.NewDevice(o)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	keys, err := d.EndorsementKeys(t.Context())
	if err != nil || len(keys) != 1 || !strings.Contains(keys[0].Problem, "65535 bytes") {
		t.Errorf("%+v, %v", keys, err)
	}
}
