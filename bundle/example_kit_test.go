package bundle_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"sync"
	"time"

	"github.com/sealsmith/sealsmith/bundle"
)

// sample is a release of throw-away CAs in the vendors' place, and an EK certificate
// of one of them.
type sample struct {
	roots, intermediates []byte // bundles, such as tpm-ca-certificates.pem
	ek                   []byte // as a TPM holds it
	made                 time.Time
}

var newSample = sync.OnceValue(func() sample {
	s := sample{made: time.Date(2026, 4, 11, 0, 0, 0, 0, time.UTC)}
	root := s.certify(nil, "Example Root CA")
	ca := s.certify(root, "Example EK CA 01")
	other := s.certify(nil, "Other Root CA")
	s.roots = s.build(bundle.Roots, bundle.Certificate{Vendor: "IFX", Name: "Example Root CA", X509: root.cert},
		bundle.Certificate{Vendor: "STM", Name: "Other Root CA", X509: other.cert})
	s.intermediates = s.build(bundle.Intermediates, bundle.Certificate{Vendor: "IFX", Name: "Example EK CA 01", X509: ca.cert})
	s.ek = append(s.certify(ca, "").cert.Raw, make([]byte, 100)...)
	return s
})

func (s sample) build(k bundle.Kind, certs ...bundle.Certificate) []byte {
	b, _, err := bundle.Build(certs, bundle.Header{Kind: k, Format: bundle.Sealsmith, Date: s.made.Format(time.DateOnly)})
	return must(b, err).Encode()
}

type certified struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// certify makes the certificate of a CA, or of an EK if it has no name.
func (s sample) certify(by *certified, name string) *certified {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	c := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true,
		NotBefore: s.made.AddDate(-1, 0, 0), NotAfter: s.made.AddDate(20, 0, 0),
	}
	if name == "" {
		c.Subject, c.KeyUsage = pkix.Name{}, x509.KeyUsageKeyAgreement
		c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}}
		var tpm pkix.RDNSequence
		for i, value := range []string{"id:49465800", "SLB 9672", "id:0F0A"} {
			tpm = append(tpm, pkix.RelativeDistinguishedNameSET{{Type: asn1.ObjectIdentifier{2, 23, 133, 2, 1 + i}, Value: value}})
		}
		names := must(asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: must(asn1.Marshal(tpm))}}))
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: names}}
	} else {
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	}
	if by == nil {
		by = &certified{c, key}
	}
	der := must(x509.CreateCertificate(rand.Reader, c, by.cert, key.Public(), by.key))
	return &certified{must(x509.ParseCertificate(der)), key}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
