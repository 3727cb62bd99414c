package bundle

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
)

type listChange = func(*x509.RevocationList)

// revoke makes a list of a CA that has nothing wrong.
func (a *authority) revoke(t testing.TB, certs []*x509.Certificate, changes ...listChange) []byte {
	t.Helper()
	list := &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: ekTime.AddDate(0, -1, 0), NextUpdate: ekTime.AddDate(0, 1, 0),
	}
	for _, c := range certs {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: ekTime.AddDate(0, -2, 0)})
	}
	for _, change := range changes {
		change(list)
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func crlPEM(ders ...[]byte) []byte {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})...)
	}
	return out
}

func crlsOf(t testing.TB, files ...[]byte) *CRLs {
	t.Helper()
	l, err := ParseCRLs(files...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestRevocation(t *testing.T) {
	root := newRoot(t, "Root")
	ca := root.newCA(t, "CA")
	leaf, other := ca.newEK(t), ca.newEK(t)
	stranger := newRoot(t, "CA") // of the same name
	noSign := &authority{certify(t, root, ca.key, caTemplate("CA"), []change{func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign }}), ca.key}
	critical := func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{0x30, 0}}}
	}
	criticalEntry := func(l *x509.RevocationList) {
		l.RevokedCertificateEntries[0].ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: []byte{0x30, 0}}}
	}
	stale := func(l *x509.RevocationList) { l.NextUpdate = ekTime.Add(-time.Second) }
	sha1 := func(l *x509.RevocationList) { l.SignatureAlgorithm = x509.ECDSAWithSHA1 }
	late := func(l *x509.RevocationList) { l.RevokedCertificateEntries[0].RevocationTime = ekTime.AddDate(0, 0, 20) }
	all := []*x509.Certificate{leaf}
	good := root.revoke(t, nil)
	for _, c := range []struct {
		name   string
		files  [][]byte
		status []RevocationStatus // of the EK's certificate and of the CA's
		text   string             // of the first that is not "not-revoked"
	}{
		{"none of the CAs", [][]byte{newRoot(t, "X").revoke(t, all)}, []RevocationStatus{NotChecked, NotChecked}, "no revocation list of its issuer was given"},
		{"nobody", [][]byte{ca.revoke(t, nil), good}, []RevocationStatus{NotRevoked, NotRevoked}, ""},
		{"others", [][]byte{crlPEM(ca.revoke(t, []*x509.Certificate{other}), good)}, []RevocationStatus{NotRevoked, NotRevoked}, ""},
		{"only the root's list", [][]byte{good}, []RevocationStatus{NotChecked, NotRevoked}, "no revocation list"},
		{"the EK's", [][]byte{ca.revoke(t, all), good}, []RevocationStatus{IsRevoked, NotRevoked}, "revoked at 2026-02-11T00:00:00Z"},
		{"the CA's", [][]byte{ca.revoke(t, nil), root.revoke(t, []*x509.Certificate{ca.cert})}, []RevocationStatus{NotRevoked, IsRevoked}, "revoked at"},
		{"after the time in question", [][]byte{ca.revoke(t, all, late)}, []RevocationStatus{IsRevoked, NotChecked}, "revoked at 2026-05-01"},
		{"on one list of two", [][]byte{ca.revoke(t, nil), ca.revoke(t, all), good}, []RevocationStatus{IsRevoked, NotRevoked}, ""},
		{"on one of two, the other way round", [][]byte{ca.revoke(t, all), ca.revoke(t, nil), good}, []RevocationStatus{IsRevoked, NotRevoked}, ""},
		{"stale", [][]byte{ca.revoke(t, nil, stale), good}, []RevocationStatus{NotChecked, NotRevoked}, "stale: the next was due at 2026-04-10T23:59:59Z"},
		{"stale, and a good one", [][]byte{ca.revoke(t, nil), ca.revoke(t, nil, stale), good}, []RevocationStatus{NotRevoked, NotRevoked}, ""},
		{"on a stale list", [][]byte{ca.revoke(t, all, stale), good}, []RevocationStatus{IsRevoked, NotRevoked}, ""},
		{"SHA-1", [][]byte{ca.revoke(t, nil, sha1), good}, []RevocationStatus{NotChecked, NotRevoked}, "signed with ECDSA-SHA1"},
		{"on a list with SHA-1", [][]byte{ca.revoke(t, all, sha1), good}, []RevocationStatus{IsRevoked, NotRevoked}, ""},
		{"unknown kind of list", [][]byte{ca.revoke(t, nil, critical), good}, []RevocationStatus{NotChecked, NotRevoked}, "has the extension 1.2.3"},
		{"on an unknown kind of list", [][]byte{ca.revoke(t, all, critical), good}, []RevocationStatus{NotChecked, NotRevoked}, "has the extension 1.2.3"},
		{"entry of another CA", [][]byte{ca.revoke(t, all, criticalEntry), good}, []RevocationStatus{NotChecked, NotRevoked}, "an entry with a critical extension"},
		{"of a CA of the same name", [][]byte{stranger.revoke(t, all), good}, []RevocationStatus{NotChecked, NotRevoked}, "was not signed by its key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, lists := anchorsOf(t, root.cert, ca.cert), crlsOf(t, c.files...)
			for range 2 { // the second time from what is remembered
				r := a.ReportEK(leaf, EKOptions{At: ekTime, CRLs: lists})
				wantRevocation(t, r, c.status, c.text)
				fresh := anchorsOf(t, root.cert).ReportEK(leaf, EKOptions{At: ekTime, CRLs: lists, Helpers: []*x509.Certificate{ca.cert}})
				wantRevocation(t, fresh, c.status, c.text)
			}
		})
	}
	t.Run("a key that may not sign lists", func(t *testing.T) {
		r := anchorsOf(t, root.cert, noSign.cert).ReportEK(leaf, EKOptions{At: ekTime, CRLs: crlsOf(t, ca.revoke(t, all), good)})
		wantRevocation(t, r, []RevocationStatus{NotChecked, NotRevoked}, "by one that may not sign lists")
	})
	t.Run("no lists", func(t *testing.T) {
		r := anchorsOf(t, root.cert, ca.cert).ReportEK(leaf, EKOptions{At: ekTime})
		wantRevocation(t, r, []RevocationStatus{NotChecked, NotChecked}, "no revocation list")
	})
	t.Run("refused already", func(t *testing.T) {
		r := anchorsOf(t, stranger.cert).ReportEK(leaf, EKOptions{At: ekTime, CRLs: crlsOf(t, ca.revoke(t, all))})
		if r.Refused == nil || r.Refused.Reason != IssuerMissing || r.Revocation != nil {
			t.Errorf("%v, %v", r.Refused, r.Revocation)
		}
	})
}

func wantRevocation(t *testing.T, r *EKReport, want []RevocationStatus, text string) {
	t.Helper()
	if len(r.Revocation) != len(want) {
		t.Fatalf("%d certificates looked up (%v)", len(r.Revocation), r.Refused)
	}
	var revoked bool
	for i, got := range r.Revocation {
		revoked = revoked || got.Status == IsRevoked
		if got.Status != want[i] || !got.Certificate.Equal(r.Chain.Certificates[i]) {
			t.Errorf("certificate %d: %s (%s), want %s", i, got.Status, got.Text, want[i])
		}
		if got.Status != NotRevoked && text != "" {
			if !bytes.Contains([]byte(got.Text), []byte(text)) {
				t.Errorf("certificate %d: %q, want %q", i, got.Text, text)
			}
			text = ""
		}
	}
	if revoked != (r.Refused != nil && r.Refused.Reason == Revoked) {
		t.Errorf("refused %v", r.Refused)
	}
}

// TestReusedSerial: of two CAs with one name, the certificate with a serial number
// that only the other has revoked is good.
func TestReusedSerial(t *testing.T) {
	one := func(c *x509.Certificate) { c.SerialNumber = big.NewInt(1) }
	for name, changes := range map[string][]change{
		"with key identifiers":    nil,
		"without key identifiers": {func(c *x509.Certificate) { c.SubjectKeyId = []byte{1} }},
	} {
		a, b := newRoot(t, "Root", changes...), newRoot(t, "Root", changes...)
		first, second := a.newCA(t, "CA 1", one), b.newCA(t, "CA 2", one)
		anchors := anchorsOf(t, a.cert, b.cert, first.cert, second.cert)
		lists := crlsOf(t, a.revoke(t, []*x509.Certificate{first.cert}), b.revoke(t, nil))
		for range 2 {
			if r := anchors.ReportEK(first.newEK(t), EKOptions{At: ekTime, CRLs: lists}); r.Refused == nil || r.Refused.Reason != Revoked {
				t.Errorf("%s: the revoked: %v", name, r.Refused)
			}
			if r := anchors.ReportEK(second.newEK(t), EKOptions{At: ekTime, CRLs: lists}); r.Refused != nil || r.Revocation[1].Status != NotRevoked {
				t.Errorf("%s: the other: %v", name, r.Refused)
			}
		}
	}
}

func TestParseCRLsRefuses(t *testing.T) {
	root := newRoot(t, "Root")
	good := root.revoke(t, nil)
	many := make([][]byte, limits.BundleCRLs+1)
	for i := range many {
		many[i] = good
	}
	for _, c := range []struct {
		name  string
		files [][]byte
		want  string
	}{
		{"empty", [][]byte{nil}, "file 1 of 1 of revocation lists: no PEM block of a revocation list"},
		{"second", [][]byte{good, []byte("x")}, "file 2 of 2"},
		{"certificate", [][]byte{root.cert.Raw}, "not a revocation list"},
		{"certificate in PEM", [][]byte{pemFile(root.cert)}, `line 1 is "-----BEGIN CERTIFICATE-----", where only whole PEM blocks of revocation lists may be`},
		{"bytes behind it", [][]byte{append(bytes.Clone(good), 0)}, "1 bytes after the revocation list"},
		{"cut off", [][]byte{good[:len(good)-1]}, "not a revocation list"},
		{"large", [][]byte{make([]byte, limits.BundleCRL+1)}, "more than 8388608 bytes"},
		{"many", many, "more than 256 revocation lists"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseCRLs(c.files...)
			wantError(t, err, c.want)
		})
	}
}

// FuzzCRL: no list makes us panic, and none that the CA did not sign is looked at.
func FuzzCRL(f *testing.F) {
	serial := []change{func(c *x509.Certificate) { c.SerialNumber = big.NewInt(7) }}
	root := &authority{certify(f, nil, throwawayKey, caTemplate("Root"), serial), throwawayKey}
	leaf := certify(f, root, throwawayEK, ekTemplate(f), serial)
	anchors := anchorsOf(f, root.cert)
	signed := map[string]bool{}
	for _, der := range [][]byte{root.revoke(f, nil), root.revoke(f, []*x509.Certificate{leaf})} {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			f.Fatal(err)
		}
		signed[string(list.RawTBSRevocationList)] = true
		f.Add(der)
		f.Add(crlPEM(der))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		lists, err := ParseCRLs(data)
		if err != nil {
			return
		}
		ours := false
		for _, all := range lists.byIssuer {
			for _, c := range all {
				ours = ours || signed[string(c.list.RawTBSRevocationList)]
			}
		}
		r := anchors.ReportEK(leaf, EKOptions{At: ekTime, CRLs: lists})
		if got := r.Revocation[0].Status; !ours && got != NotChecked {
			t.Errorf("%x: %s", data, got)
		}
	})
}
