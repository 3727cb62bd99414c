package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/provenance"
)

// TestTable is the table of docs/spec/control-api.md: every socket, usage and
// form. What is not listed is refused.
func TestTable(t *testing.T) {
	granted := map[string]bool{
		"ssh ssh user-auth":       true,
		"ssh ssh sshsig":          true,
		"control ssh sshsig":      true,
		"control artifact sshsig": true,
		"control artifact dsse":   true,
		"control artifact blob":   true,
		"control digest digest":   true,
	}
	h := start(t, nil)
	seen := 0
	for _, socket := range []Socket{SocketSSH, SocketControl} {
		for _, usage := range key.Usages {
			for _, form := range []Form{FormUserAuth, FormSSHSIG, FormDSSE, FormBlob, FormDigest, FormUnrecognised} {
				r := Request{
					Socket: socket, Form: form, Namespace: "file", PayloadType: provenance.PayloadType,
					Key: key.Info{Usage: usage, Policy: key.Policy{Unattended: true}},
				}
				name := fmt.Sprintf("%s %s %s", socket, usage, form)
				err := h.server.authorize(t.Context(), r)
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
	h.person.questions()
	h.person.confirm = yes
	sha256, sha1 := strings.Repeat("0a", 32), strings.Repeat("0b", 20)
	payload := []byte(`{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://example.org/p","predicate":{},"subject":[
		{"name":"a","digest":{"sha256":"` + sha256 + `","gitCommit":"` + sha1 + `"}},{"uri":"pkg:b","digest":{"sha256":"` + sha256 + `"}},
		{"digest":{"odd":"c"}},{"name":"d","digest":{"odd":"d"}},{"name":"e","digest":{"odd":"e"}}]}`)
	if _, err := k.SignDSSE(t.Context(), provenance.PayloadType, payload); err != nil {
		t.Fatal(err)
	}
	asked := h.person.questions()
	if len(asked) != 1 {
		t.Fatalf("asked %d times", len(asked))
	}
	facts := map[string][]string{}
	for _, f := range asked[0].Facts {
		facts[f.Label] = append(facts[f.Label], f.Value)
	}
	want := []string{"gitCommit:" + sha1 + " a", "sha256:" + sha256 + " a", "sha256:" + sha256 + " pkg:b", "odd:c", "and 2 more"}
	if got := facts["Subject"]; !slices.Equal(got, want) || facts["Statement"][0] != "https://example.org/p" {
		t.Errorf("facts %v, want the subjects %q", facts, want)
	}
	if got := asked[0].Claims; len(got) != 1 || got[0] != (Fact{"Subject", "my image"}) {
		t.Errorf("claims %v", got)
	}
}
