package verify

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/sigtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/sign"
)

// named are a key's signatures over message.
func (s signatures) named(name string) Signatures { return Signatures{name, s.sshsig, s.sigstore} }

func TestSigners(t *testing.T) {
	alice, bob, stranger := signAll(t, key.P256), signAll(t, key.P384), signAll(t, key.P256)
	trust := func(files ...[]byte) *Trust {
		t.Helper()
		trust, err := ParseKeys(files...)
		if err != nil {
			t.Fatal(err)
		}
		return trust
	}
	pem := func(s signatures) []byte { return sigtest.PEM(t, s.key.Info().Public) }
	both := trust(pem(alice), pem(bob))
	half := bob.named("bob")
	half.Sigstore = nil
	mixed := Signatures{"mixed", alice.sshsig, bob.sigstore}
	broken := alice.named("alice")
	broken.Sigstore = alice.statement
	elsewhere := bob.named("bob")
	var err error
	if elsewhere.SSHSIG, err = sign.SSH(t.Context(), bob.key, "other@example.org", bytes.NewReader(message)); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		trust *Trust
		least int
		all   []Signatures
		want  Reason // "": enough
		names string
	}{
		"one":                        {both, 1, []Signatures{alice.named("a")}, "", "a"},
		"two":                        {both, 2, []Signatures{alice.named("a"), bob.named("b")}, "", "a b"},
		"two and a stranger":         {both, 2, []Signatures{stranger.named("s"), alice.named("a"), bob.named("b")}, "", "a b"},
		"one of two":                 {both, 2, []Signatures{alice.named("a")}, TooFewSigners, ""},
		"one twice":                  {both, 2, []Signatures{alice.named("a"), alice.named("b")}, TooFewSigners, ""},
		"one and a stranger":         {both, 2, []Signatures{alice.named("a"), stranger.named("b")}, TooFewSigners, ""},
		"one and half of another":    {both, 2, []Signatures{alice.named("a"), half}, TooFewSigners, ""},
		"one and one for others":     {both, 1, []Signatures{alice.named("a"), elsewhere}, "", "a"},
		"two, and one is for others": {both, 2, []Signatures{alice.named("a"), elsewhere}, TooFewSigners, ""},
		"one for others":             {both, 1, []Signatures{elsewhere}, WrongNamespace, ""},
		"nobody":                     {both, 1, nil, TooFewSigners, ""},
		"a stranger":                 {both, 1, []Signatures{stranger.named("s")}, WrongKey, ""},
		"strangers":                  {both, 1, []Signatures{stranger.named("s"), stranger.named("t")}, TooFewSigners, ""},
		"halves of two":              {both, 1, []Signatures{mixed}, WrongKey, ""},
		"one good and one broken":    {both, 1, []Signatures{bob.named("b"), broken}, Malformed, ""},
		"the key of one, in 2 files": {trust(pem(alice), alice.line(t), pem(bob)), 2, []Signatures{alice.named("a"), alice.named("b")}, TooFewSigners, ""},
	} {
		v := newVerifier(t, c.trust)
		counted, err := v.Signers(c.least, message, c.all)
		switch {
		case c.want != "":
			wants(t, what, err, c.want)
		case err != nil:
			t.Errorf("%s: %v", what, err)
		case strings.Join(counted.Names, " ") != c.names || len(counted.Signers) != 2*len(counted.Names):
			t.Errorf("%s: %+v", what, counted)
		}
	}
	many := slices.Repeat([]Signatures{stranger.named(strings.Repeat("s", 1000))}, 100)
	_, err = newVerifier(t, both).Signers(1, message, many)
	wants(t, "many strangers", err, TooFewSigners)
	for _, least := range []int{-1, 0, 3} {
		if _, err := newVerifier(t, both).Signers(least, message, nil); !errors.Is(err, key.ErrUsage) {
			t.Errorf("%d signers: %v", least, err)
		}
	}
}

// TestPeople: with several identities people are counted, not their keys.
func TestPeople(t *testing.T) {
	one, two, other := signAll(t, key.P256), signAll(t, key.P256), signAll(t, key.P256)
	line := func(who string, s signatures) []byte { return append([]byte(who+" "), s.line(t)...) }
	file := bytes.Join([][]byte{
		line("alice@example.com,team@example.com", one), line("alice@example.com,team@example.com", two),
		line("bob@example.com,team@example.com", other), line("carol@example.com", one),
		line(`dave@example.com valid-before="20260101Z"`, other),
	}, nil)
	verifier := func(identities ...string) *Verifier {
		t.Helper()
		trust, err := ParseAllowedSigners(file, identities...)
		if err != nil {
			t.Fatal(err)
		}
		return newVerifier(t, trust)
	}
	alices := []Signatures{one.named("a"), two.named("b")}
	people := []Signatures{one.named("a"), other.named("b")}
	_, err := verifier("alice@example.com", "bob@example.com").Signers(2, message, alices)
	wants(t, "one person with two keys", err, TooFewSigners)
	_, err = verifier("alice@example.com", "carol@example.com").Signers(2, message, []Signatures{one.named("a"), one.named("c")})
	wants(t, "two people with one key", err, TooFewSigners)
	// A key of several people may have been used by each of them.
	for _, order := range [][]string{{"alice@example.com", "carol@example.com"}, {"carol@example.com", "alice@example.com"}} {
		_, err = verifier(order...).Signers(2, message, alices)
		wants(t, "one person with two keys, one of them also another's", err, TooFewSigners)
		if _, err := verifier(append(order, "bob@example.com")...).Signers(2, message, people); err != nil {
			t.Errorf("two people, one with another's key: %v", err)
		}
	}
	counted, err := verifier("bob@example.com", "alice@example.com").Signers(2, message, people)
	if err != nil || counted.Signers[0].Identity != "alice@example.com" || counted.Signers[2].Identity != "bob@example.com" {
		t.Errorf("two people: %+v, %v", counted, err)
	}
	// One identity with several keys is a team: its keys count.
	if _, err := verifier("team@example.com").Signers(2, message, people); err != nil {
		t.Errorf("a team: %v", err)
	}
	if _, err := verifier("team@example.com", "team@example.com").Signers(3, message, people); errors.Is(err, key.ErrUsage) {
		t.Errorf("a team, named twice: %v", err)
	}
	if _, err := verifier("alice@example.com", "bob@example.com").Signers(3, message, nil); !errors.Is(err, key.ErrUsage) {
		t.Errorf("three of two people: %v", err)
	}
	// What is nearest to being accepted is said.
	_, err = verifier("dave@example.com", "alice@example.com").Signers(1, message, []Signatures{other.named("d")})
	wants(t, "no longer", err, Expired)
}
