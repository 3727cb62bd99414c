package sshsig

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

var testTime = time.Date(2026, 4, 11, 12, 0, 0, 0, time.UTC)

func FuzzParseSignedData(f *testing.F) {
	for _, hash := range []string{"sha256", "sha512"} {
		h, err := NewHash(hash)
		if err != nil {
			f.Fatal(err)
		}
		data, err := SignedData("git", hash, h.Sum(nil))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(append(data, 0))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseSignedData(b)
		if err != nil {
			return
		}
		if again, err := SignedData(m.Namespace, m.Hash, m.Digest); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("accepted %x, re-encoded %x, %v", b, again, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	s := sign(f, newSigner(f))
	f.Add(s.Marshal())
	f.Add(s.Marshal()[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := Parse(b); err == nil && !bytes.Equal(s.Marshal(), b) {
			t.Fatalf("accepted %x, re-encoded %x", b, s.Marshal())
		}
	})
}

// FuzzParseArmored checks that what is accepted means the same after it was
// armored again.
func FuzzParseArmored(f *testing.F) {
	s := sign(f, newSigner(f))
	f.Add(s.Armor())
	f.Add([]byte(begin + end))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseArmored(text)
		if err != nil {
			return
		}
		again, err := ParseArmored(s.Armor())
		if err != nil || !bytes.Equal(again.Marshal(), s.Marshal()) {
			t.Fatalf("%s came back as %s, %v", text, s.Armor(), err)
		}
	})
}

// FuzzParseAllowedSigners checks that what is accepted means the same after it
// was written again.
func FuzzParseAllowedSigners(f *testing.F) {
	pub := string(ssh.MarshalAuthorizedKey(newSigner(f).PublicKey()))
	f.Add([]byte("me@example.com " + pub))
	f.Add([]byte(`"a b",!c namespaces="x\"y,z" ` + pub + "# comment"))
	f.Add([]byte(`* valid-after="20260101Z",valid-before="202612312359" ` + pub))
	f.Add([]byte("me cert-authority " + pub))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := ParseAllowedSigners(data)
		if err != nil {
			return
		}
		var text strings.Builder
		for _, e := range a.entries {
			text.WriteString(line(e))
		}
		again, err := ParseAllowedSigners([]byte(text.String()))
		if err != nil {
			t.Fatalf("%q\nwritten as %q: %v", data, text.String(), err)
		}
		if d := cmp.Diff(lineList(a), lineList(again)); d != "" {
			t.Fatal(d)
		}
	})
}

func lineList(a *AllowedSigners) (list []string) {
	for _, e := range a.entries {
		list = append(list, line(e))
	}
	return list
}

// line writes an entry in full.
func line(e entry) string {
	var options []string
	if e.namespaces != "" {
		options = append(options, fmt.Sprintf(`namespaces="%s"`, strings.ReplaceAll(e.namespaces, `"`, `\"`)))
	}
	if !e.validAfter.IsZero() {
		options = append(options, fmt.Sprintf(`valid-after="%s"`, e.validAfter.UTC().Format("20060102150405Z")))
	}
	if !e.validBefore.IsZero() {
		options = append(options, fmt.Sprintf(`valid-before="%s"`, e.validBefore.UTC().Format("20060102150405Z")))
	}
	return fmt.Sprintf("\"%s\" %s %s", e.principals, strings.Join(options, ","), ssh.MarshalAuthorizedKey(e.key))
}

func FuzzParsePublicKeys(f *testing.F) {
	pub := ssh.MarshalAuthorizedKey(newSigner(f).PublicKey())
	f.Add(pub)
	f.Add(append([]byte("# comment\n"), pub...))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := ParsePublicKeys(data)
		if err != nil {
			return
		}
		for _, k := range keys {
			pub, err := ssh.NewPublicKey(k)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := ParsePublicKeys(ssh.MarshalAuthorizedKey(pub)); err != nil || !cmp.Equal(again[0], k) {
				t.Fatalf("%v came back as %v, %v", k, again, err)
			}
		}
	})
}
