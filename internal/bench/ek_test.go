package bench

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/bundle"
)

// TestVerifyEK judges EK certificates, from the DER on, and compares with the bare
// checks of the signatures of their chains, a root's included. CAs of vendors have
// keys of these kinds.
func TestVerifyEK(t *testing.T) {
	for _, kind := range []struct {
		name   string
		newKey func() (crypto.Signer, error)
	}{
		{"bundle/ek/rsa2048", func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }},
		{"bundle/ek/p256", func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }},
		{"bundle/ek/p384", func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) }},
	} {
		if wanted(kind.name) {
			benchVerifyEK(t, kind.name, kind.newKey)
		}
	}
}

func benchVerifyEK(t *testing.T, name string, newKey func() (crypto.Signer, error)) {
	var made []*ekAuthority
	for i := range 3 { // root, CA, EK
		key, err := newKey()
		if err != nil {
			t.Fatal(err)
		}
		issuer := &ekAuthority{key: key}
		if i > 0 {
			issuer = made[i-1]
		}
		made = append(made, &ekAuthority{issuer.certify(t, i, key), key})
	}
	root, ca := made[0].cert, made[1].cert
	eks := make([][]byte, 50)
	leaves := make([]*x509.Certificate, len(eks))
	for i := range eks {
		leaves[i] = made[1].certify(t, 2+i, made[2].key)
		eks[i] = leaves[i].Raw
	}
	var files [][]byte
	for _, c := range []*x509.Certificate{root, ca} {
		files = append(files, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	anchors, err := bundle.ParseAnchors(files...)
	if err != nil {
		t.Fatal(err)
	}
	const times = 10
	ours := func() float64 {
		return seconds(func() {
			for range times {
				for _, der := range eks {
					file, err := bundle.ParseEKFile(der)
					if err != nil {
						t.Fatal(err)
					}
					if r := anchors.ReportEK(file.EKs[0], bundle.EKOptions{At: ekTime}); r.Refused != nil || len(r.Chain.Certificates) != 3 {
						t.Fatal(r.Refused)
					}
				}
			}
		})
	}
	bare := func() float64 {
		return seconds(func() {
			for range times {
				for _, leaf := range leaves {
					if err := leaf.CheckSignatureFrom(ca); err != nil {
						t.Fatal(err)
					}
					if err := ca.CheckSignatureFrom(root); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
	value, ratio := inTurns(ours, bare)
	printFigure(name, float64(times*len(eks))/value, "certificates/s", "the two signature checks of each chain", 1/ratio)
}

// ekTime is when the certificates are judged.
var ekTime = time.Date(2026, 4, 11, 0, 0, 0, 0, time.UTC)

// ekAuthority is a CA of EK certificates; without certificate it signs itself.
type ekAuthority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// certify makes the certificate of a CA, and from serial number 2 on that of an EK.
func (a *ekAuthority) certify(t *testing.T, serial int, key crypto.Signer) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(serial) + 1),
		Subject:      pkix.Name{Country: []string{"DE"}, Organization: []string{"Example AG"}, CommonName: fmt.Sprintf("EK CA %d", serial)},
		NotBefore:    ekTime.AddDate(-1, 0, 0), NotAfter: ekTime.AddDate(20, 0, 0),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if serial >= 2 {
		template.Subject, template.IsCA, template.KeyUsage = pkix.Name{}, false, x509.KeyUsageKeyAgreement
		if _, ok := key.(*rsa.PrivateKey); ok {
			template.KeyUsage = x509.KeyUsageKeyEncipherment
		}
		template.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}}
		template.ExtraExtensions = []pkix.Extension{tpmNames(t)}
	}
	issuer := a.cert
	if issuer == nil {
		issuer = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tpmNames is the subject alternative name of an EK certificate (TCG EK Credential
// Profile, section 3.2.9).
func tpmNames(t *testing.T) pkix.Extension {
	t.Helper()
	var name pkix.RDNSequence
	for i, value := range []string{"id:49465800", "SLB 9672", "id:0F0A"} {
		oid := asn1.ObjectIdentifier{2, 23, 133, 2, 1 + i}
		name = append(name, pkix.RelativeDistinguishedNameSET{{Type: oid, Value: value}})
	}
	inner, err := asn1.Marshal(name)
	if err != nil {
		t.Fatal(err)
	}
	names, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: inner}})
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: names}
}
