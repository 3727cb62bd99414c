package bundle

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// ekTime is the time at which test chains are verified.
var ekTime = time.Date(2026, 4, 11, 0, 0, 0, 0, time.UTC)

// authority is a CA of a test.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// throwawayEK is no secret: it makes EK certificates that are the same in each process.
var throwawayEK = func() crypto.Signer {
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), append(make([]byte, 31), 1))
	if err != nil {
		panic(err)
	}
	return k
}()

// newRoot makes a CA that signs itself.
func newRoot(t testing.TB, name string, changes ...func(*x509.Certificate)) *authority {
	t.Helper()
	key := newKey(t)
	return &authority{certify(t, nil, key, caTemplate(name), changes), key}
}

// newCA has a CA certify another.
func (a *authority) newCA(t testing.TB, name string, changes ...func(*x509.Certificate)) *authority {
	t.Helper()
	key := newKey(t)
	return &authority{certify(t, a, key, caTemplate(name), changes), key}
}

// newEK has a CA certify an EK that nothing is wrong with.
func (a *authority) newEK(t testing.TB, changes ...func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	return certify(t, a, newKey(t), ekTemplate(t), changes)
}

func ekTemplate(t testing.TB) *x509.Certificate {
	t.Helper()
	return &x509.Certificate{
		NotBefore: ekTime.AddDate(-1, 0, 0), NotAfter: ekTime.AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageKeyAgreement,
		BasicConstraintsValid: true,
		UnknownExtKeyUsage:    []asn1.ObjectIdentifier{oidEKCertificate},
		ExtraExtensions:       []pkix.Extension{san(t, "id:49465800", "SLB 9670", "id:0D0B")},
	}
}

func caTemplate(name string) *x509.Certificate {
	c := template(1, name)
	c.NotBefore, c.NotAfter = ekTime.AddDate(-2, 0, 0), ekTime.AddDate(2, 0, 0)
	return c
}

func certify(t testing.TB, by *authority, key crypto.Signer, c *x509.Certificate, changes []func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = serial
	for _, change := range changes {
		change(c)
	}
	if by == nil {
		by = &authority{c, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	return parsed(t, der)
}

func parsed(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// called is the CA under another spelling of its name.
func (a *authority) called(t testing.TB, rdns pkix.RDNSequence) *authority {
	t.Helper()
	der, err := asn1.Marshal(rdns)
	if err != nil {
		t.Fatal(err)
	}
	c := *a.cert
	c.RawSubject = der
	return &authority{&c, a.key}
}

// san is the critical extension that holds the attributes of a TPM.
func san(t testing.TB, values ...string) pkix.Extension {
	t.Helper()
	var name pkix.RDNSequence
	for i, v := range values {
		oid := []asn1.ObjectIdentifier{oidTPMManufacturer, oidTPMModel, oidTPMVersion}[i%3]
		name = append(name, pkix.RelativeDistinguishedNameSET{{Type: oid, Value: v}})
	}
	return sanOf(t, name)
}

func sanOf(t testing.TB, name pkix.RDNSequence) pkix.Extension {
	t.Helper()
	inner, err := asn1.Marshal(name)
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: oidSubjectAltName, Critical: true, Value: sequenceOf(t, tagged(4, true, inner))}
}

func tagged(tag int, compound bool, content []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: compound, Bytes: content}
}

func sequenceOf(t testing.TB, values ...asn1.RawValue) []byte {
	t.Helper()
	der, err := asn1.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// pemFile is a PEM file of certificates.
func pemFile(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

func anchorsOf(t testing.TB, certs ...*x509.Certificate) *Anchors {
	t.Helper()
	a, err := ParseAnchors(pemFile(certs...))
	if err != nil {
		t.Fatal(err)
	}
	return a
}
