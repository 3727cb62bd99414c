package tpm_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// evidenceTime is when the evidence of the tests is verified.
var evidenceTime = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// ekCA certifies endorsement keys.
type ekCA struct {
	t            *testing.T
	root         *x509.Certificate
	intermediate *x509.Certificate
	key          *ecdsa.PrivateKey // the intermediate's
}

func newEKCA(t *testing.T) *ekCA {
	t.Helper()
	ca := &ekCA{t: t, key: softwareKey(t)}
	rootKey := softwareKey(t)
	authority := func(serial int64, name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
			NotBefore: evidenceTime.AddDate(-1, 0, 0), NotAfter: evidenceTime.AddDate(20, 0, 0),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
	}
	root := authority(1, "Sealsmith test root")
	ca.root = ca.issue(root, root, &rootKey.PublicKey, rootKey)
	ca.intermediate = ca.issue(authority(2, "Sealsmith test EK CA"), ca.root, &ca.key.PublicKey, rootKey)
	return ca
}

func (ca *ekCA) issue(template, parent *x509.Certificate, pub, signer any) *x509.Certificate {
	ca.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, signer)
	if err != nil {
		ca.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatal(err)
	}
	return c
}

// certify makes an EK certificate. It is valid for a year after evidenceTime.
func (ca *ekCA) certify(serial int64, pub any) []byte {
	ca.t.Helper()
	return ca.issue(&x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "Sealsmith test EK"},
		NotBefore: evidenceTime.AddDate(-1, 0, 0), NotAfter: evidenceTime.AddDate(1, 0, 0),
		KeyUsage:           x509.KeyUsageKeyAgreement,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}},
	}, ca.intermediate, pub, ca.key).Raw
}

// roots is what the verifier trusts, as PEM.
func (ca *ekCA) roots() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.root.Raw})
}

func softwareKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// prover is a software TPM with an EK certificate, driven without our driver, so
// that it can make evidence that our driver would not make.
type prover struct {
	t             *testing.T
	tpm           transport.TPM
	ek, ak        loaded
	ekCertificate []byte
	intermediate  []byte
}

// loaded is a key in a slot of the TPM.
type loaded struct {
	handle tpm2.TPMHandle
	area   []byte
	name   tpm2.TPM2BName
}

func (l loaded) auth() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: l.handle, Name: l.name, Auth: tpm2.PasswordAuth(nil)}
}

// newProver starts a TPM whose EK the CA certifies.
func newProver(t *testing.T, ca *ekCA, serial int64) *prover {
	t.Helper()
	p := &prover{t: t, tpm: patient{tpmtest.Start(t)}, intermediate: ca.intermediate.Raw}
	p.ek = p.primary(tpm2.TPMRHEndorsement, tpm2.ECCEKTemplate)
	public, err := tpm2.Unmarshal[tpm2.TPMTPublic](p.ek.area)
	if err != nil {
		t.Fatal(err)
	}
	point, err := public.Unique.ECC()
	if err != nil {
		t.Fatal(err)
	}
	encoded := append(append([]byte{4}, leftPad(point.X.Buffer)...), leftPad(point.Y.Buffer)...)
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), encoded)
	if err != nil {
		t.Fatal(err)
	}
	p.ekCertificate = ca.certify(serial, pub)
	p.flush(p.ek) // there are three slots; it is made anew for each answer
	p.ak = p.primary(tpm2.TPMRHOwner, akTemplate())
	return p
}

func leftPad(b []byte) []byte { return append(make([]byte, 32-len(b)), b...) }

// primary makes a key that is in a slot until the end of the test.
func (p *prover) primary(hierarchy tpm2.TPMHandle, area tpm2.TPMTPublic) loaded {
	p.t.Helper()
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: hierarchy, Auth: tpm2.PasswordAuth(nil)}, InPublic: tpm2.New2B(area),
	}.Execute(p.tpm)
	if err != nil {
		p.t.Fatal(err)
	}
	l := loaded{rsp.ObjectHandle, rsp.OutPublic.Bytes(), rsp.Name}
	p.t.Cleanup(func() { p.flush(l) })
	return l
}

// flush gives the slot of a key back; a second time does nothing.
func (p *prover) flush(l loaded) { tpm2.FlushContext{FlushHandle: l.handle}.Execute(p.tpm) }

// attest makes evidence about a new primary key, and gives its slot back.
func (p *prover) attest(area tpm2.TPMTPublic, nonce []byte) *tpm.Evidence {
	p.t.Helper()
	k := p.primary(tpm2.TPMRHOwner, area)
	defer p.flush(k)
	return p.certify(k, p.ak, nonce)
}

// certify makes evidence about a loaded key by an attestation key.
func (p *prover) certify(k, ak loaded, nonce []byte) *tpm.Evidence {
	p.t.Helper()
	rsp, err := tpm2.Certify{
		ObjectHandle: k.auth(), SignHandle: ak.auth(),
		QualifyingData: tpm2.TPM2BData{Buffer: nonce}, InScheme: signScheme(ak),
	}.Execute(p.tpm)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.evidence(k, ak, nonce, rsp.CertifyInfo.Bytes(), tpm2.Marshal(rsp.Signature))
}

// signScheme is that of the key or, if it has none, ECDSA with SHA-256.
func signScheme(k loaded) tpm2.TPMTSigScheme {
	if public, err := tpm2.Unmarshal[tpm2.TPMTPublic](k.area); err == nil && public.ObjectAttributes.Restricted {
		return tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull}
	}
	return tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUSigScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSchemeHash{HashAlg: tpm2.TPMAlgSHA256})}
}

func (p *prover) evidence(k, ak loaded, nonce, certify, signature []byte) *tpm.Evidence {
	return &tpm.Evidence{
		Nonce: nonce, EKCertificate: p.ekCertificate, EKIntermediates: [][]byte{p.intermediate}, EKPublic: p.ek.area,
		AKPublic: ak.area, KeyPublic: k.area, Certify: certify, Signature: signature,
	}
}

// answer has the TPM read a challenge.
func (p *prover) answer(c *tpm.Challenge) *tpm.Answer {
	p.t.Helper()
	secret, err := p.activate(p.ak.auth(), c)
	if err != nil {
		p.t.Fatal(err)
	}
	return &tpm.Answer{AKName: c.AKName, Secret: secret}
}

// activate runs TPM2_ActivateCredential for an attestation key.
func (p *prover) activate(ak tpm2.AuthHandle, c *tpm.Challenge) ([]byte, error) {
	p.t.Helper()
	ek := p.primary(tpm2.TPMRHEndorsement, tpm2.ECCEKTemplate)
	defer p.flush(ek)
	s, done, err := tpm2.PolicySession(p.tpm, tpm2.TPMAlgSHA256, 16)
	if err != nil {
		p.t.Fatal(err)
	}
	defer done()
	if _, err := (tpm2.PolicySecret{
		AuthHandle:    tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		PolicySession: s.Handle(), NonceTPM: s.NonceTPM(),
	}).Execute(p.tpm); err != nil {
		p.t.Fatal(err)
	}
	rsp, err := tpm2.ActivateCredential{
		ActivateHandle: ak, KeyHandle: tpm2.AuthHandle{Handle: ek.handle, Name: ek.name, Auth: s},
		CredentialBlob: tpm2.TPM2BIDObject{Buffer: c.Credential}, Secret: tpm2.TPM2BEncryptedSecret{Buffer: c.Secret},
	}.Execute(p.tpm)
	if err != nil {
		return nil, err
	}
	return rsp.CertInfo.Buffer, nil
}

// imported makes evidence about a key that was made in software.
func (p *prover) imported(k *ecdsa.PrivateKey) *tpm.Evidence {
	p.t.Helper()
	parent := p.primary(tpm2.TPMRHOwner, tpm.StorageTemplate())
	defer p.flush(parent)
	target, err := tpm2.Unmarshal[tpm2.TPMTPublic](parent.area)
	if err != nil {
		p.t.Fatal(err)
	}
	wrap, err := tpm2.ImportEncapsulationKey(target)
	if err != nil {
		p.t.Fatal(err)
	}
	label := key.Artifact.Label()
	area := softwareArea(eccArea(tpm2.TPMAObject{UserWithAuth: true, NoDA: true, SignEncrypt: true}, tpm2.TPMTECCScheme{}, label[:]), k)
	scalar, err := k.Bytes()
	if err != nil {
		p.t.Fatal(err)
	}
	sensitive := tpm2.Marshal(tpm2.TPMTSensitive{SensitiveType: tpm2.TPMAlgECC, Sensitive: tpm2.NewTPMUSensitiveComposite(tpm2.TPMAlgECC, &tpm2.TPM2BECCParameter{Buffer: scalar})})
	duplicate, seed, err := tpm2.CreateDuplicate(rand.Reader, wrap, areaName(p.t, area).Buffer, sensitive)
	if err != nil {
		p.t.Fatal(err)
	}
	private, err := tpm2.Import{
		ParentHandle: parent.auth(), ObjectPublic: tpm2.BytesAs2B[tpm2.TPMTPublic](area),
		Duplicate: tpm2.TPM2BPrivate{Buffer: duplicate}, InSymSeed: tpm2.TPM2BEncryptedSecret{Buffer: seed},
		Symmetric: tpm2.TPMTSymDef{Algorithm: tpm2.TPMAlgNull},
	}.Execute(p.tpm)
	if err != nil {
		p.t.Fatal(err)
	}
	rsp, err := tpm2.Load{ParentHandle: parent.auth(), InPrivate: private.OutPrivate, InPublic: tpm2.BytesAs2B[tpm2.TPMTPublic](area)}.Execute(p.tpm)
	if err != nil {
		p.t.Fatal(err)
	}
	l := loaded{rsp.ObjectHandle, area, rsp.Name}
	defer p.flush(l)
	return p.certify(l, p.ak, nil)
}

// quoted is the attestation key's statement about no key: about the PCRs.
func (p *prover) quoted(e *tpm.Evidence) *tpm.Evidence {
	p.t.Helper()
	rsp, err := tpm2.Quote{SignHandle: p.ak.auth(), InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull}}.Execute(p.tpm)
	if err != nil {
		p.t.Fatal(err)
	}
	quoted := *e
	quoted.Certify, quoted.Signature = rsp.Quoted.Bytes(), tpm2.Marshal(rsp.Signature)
	return &quoted
}

// enrolment is the honest word about the TPM's own attestation key.
func (p *prover) enrolment() tpm.Enrolment {
	sum := sha256.Sum256(p.ekCertificate)
	return tpm.Enrolment{EKCertificateSHA256: hex.EncodeToString(sum[:]), AKName: hex.EncodeToString(p.ak.name.Buffer), Time: evidenceTime}
}

// eccArea is a public area for a P-256 key.
func eccArea(attributes tpm2.TPMAObject, scheme tpm2.TPMTECCScheme, policy []byte) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: attributes,
		AuthPolicy: tpm2.TPM2BDigest{Buffer: policy},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256, Scheme: scheme}),
		Unique:     tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}),
	}
}

var ecdsaSHA256 = tpm2.TPMTECCScheme{
	Scheme:  tpm2.TPMAlgECDSA,
	Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
}

// own are the attributes of a key that its TPM made and keeps.
var own = tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true, SignEncrypt: true}

func akTemplate() tpm2.TPMTPublic {
	attributes := own
	attributes.Restricted = true
	return eccArea(attributes, ecdsaSHA256, nil)
}

func keyTemplate(u key.Usage) tpm2.TPMTPublic {
	label := u.Label()
	return eccArea(own, tpm2.TPMTECCScheme{}, label[:])
}
