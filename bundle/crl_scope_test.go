package bundle

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
)

const listURL = "http://pki.example/ca.crl"

// scoped adds an issuing distribution point to a list.
func scoped(t testing.TB, critical bool, parts ...asn1.RawValue) listChange {
	e := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: critical, Value: sequenceOf(t, parts...)}
	return func(l *x509.RevocationList) { l.ExtraExtensions = append(l.ExtraExtensions, e) }
}

// fullName is the name of a distribution point.
func fullName(t testing.TB, urls ...string) asn1.RawValue {
	t.Helper()
	var names []byte
	for _, u := range urls {
		names = append(names, mustDER(t, tagged(6, false, []byte(u)))...)
	}
	return tagged(0, true, mustDER(t, tagged(0, true, names)))
}

// TestListsOfAPart: a list may be of only some of what its CA certified.
func TestListsOfAPart(t *testing.T) {
	root := newRoot(t, "Root")
	ca := root.newCA(t, "CA")
	leaf := ca.newEK(t, func(c *x509.Certificate) { c.CRLDistributionPoints = []string{listURL} })
	unnamed := ca.newEK(t)
	yes := []byte{0xff}
	someReasons := mustDER(t, asn1.BitString{Bytes: []byte{0x40}, BitLength: 2})[2:]
	delta := func(critical bool) listChange {
		e := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: critical, Value: []byte{2, 1, 1}}
		return func(l *x509.RevocationList) { l.ExtraExtensions = append(l.ExtraExtensions, e) }
	}
	relative := tagged(0, true, mustDER(t, tagged(1, true, nil)))
	for _, c := range []struct {
		name    string
		changes []listChange
		leaf    *x509.Certificate
		absent  RevocationStatus // of a certificate that is not on the list
		text    string
		listed  RevocationStatus // of one that is
	}{
		{"of its address", []listChange{scoped(t, true, fullName(t, listURL))}, leaf, NotRevoked, "", IsRevoked},
		{"of several addresses", []listChange{scoped(t, true, fullName(t, "ldap://x", listURL))}, leaf, NotRevoked, "", IsRevoked},
		{"without an address", []listChange{scoped(t, true, tagged(1, false, yes))}, unnamed, NotRevoked, "", IsRevoked},
		{"empty", []listChange{scoped(t, true)}, leaf, NotRevoked, "", IsRevoked},
		{"of another address", []listChange{scoped(t, true, fullName(t, listURL+"2"))}, leaf, NotChecked, "another part", IsRevoked},
		{"of an address that the certificate does not have", []listChange{scoped(t, true, fullName(t, listURL))}, unnamed, NotChecked, "another part", IsRevoked},
		{"not critical, of another address", []listChange{scoped(t, false, fullName(t, listURL+"2"))}, leaf, NotChecked, "another part", IsRevoked},
		{"of a relative name", []listChange{scoped(t, true, relative)}, leaf, NotChecked, "2.5.29.28", NotChecked},
		{"of users, as this is", []listChange{scoped(t, true, fullName(t, listURL), tagged(1, false, yes))}, leaf, NotRevoked, "", IsRevoked},
		{"of CAs", []listChange{scoped(t, true, fullName(t, listURL), tagged(2, false, yes))}, leaf, NotChecked, "CAs only", IsRevoked},
		{"of some reasons", []listChange{scoped(t, true, fullName(t, listURL), tagged(3, false, someReasons))}, leaf, NotChecked, "some reasons", IsRevoked},
		{"of several CAs", []listChange{scoped(t, true, fullName(t, listURL), tagged(4, false, yes))}, leaf, NotChecked, "2.5.29.28", NotChecked},
		{"of attribute certificates", []listChange{scoped(t, true, fullName(t, listURL), tagged(5, false, yes))}, leaf, NotChecked, "2.5.29.28", NotChecked},
		{"in the wrong order", []listChange{scoped(t, true, tagged(4, false, yes), tagged(1, false, yes))}, leaf, NotChecked, "2.5.29.28", NotChecked},
		{"of two parts", []listChange{scoped(t, true, fullName(t, listURL)), scoped(t, true, tagged(2, false, yes))}, leaf, NotChecked, "twice", NotChecked},
		{"changes of a list", []listChange{delta(true)}, leaf, NotChecked, "2.5.29.27", NotChecked},
		{"changes of a list, not critical", []listChange{delta(false)}, leaf, NotChecked, "2.5.29.27", NotChecked},
		{"of later", []listChange{func(l *x509.RevocationList) { l.ThisUpdate = ekTime.Add(time.Second) }}, leaf, NotChecked, "2026-04-11T00:00:01Z, later than", IsRevoked},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := anchorsOf(t, root.cert, ca.cert)
			look := func(certs ...*x509.Certificate) Revocation {
				return a.ReportEK(c.leaf, EKOptions{At: ekTime, CRLs: crlsOf(t, ca.revoke(t, certs, c.changes...))}).Revocation[0]
			}
			if got := look(); got.Status != c.absent || !strings.Contains(got.Text, c.text) {
				t.Errorf("not on the list: %s (%s), want %s (%s)", got.Status, got.Text, c.absent, c.text)
			}
			if got := look(c.leaf); got.Status != c.listed {
				t.Errorf("on the list: %s (%s), want %s", got.Status, got.Text, c.listed)
			}
		})
	}
	t.Run("of users, and a CA", func(t *testing.T) {
		list := crlsOf(t, root.revoke(t, nil, scoped(t, true, tagged(1, false, yes))))
		r := anchorsOf(t, root.cert, ca.cert).ReportEK(leaf, EKOptions{At: ekTime, CRLs: list})
		wantRevocation(t, r, []RevocationStatus{NotChecked, NotChecked}, "")
		if text := r.Revocation[1].Text; !strings.Contains(text, "no CAs") {
			t.Error(text)
		}
	})
	t.Run("of CAs, and a CA", func(t *testing.T) {
		list := crlsOf(t, root.revoke(t, nil, scoped(t, true, tagged(2, false, yes))))
		wantRevocation(t, anchorsOf(t, root.cert, ca.cert).ReportEK(leaf, EKOptions{At: ekTime, CRLs: list}), []RevocationStatus{NotChecked, NotRevoked}, "")
	})
}

// TestListOfTheKey: a list counts for all certificates of its CA, also for one with
// another key identifier, which whoever wants to be believed may prefer.
func TestListOfTheKey(t *testing.T) {
	root := newRoot(t, "Root")
	ca := root.newCA(t, "CA")
	again := certify(t, root, ca.key, caTemplate("CA"), []change{func(c *x509.Certificate) { c.SubjectKeyId = []byte("other") }})
	leaf := ca.newEK(t, func(c *x509.Certificate) { c.AuthorityKeyId = []byte("other") })
	r := anchorsOf(t, root.cert, ca.cert).ReportEK(leaf, EKOptions{
		At: ekTime, Helpers: []*x509.Certificate{again}, CRLs: crlsOf(t, ca.revoke(t, []*x509.Certificate{leaf})),
	})
	if r.Refused == nil || r.Refused.Reason != Revoked {
		t.Errorf("%v", r.Refused)
	}
}

// TestListOfANamesake is said to be there, because who gave it expects it to count.
func TestListOfANamesake(t *testing.T) {
	root := newRoot(t, "Root")
	r := anchorsOf(t, root.cert).ReportEK(root.newEK(t), EKOptions{At: ekTime, CRLs: crlsOf(t, newRoot(t, "Root").revoke(t, nil))})
	wantRevocation(t, r, []RevocationStatus{NotChecked}, "was not signed by its key")
}

// TestHugeLists: what they hold is kept small, and long numbers take no time.
func TestHugeLists(t *testing.T) {
	root := newRoot(t, "Root")
	long := func(l *x509.RevocationList) {
		n := new(big.Int).Lsh(big.NewInt(1), 8*(limits.BundleCRL-1000))
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: n, RevocationTime: ekTime})
	}
	start := time.Now()
	der := root.revoke(t, nil, long)
	lists := crlsOf(t, der)
	if r := anchorsOf(t, root.cert).ReportEK(root.newEK(t), EKOptions{At: ekTime, CRLs: lists}); r.Revocation[0].Status != NotRevoked {
		t.Error(r.Revocation)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
	_, err := ParseCRLs(der, der, der, der, der)
	wantError(t, err, "revocation lists have more than 33554432 bytes")
}
