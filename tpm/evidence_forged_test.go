package tpm_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"math"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// forged is a TPM that does not exist: an attestation key and keys in software.
type forged struct{ ak *ecdsa.PrivateKey }

// softwareArea gives a public area the key of somebody who has it in software.
func softwareArea(area tpm2.TPMTPublic, k *ecdsa.PrivateKey) []byte {
	encoded, err := k.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: encoded[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: encoded[33:]},
	})
	return tpm2.Marshal(area)
}

// attest takes a real TPM's evidence and puts software keys in the place of all
// but the EK: everything else is consistent.
func (f forged) attest(t *testing.T, real *tpm.Evidence) *tpm.Evidence {
	t.Helper()
	return f.certify(t, real, softwareArea(keyTemplate(key.Artifact), softwareKey(t)))
}

// certify is the same about a public area.
func (f forged) certify(t *testing.T, real *tpm.Evidence, area []byte) *tpm.Evidence {
	t.Helper()
	e := *real
	e.AKPublic, e.KeyPublic = softwareArea(akTemplate(), f.ak), area
	statement, err := tpm2.Unmarshal[tpm2.TPMSAttest](e.Certify)
	if err != nil {
		t.Fatal(err)
	}
	statement.Attested = tpm2.NewTPMUAttest(tpm2.TPMSTAttestCertify, &tpm2.TPMSCertifyInfo{Name: areaName(t, e.KeyPublic), QualifiedName: areaName(t, e.KeyPublic)})
	e.Certify = tpm2.Marshal(statement)
	e.Signature = f.sign(t, e.Certify)
	return &e
}

func (f forged) sign(t *testing.T, statement []byte) []byte {
	t.Helper()
	digest := sha256.Sum256(statement)
	r, s, err := ecdsa.Sign(rand.Reader, f.ak, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return tpm2.Marshal(tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgECDSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA, &tpm2.TPMSSignatureECC{
		Hash:       tpm2.TPMAlgSHA256,
		SignatureR: tpm2.TPM2BECCParameter{Buffer: r.FillBytes(make([]byte, 32))},
		SignatureS: tpm2.TPM2BECCParameter{Buffer: s.FillBytes(make([]byte, 32))},
	})})
}

func areaName(t *testing.T, area []byte) tpm2.TPM2BName {
	t.Helper()
	public, err := tpm2.Unmarshal[tpm2.TPMTPublic](area)
	if err != nil {
		t.Fatal(err)
	}
	name, err := tpm2.ObjectName(public)
	if err != nil {
		t.Fatal(err)
	}
	return *name
}

// TestKeyAttributes changes what a key says of itself; a TPM that vouched for it
// would enforce it.
func TestKeyAttributes(t *testing.T) {
	real, forgery := goodEvidence(t), forged{softwareKey(t)}
	for name, c := range map[string]struct {
		change func(*tpm2.TPMTPublic)
		want   tpm.Reason
	}{
		"all right":       {func(*tpm2.TPMTPublic) {}, "ok"},
		"decrypts too":    {func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Decrypt = true }, "ok"},
		"made elsewhere":  {func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SensitiveDataOrigin = false }, tpm.Imported},
		"not fixedTPM":    {func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedTPM = false }, tpm.Duplicable},
		"not fixedParent": {func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedParent = false }, tpm.Duplicable},
		"does not sign":   {func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SignEncrypt = false }, tpm.KeyUnfit},
		"restricted":      {func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Restricted = true }, tpm.KeyUnfit},
		"other curve": {func(p *tpm2.TPMTPublic) {
			p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP224})
		}, tpm.KeyUnfit},
		"no point": {func(p *tpm2.TPMTPublic) { p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}) }, tpm.KeyUnfit},
		"symmetric": {func(p *tpm2.TPMTPublic) {
			p.Type = tpm2.TPMAlgKeyedHash
			p.Parameters = tpm2.NewTPMUPublicParms(p.Type, &tpm2.TPMSKeyedHashParms{Scheme: tpm2.TPMTKeyedHashScheme{Scheme: tpm2.TPMAlgNull}})
			p.Unique = tpm2.NewTPMUPublicID(p.Type, &tpm2.TPM2BDigest{Buffer: make([]byte, 32)})
		}, tpm.KeyUnfit},
		"RSA":             {func(p *tpm2.TPMTPublic) { *p = rsaArea(*p, 2048, 0) }, "ok"},
		"short RSA":       {func(p *tpm2.TPMTPublic) { *p = rsaArea(*p, 1024, 0) }, tpm.KeyUnfit},
		"small exponent":  {func(p *tpm2.TPMTPublic) { *p = rsaArea(*p, 2048, 3) }, tpm.KeyUnfit},
		"even exponent":   {func(p *tpm2.TPMTPublic) { *p = rsaArea(*p, 2048, 1<<20) }, tpm.KeyUnfit},
		"large exponent":  {func(p *tpm2.TPMTPublic) { *p = rsaArea(*p, 2048, math.MaxInt32) }, "ok"},
		"larger exponent": {func(p *tpm2.TPMTPublic) { *p = rsaArea(*p, 2048, math.MaxUint32) }, tpm.KeyUnfit},
		"SHA-1":           {func(p *tpm2.TPMTPublic) { p.NameAlg = tpm2.TPMAlgSHA1 }, tpm.Malformed},
	} {
		e := forgery.certify(t, real, changedArea(t, softwareArea(keyTemplate(key.Artifact), softwareKey(t)), c.change))
		v, err := tpm.VerifyAttestation(e, unboundOptions(nil))
		if outcome(t, err) != string(c.want) {
			t.Errorf("%s: %v", name, err)
		}
		decrypts := err == nil && strings.Contains(strings.Join(v.Checks, "\n"), "may also decrypt")
		if decrypts != (name == "decrypts too") {
			t.Errorf("%s: said that it may decrypt: %v", name, decrypts)
		}
	}
}

// TestAttestationKeyAttributes does the same for the attestation key.
func TestAttestationKeyAttributes(t *testing.T) {
	real, k := goodEvidence(t), softwareKey(t)
	scheme := func(scheme tpm2.TPMTECCScheme) func(*tpm2.TPMTPublic) {
		return func(p *tpm2.TPMTPublic) {
			p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256, Scheme: scheme})
		}
	}
	sha384 := tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA384})
	for name, c := range map[string]struct {
		change func(*tpm2.TPMTPublic)
		want   tpm.Reason
	}{
		"all right":       {func(*tpm2.TPMTPublic) {}, "ok"},
		"not restricted":  {func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Restricted = false }, tpm.AKNotRestricted},
		"decrypts too":    {func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Decrypt = true }, tpm.AKUnfit},
		"does not sign":   {func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SignEncrypt = false }, tpm.AKUnfit},
		"made elsewhere":  {func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SensitiveDataOrigin = false }, tpm.AKUnfit},
		"not fixedTPM":    {func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedTPM = false }, tpm.AKUnfit},
		"not fixedParent": {func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedParent = false }, tpm.AKUnfit},
		"Name by SHA-384": {func(p *tpm2.TPMTPublic) { p.NameAlg = tpm2.TPMAlgSHA384 }, tpm.AKUnfit},
		"RSA":             {func(p *tpm2.TPMTPublic) { *p = rsaArea(*p, 2048, 0) }, tpm.AKUnfit},
		"SHA-384":         {scheme(tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDSA, Details: sha384}), tpm.AKUnfit},
		"no scheme":       {scheme(tpm2.TPMTECCScheme{}), tpm.AKUnfit},
		"no point":        {func(p *tpm2.TPMTPublic) { p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}) }, tpm.AKUnfit},
	} {
		e := forged{k}.attest(t, real)
		e.AKPublic = changedArea(t, e.AKPublic, c.change)
		if _, err := tpm.VerifyAttestation(e, unboundOptions(nil)); outcome(t, err) != string(c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func goodEvidence(t *testing.T) *tpm.Evidence {
	t.Helper()
	e, err := tpm.ParseEvidence([]byte(readVectors(t)["ok-nonce"].Evidence))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func changedArea(t *testing.T, area []byte, change func(*tpm2.TPMTPublic)) []byte {
	t.Helper()
	public, err := tpm2.Unmarshal[tpm2.TPMTPublic](area)
	if err != nil {
		t.Fatal(err)
	}
	change(public)
	return tpm2.Marshal(*public)
}

// rsaArea makes an area one of an RSA key that nobody has.
func rsaArea(p tpm2.TPMTPublic, bits tpm2.TPMKeyBits, exponent uint32) tpm2.TPMTPublic {
	p.Type = tpm2.TPMAlgRSA
	p.Parameters = tpm2.NewTPMUPublicParms(p.Type, &tpm2.TPMSRSAParms{KeyBits: bits, Exponent: exponent})
	p.Unique = tpm2.NewTPMUPublicID(p.Type, &tpm2.TPM2BPublicKeyRSA{Buffer: bytes.Repeat([]byte{0xff}, int(bits)/8)})
	return p
}
