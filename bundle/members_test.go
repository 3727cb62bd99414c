package bundle

import (
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// twoBundles are roots of two vendors and an intermediate of a third.
func twoBundles(t *testing.T) (a, b, ca *authority, members []Member) {
	t.Helper()
	a, b = newRoot(t, "Root A"), newRoot(t, "Root B")
	ca = a.newCA(t, "CA")
	return a, b, ca, Members(
		mustBuild(t, []Certificate{{"IFX", "A", a.cert}, {"STM", "B", b.cert}}, header(Roots, Sealsmith)),
		mustBuild(t, []Certificate{{"AMD", "CA", ca.cert}}, header(Intermediates, TPMTB)),
	)
}

func namesOf(members []Member) []string {
	var names []string
	for _, m := range members {
		names = append(names, m.Name)
	}
	return names
}

func TestOfVendors(t *testing.T) {
	_, _, _, members := twoBundles(t)
	for _, c := range []struct{ vendors, want []string }{
		{[]string{"IFX"}, []string{"A"}},
		{[]string{"AMD"}, []string{"A", "CA"}}, // and its issuer, of IFX
		{[]string{"STM", "AMD"}, []string{"A", "B", "CA"}},
		{[]string{"MSFT"}, nil},
		{nil, nil},
	} {
		got, err := OfVendors(members, c.vendors...)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, namesOf(got)); diff != "" {
			t.Errorf("%v: %s", c.vendors, diff)
		}
	}
}

func TestFind(t *testing.T) {
	a, b, ca, members := twoBundles(t)
	respelt := a.called(t, rdnsOf("EXAMPLE, inc.", "root  A")).newEK(t)
	for _, c := range []struct {
		name  string
		match Match
		want  []string
	}{
		{"digest", BySHA256(sha256.Sum256(b.cert.Raw)), []string{"B"}},
		{"another digest", BySHA256(sha256.Sum256(nil)), nil},
		{"key identifier", ByKeyID(ca.newEK(t).AuthorityKeyId), []string{"CA"}},
		{"no key identifier", ByKeyID(nil), nil},
		{"subject", BySubject(ca.cert.RawIssuer), []string{"A"}},
		{"subject in another spelling", BySubject(respelt.RawIssuer), []string{"A"}},
		{"no subject", BySubject(nil), nil},
	} {
		if diff := cmp.Diff(c.want, namesOf(Find(members, c.match))); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	if !Contains(members, ca.cert) || Contains(members, ca.newEK(t)) || Contains(members, nil) {
		t.Error("wrong about what is there")
	}
}

func TestPools(t *testing.T) {
	_, _, ca, members := twoBundles(t)
	leaf := ca.newEK(t)
	leaf.UnhandledCriticalExtensions = nil
	verify := func() error {
		roots, intermediates := Pools(members)
		_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: ekTime, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		return err
	}
	if err := verify(); err != nil {
		t.Error(err)
	}
	roots, _ := Pools(members[:1])
	others, _ := Pools(members)
	if roots.Equal(others) {
		t.Error("the pools do not depend on the certificates")
	}
}

func TestNewAnchors(t *testing.T) {
	a, _, ca, members := twoBundles(t)
	all, err := NewAnchors(members)
	if err != nil {
		t.Fatal(err)
	}
	leaf := ca.newEK(t)
	if r := all.ReportEK(leaf, EKOptions{At: ekTime}); r.Refused != nil || !slices.Equal(findingIDs(r), []string{"vendor-mismatch"}) {
		t.Errorf("%v %v", r.Refused, r.Findings)
	}
	slices.Reverse(members)
	again, err := NewAnchors(members)
	if err != nil || again.Digest() != all.Digest() || len(all.Digest()) != len("content-sha256:")+64 {
		t.Errorf("%v: digests %s and %s", err, all.Digest(), again.Digest())
	}
	one, err := OfVendors(members, "STM")
	if err != nil {
		t.Fatal(err)
	}
	of, err := NewAnchors(one)
	if err != nil {
		t.Fatal(err)
	}
	_, err = of.VerifyEK(leaf, []*x509.Certificate{ca.cert, a.cert}, ekTime)
	wantReason(t, err, IssuerMissing, `"CN=Root A`)
	_, err = NewAnchors(nil)
	wantError(t, err, "no root certificate")
	_, err = NewAnchors(members[:1]) // an intermediate
	wantError(t, err, "no root certificate")
}

// TestWithHelpers: they help, are not trusted, and belong to one set of anchors only.
func TestWithHelpers(t *testing.T) {
	root, stranger := newRoot(t, "Root"), newRoot(t, "Stranger")
	first, second := root.newCA(t, "CA"), root.newCA(t, "CA") // namesakes
	base := anchorsOf(t, root.cert)
	with := func(files ...[]byte) *Anchors {
		a, err := base.WithHelpers(files...)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a, b := with(first.cert.Raw), with(pemFile(second.cert, stranger.cert))
	for _, c := range []struct {
		name    string
		anchors *Anchors
		leaf    *x509.Certificate
		want    EKReason
	}{
		{"DER", a, first.newEK(t), ""},
		{"PEM", b, second.newEK(t), ""},
		{"only the other has it", a, second.newEK(t), IssuerMissing},
		{"neither does the first have it", base, first.newEK(t), IssuerMissing},
		{"self-signed", b, stranger.newEK(t), IssuerMissing},
	} {
		r := c.anchors.ReportEK(c.leaf, EKOptions{At: ekTime})
		if got := r.Refused; got == nil && c.want != "" || got != nil && got.Reason != c.want {
			t.Errorf("%s: %v, want %q", c.name, got, c.want)
		}
	}
	if with().Digest() != base.Digest() {
		t.Error("helpers change what is pinned")
	}
	for _, file := range [][]byte{nil, []byte("x"), append(slices.Clone(first.cert.Raw), 0)} {
		_, err := base.WithHelpers(file)
		wantError(t, err, "file 1 of 1 of intermediates: ")
	}
}
