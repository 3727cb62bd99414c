package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/provenance"
)

// TestTable is the table of docs/spec/control-api.md: every socket, usage and
// form. What is not listed is refused.
func TestTable(t *testing.T) {
	granted := map[string]bool{
		"ssh ssh user-auth":           true,
		"ssh ssh sshsig":              true,
		"ssh ssh-ca certificate":      true,
		"ssh ssh-host exchange-hash":  true,
		"ssh ssh-host host-key-proof": true,
		"control ssh sshsig":          true,
		"control artifact sshsig":     true,
		"control artifact dsse":       true,
		"control artifact blob":       true,
		"control digest digest":       true,
	}
	h := start(t, nil)
	seen := 0
	for _, socket := range []Socket{SocketSSH, SocketControl} {
		for _, usage := range key.Usages {
			for _, form := range []Form{FormUserAuth, FormSSHSIG, FormCertificate, FormExchangeHash, FormHostKeyProof, FormDSSE, FormBlob, FormDigest, FormUnrecognised} {
				r := Request{
					Socket: socket, Form: form, Namespace: "file", PayloadType: provenance.PayloadType,
					Key:         key.Info{Usage: usage, Policy: key.Policy{Unattended: true}},
					Certificate: &ssh.Certificate{ValidPrincipals: []string{"alice"}},
				}
				name := fmt.Sprintf("%s %s %s", socket, usage, form)
				err := h.server.authorize(t.Context(), &r)
				if granted[name] {
					seen++
				}
				if (err == nil) != granted[name] || err != nil && !errors.Is(err, key.ErrNotAllowed) {
					t.Errorf("%s: %v", name, err)
				}
				if err != nil && len(hint.Of(err)) == 0 {
					t.Errorf("%s: no advice", name)
				}
			}
		}
	}
	if seen != len(granted) {
		t.Errorf("%d of %d rows were tried", seen, len(granted))
	}
}

func TestNamespaces(t *testing.T) {
	for _, c := range []struct {
		usage     key.Usage
		rule      []string
		namespace string
		want      bool
	}{
		{key.SSH, nil, "git", true},
		{key.SSH, nil, "file", true},
		{key.SSH, nil, "sealsmith-bundle", false},
		{key.SSH, nil, "notes@example.org", false},
		{key.SSH, []string{"notes@example.org"}, "notes@example.org", true},
		{key.SSH, []string{"notes@example.org"}, "git", false},
		{key.Artifact, nil, "sealsmith-bundle", true},
		{key.Artifact, nil, "file", true},
		{key.Artifact, nil, "git", false},
		{key.Artifact, nil, "notes@example.org", true},
		{key.Artifact, nil, "notes@", false},
		{key.Artifact, nil, "@example.org", false},
		{key.Artifact, nil, "notes@example..org", false},
		{key.Artifact, nil, "a b@example.org", false},
		{key.Artifact, []string{"file"}, "notes@example.org", false},
		{key.Artifact, []string{"*"}, "file", false},
	} {
		if got := namespaceAllowed(c.usage, Rule{Namespaces: c.rule}, c.namespace); got != c.want {
			t.Errorf("%s, rule %q: %q %v", c.usage, c.rule, c.namespace, got)
		}
	}
}

func TestMustConfirm(t *testing.T) {
	for _, c := range []struct {
		usage           key.Usage
		pin, unattended bool
		rule            bool
		want            bool
	}{
		{key.SSH, false, false, false, false},
		{key.SSH, false, false, true, true},
		{key.SSH, true, false, true, true}, // its PIN may be remembered
		{key.Artifact, false, false, false, true},
		{key.Artifact, true, false, false, false}, // its PIN is asked for each time
		{key.Artifact, false, true, false, false},
		{key.Artifact, false, true, true, true},
		{key.Artifact, true, true, true, true},
		{key.SSHCA, false, false, false, true},
		{key.SSHCA, true, false, false, false},
		{key.SSHCA, false, true, false, false},
		{key.SSHHost, false, false, false, false},
		{key.SSHHost, false, false, true, true},
		{key.Digest, false, false, false, true},
		{key.Digest, false, true, false, false},
	} {
		in := key.Info{Usage: c.usage, Policy: key.Policy{PIN: c.pin, Unattended: c.unattended}}
		if got := mustConfirm(in, Rule{Confirm: c.rule}); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestConfirmation(t *testing.T) {
	h := start(t, nil)
	in := h.key(key.Spec{Name: "release", Usage: key.Artifact})
	c := h.client()
	k, err := c.Key(t.Context(), in.Ref, "my image")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.SignBlob(t.Context(), []byte("x")); !errors.Is(err, key.ErrDenied) {
		t.Errorf("a no: %v", err)
	}
	if r := h.lastRecord(); r.Outcome != outcomeRefused || r.Code != "denied" {
		t.Errorf("audit %+v", r)
	}
	if logs := h.logs.String(); !strings.Contains(logs, "not signed") || strings.Contains(logs, "hint=") {
		t.Errorf("a no has no hint, and the log says %s", logs)
	}
	h.person.questions()
	h.person.confirm = yes
	sha256, sha1 := strings.Repeat("0a", 32), strings.Repeat("0b", 20)
	payload := statementOf(`{"name":"a","digest":{"sha256":"` + sha256 + `","gitCommit":"` + sha1 + `"}},
		{"uri":"pkg:b","digest":{"sha256":"` + sha256 + `"}},{"digest":{"sha1":"` + sha1 + `"}}`)
	if _, err := k.SignDSSE(t.Context(), provenance.PayloadType, payload); err != nil {
		t.Fatal(err)
	}
	asked := h.person.questions()
	if len(asked) != 1 {
		t.Fatalf("asked %d times", len(asked))
	}
	_, sum := sha256Of(payload)
	want := []Fact{
		{"Payload digest", sum, false},
		{"Statement", "https://example.org/p", true},
		{"Subject 1", "gitCommit:" + sha1, false},
		{"Subject 1", "sha256:" + sha256, false},
		{"Subject 1 is called", "a", true},
		{"Subject 2", "sha256:" + sha256, false},
		{"Subject 2 is called", "pkg:b", true},
		{"Subject 3", "sha1:" + sha1, false},
	}
	// Before them are the key and its id, behind them the process.
	if diff := cmp.Diff(want, asked[0].Facts[2:]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Fact{{"Subject", "my image", true}}, asked[0].Claims); diff != "" {
		t.Error(diff)
	}
}

// statementOf is a statement about subjects in JSON.
func statementOf(subjects string) []byte {
	return []byte(`{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://example.org/p","predicate":{},"subject":[` + subjects + `]}`)
}

// TestNobodyConfirmsTheInvisible: a person is asked only about statements whose
// subjects a prompt can show, in whatever way the person is asked.
func TestNobodyConfirmsTheInvisible(t *testing.T) {
	h := start(t, nil)
	h.person.confirm, h.person.pins = yes, []string{"1234"}
	rules := map[key.ID]Rule{}
	h.server.apply(Settings{Rules: rules})
	c := h.client()
	subject := `{"digest":{"sha256":"` + strings.Repeat("0a", 32) + `"}}`
	many := strings.Repeat(subject+",", limits.ShownDigests) + subject
	private := `{"digest":{"SHA256":"` + strings.Repeat("0a", 32) + `"}}`
	for _, x := range []struct {
		name                     string
		pin, unattended, confirm bool
		asks                     int // for the statement that can be shown
		refused                  bool
	}{
		{"yes", false, false, false, 1, true},
		{"pin", true, false, false, 1, true},
		{"rule", false, true, true, 1, true},
		{"unattended", false, true, false, 0, false},
		{"unattended-pin", true, true, false, 1, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			spec := key.Spec{Name: x.name, Usage: key.Artifact, Unattended: x.unattended}
			if x.pin {
				spec.PIN = keytest.Lend([]byte("1234"))
			}
			in := h.key(spec)
			rules[in.ID] = Rule{Confirm: x.confirm}
			k, err := c.Key(t.Context(), in.Ref, "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := k.SignDSSE(t.Context(), provenance.PayloadType, statementOf(subject)); err != nil {
				t.Fatal(err)
			}
			if n := len(h.person.questions()); n != x.asks {
				t.Errorf("asked %d times", n)
			}
			for _, subjects := range []string{many, private} {
				_, err := k.SignDSSE(t.Context(), provenance.PayloadType, statementOf(subjects))
				if x.refused != errors.Is(err, key.ErrNotAllowed) || x.refused != (len(hint.Of(err)) > 0) || !x.refused && err != nil {
					t.Errorf("%s: %v", subjects, err)
				}
				if n := len(h.person.questions()); x.refused && n != 0 {
					t.Errorf("asked %d times about %s", n, subjects)
				}
			}
		})
	}
}

// TestMoreDigests: the prompt of a key that signs unattended says what it hides.
func TestMoreDigests(t *testing.T) {
	subject := provenance.Subject{Digest: map[string]string{"sha256": strings.Repeat("0a", 32), "odd": "x  y"}}
	s := &provenance.Statement{PredicateType: "p", Subject: []provenance.Subject{subject, subject, subject}}
	q := Request{Form: FormDSSE, Statement: s}.question("Enter the PIN")
	if last := q.Facts[len(q.Facts)-1]; last != (Fact{"Besides", "2 more digests", false}) {
		t.Errorf("the last fact is %+v", last)
	}
	if !slices.Contains(q.Facts, Fact{"Subject 1", "odd:x  y", true}) {
		t.Errorf("a digest that nobody knows is no quotation: %+v", q.Facts)
	}
}
