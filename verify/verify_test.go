package verify

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/sigtest"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/provenance"
	"github.com/sealsmith/sealsmith/sign"
)

const namespace = "sealsmith-bundle"

var (
	message = []byte("what is signed\n")
	changed = []byte("what is singed\n")
	at      = time.Date(2026, 4, 11, 12, 0, 0, 0, time.UTC)
)

// signatures are a key's signatures over message in every format.
type signatures struct {
	key       *sigtest.Key
	sshsig    []byte
	sigstore  []byte
	statement []byte
}

func signAll(t testing.TB, a key.Algorithm) signatures {
	t.Helper()
	s := signatures{key: sigtest.NewKey(t, a)}
	statement, err := provenance.ImageSignature("sha256:" + hexDigest(message))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := statement.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	var errs [3]error
	s.sshsig, errs[0] = sign.SSH(t.Context(), s.key, namespace, bytes.NewReader(message))
	s.sigstore, errs[1] = sign.Blob(t.Context(), s.key, bytes.NewReader(message))
	s.statement, errs[2] = sign.Statement(t.Context(), s.key, payload)
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return s
}

func hexDigest(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

func (s signatures) line(t testing.TB) []byte {
	t.Helper()
	line, err := sshwire.AuthorizedKey(s.key.Info().Public, "release")
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func (s signatures) trust(t testing.TB) *Trust {
	t.Helper()
	trust, err := TrustKeys(s.key.Info().Public)
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

// allowed trusts me@example.com with the key and the options.
func (s signatures) allowed(t testing.TB, options string) *Trust {
	t.Helper()
	trust, err := ParseAllowedSigners(fmt.Appendf(nil, "me@example.com %s %s", options, s.line(t)), "me@example.com")
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

func newVerifier(t testing.TB, trust *Trust) *Verifier {
	t.Helper()
	v, err := New(Policy{Trust: trust, Require: Formats, Namespace: namespace, At: at})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// wants checks that an error is a refusal for a reason.
func wants(t *testing.T, what string, err error, reason Reason) {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) || !errors.Is(err, ErrRefused) || r.Reason != reason {
		t.Errorf("%s: %v; want %q", what, err, reason)
	}
	if err != nil && (strings.Contains(err.Error(), "\n") || len(err.Error()) > 1000) {
		t.Errorf("%s: not one line: %q", what, err)
	}
}

func TestGood(t *testing.T) {
	for _, a := range key.Algorithms {
		s := signAll(t, a)
		pem, err := ParseKeys(sigtest.PEM(t, s.key.Info().Public))
		if err != nil {
			t.Fatal(err)
		}
		other := signAll(t, key.P256)
		lines, err := ParseKeys(sigtest.PEM(t, other.key.Info().Public), s.line(t))
		if err != nil {
			t.Fatal(err)
		}
		for name, trust := range map[string]*Trust{
			"key": s.trust(t), "PEM": pem, "OpenSSH": lines,
			"allowed signers": s.allowed(t, `namespaces="sealsmith-*",valid-after="20260101Z",valid-before="20261231Z"`),
		} {
			v := newVerifier(t, trust)
			result, err := v.Release(Release{Sums: message, SSHSIG: s.sshsig, Sigstore: s.sigstore})
			if err != nil {
				t.Errorf("%s, %s: %v", a, name, err)
				continue
			}
			if len(result.Signers) != 2 || result.Signers[0].Format != SSHSIG || result.Signers[1].Format != Sigstore ||
				result.Signers[0].Key != s.key.Info().ID || result.Signers[1].Key != s.key.Info().ID ||
				(result.Signers[0].Identity == "me@example.com") != (name == "allowed signers") ||
				len(result.Checks) != 4 { // whose key it is, once
				t.Errorf("%s, %s: %+v", a, name, result)
			}
			if text := strings.Join(result.Checks, "\n"); strings.Contains(text, "log") || strings.Contains(text, "timestamp") {
				t.Errorf("claims what was not checked: %s", text)
			}
			result, err = v.Statement(s.statement, provenance.ImageSignatureType, hexDigest(message))
			if err != nil || !result.Statement.HasDigest("sha256", hexDigest(message)) {
				t.Errorf("%s, %s: statement: %+v, %v", a, name, result, err)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	s, stranger := signAll(t, key.P256), signAll(t, key.P256)
	v := newVerifier(t, s.trust(t))
	wrongNamespace, err := sign.SSH(t.Context(), s.key, "git", bytes.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	ssh := func(armored, file []byte) error {
		_, err := v.SSH(armored, bytes.NewReader(file))
		return err
	}
	wants(t, "no SSHSIG", ssh(nil, message), NoSignature)
	wants(t, "junk", ssh([]byte("junk\n\x1b[31m"), message), Malformed)
	wants(t, "Sigstore bundle as SSHSIG", ssh(s.sigstore, message), Malformed)
	wants(t, "stranger's SSHSIG", ssh(stranger.sshsig, message), WrongKey)
	wants(t, "changed file", ssh(s.sshsig, changed), OtherContent)
	wants(t, "other namespace", ssh(wrongNamespace, message), WrongNamespace)

	blob := func(bundle, file []byte) error {
		_, err := v.Blob(bundle, bytes.NewReader(file))
		return err
	}
	replace := func(bundle []byte, old, with string) []byte {
		if !bytes.Contains(bundle, []byte(old)) {
			t.Fatalf("no %s in %s", old, bundle)
		}
		return bytes.Replace(bundle, []byte(old), []byte(with), 1)
	}
	wants(t, "no Sigstore bundle", blob(nil, message), NoSignature)
	wants(t, "junk", blob([]byte("junk\n"), message), Malformed)
	wants(t, "SSHSIG as Sigstore bundle", blob(s.sshsig, message), Malformed)
	wants(t, "trailing text", blob(append(bytes.Clone(s.sigstore), "{}"...), message), Malformed)
	wants(t, "unknown field", blob(replace(s.sigstore, `{"mediaType"`, `{"x":1,"mediaType"`), message), Malformed)
	wants(t, "field twice", blob(replace(s.sigstore, `{"mediaType"`, `{"mediaType":"","mediaType"`), message), Malformed)
	wants(t, "old media type", blob(replace(s.sigstore, ".v0.3+json", "+json;version=0.3"), message), Malformed)
	wants(t, "other media type", blob(replace(s.sigstore, ".v0.3+json", ".v0.2+json"), message), Malformed)
	wants(t, "too long", blob(bytes.Repeat([]byte(" "), 7<<20), message), Malformed)
	wants(t, "statement as file signature", blob(s.statement, message), Malformed)
	wants(t, "stranger's bundle", blob(stranger.sigstore, message), WrongKey)
	_, err = v.Blob(stranger.sigstore, bytes.NewReader(message))
	if id := "id:" + string(stranger.key.Info().ID[:16]) + ","; !strings.Contains(fmt.Sprint(err), id) {
		t.Errorf("%v; want %s", err, id)
	}
	wants(t, "no hint", blob(replace(s.sigstore, `"hint":"`, `"hint":"x`), message), WrongKey)
	wants(t, "certificate", blob(replace(s.sigstore, `"publicKey":{"hint":`, `"certificate":{"rawBytes":`), message), WrongKey)
	wants(t, "changed file", blob(s.sigstore, changed), OtherContent)
	wants(t, "other hash", blob(replace(s.sigstore, "SHA2_256", "SHA2_384"), message), Malformed)
	head, tail, _ := strings.Cut(string(s.sigstore), `"messageDigest":`)
	_, tail, _ = strings.Cut(tail, "},")
	wants(t, "no digest", blob([]byte(head+tail), message), Malformed)
	wants(t, "signature of another file", blob(spliced(t, s), changed), InvalidSignature)

	statement := func(bundle []byte, predicateType, digest string) error {
		_, err := v.Statement(bundle, predicateType, digest)
		return err
	}
	envelopes := replace(s.statement, `"signatures":[`, `"signatures":[{"sig":"AA=="},`)
	wants(t, "no bundle", statement(nil, provenance.ImageSignatureType, hexDigest(message)), NoSignature)
	wants(t, "file signature as statement", statement(s.sigstore, provenance.ImageSignatureType, hexDigest(message)), Malformed)
	wants(t, "stranger's statement", statement(stranger.statement, provenance.ImageSignatureType, hexDigest(message)), WrongKey)
	wants(t, "two signatures", statement(envelopes, provenance.ImageSignatureType, hexDigest(message)), Malformed)
	wants(t, "about another digest", statement(s.statement, provenance.ImageSignatureType, hexDigest(changed)), OtherContent)
	wants(t, "of another type", statement(s.statement, "https://slsa.dev/provenance/v1", hexDigest(message)), WrongStatement)
	wants(t, "other payload type", statement(replace(s.statement, "vnd.in-toto", "vnd.other"), provenance.ImageSignatureType, hexDigest(message)), WrongStatement)
	wants(t, "payload no statement", statement(replace(s.statement, `"payload":"`, `"payload":"AAAA`), provenance.ImageSignatureType, hexDigest(message)), Malformed)
	if err := statement(s.statement, provenance.ImageSignatureType, "sha256:00"); !errors.Is(err, key.ErrUsage) {
		t.Errorf("bad digest: %v", err)
	}
}

// spliced is a bundle whose digest is that of the changed file and whose
// signature is over the other.
func spliced(t *testing.T, s signatures) []byte {
	t.Helper()
	other, err := sign.Blob(t.Context(), s.key, bytes.NewReader(changed))
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(other), `"signature":`)
	_, tail, _ := strings.Cut(string(s.sigstore), `"signature":`)
	return []byte(head + `"signature":` + tail)
}

func TestAllowedSigners(t *testing.T) {
	s, stranger := signAll(t, key.P256), signAll(t, key.P256)
	release := Release{Sums: message, SSHSIG: s.sshsig, Sigstore: s.sigstore}
	for name, c := range map[string]struct {
		trust *Trust
		want  Reason
	}{
		"namespace":     {s.allowed(t, `namespaces="git"`), WrongNamespace},
		"expired":       {s.allowed(t, `valid-before="20260101Z"`), Expired},
		"not yet valid": {s.allowed(t, `valid-after="20270101Z"`), NotYetValid},
		"other key":     {stranger.allowed(t, ""), WrongKey},
	} {
		for _, f := range Formats {
			v, err := New(Policy{Trust: c.trust, Require: []Format{f}, Namespace: namespace, At: at})
			if err != nil {
				t.Fatal(err)
			}
			_, err = v.Release(release)
			wants(t, name+", "+string(f), err, c.want)
		}
	}
	_, err := ParseAllowedSigners(append([]byte("you@example.com "), s.line(t)...), "me@example.com")
	wants(t, "unknown identity", err, UnknownIdentity)
	if _, err := ParseAllowedSigners(append([]byte("* "), s.line(t)...), ""); !errors.Is(err, key.ErrUsage) {
		t.Errorf("no identity: %v", err)
	}
	// Without a namespace in the policy, a key restricted to one does not count.
	v, err := New(Policy{Trust: s.allowed(t, `namespaces="git"`), Require: []Format{Sigstore}, At: at})
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Release(release)
	wants(t, "no namespace", err, WrongNamespace)
}

func TestReleaseNeedsEveryFormat(t *testing.T) {
	s := signAll(t, key.P256)
	v := newVerifier(t, s.trust(t))
	_, err := v.Release(Release{Sums: message, SSHSIG: s.sshsig})
	wants(t, "no Sigstore bundle", err, NoSignature)
	_, err = v.Release(Release{Sums: message, Sigstore: s.sigstore})
	wants(t, "no SSHSIG", err, NoSignature)
	_, err = v.Release(Release{Sums: changed, SSHSIG: s.sshsig, Sigstore: s.sigstore})
	wants(t, "changed", err, OtherContent)
	v, err = New(Policy{Trust: s.trust(t), Require: []Format{SSHSIG}, Namespace: namespace, At: at})
	if err != nil {
		t.Fatal(err)
	}
	result, err := v.Release(Release{Sums: message, SSHSIG: s.sshsig, Sigstore: []byte("junk")})
	if err != nil || len(result.Signers) != 1 {
		t.Errorf("one format: %+v, %v", result, err)
	}
	if _, err := v.Blob(s.sigstore, bytes.NewReader(message)); !errors.Is(err, key.ErrUsage) {
		t.Errorf("format that the policy does not name: %v", err)
	}
}

func TestPolicyIsComplete(t *testing.T) {
	good := Policy{Trust: signAll(t, key.P256).trust(t), Require: Formats, Namespace: namespace, At: at}
	for name, change := range map[string]func(*Policy){
		"empty":          func(p *Policy) { *p = Policy{} },
		"no trust":       func(p *Policy) { p.Trust = nil },
		"empty trust":    func(p *Policy) { p.Trust = &Trust{} },
		"no format":      func(p *Policy) { p.Require = nil },
		"unknown format": func(p *Policy) { p.Require = []Format{"pgp"} },
		"no time":        func(p *Policy) { p.At = time.Time{} },
		"no namespace":   func(p *Policy) { p.Namespace = "" },
		"bad namespace":  func(p *Policy) { p.Namespace = "a\nb" },
	} {
		p := good
		change(&p)
		if v, err := New(p); !errors.Is(err, key.ErrUsage) || v != nil {
			t.Errorf("%s: %v, %v", name, v, err)
		}
	}
	good.Namespace, good.Require = "", []Format{Sigstore}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
}

var errDisk = errors.New("disk on fire")

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errDisk }

func TestReadErrorIsNoRefusal(t *testing.T) {
	s := signAll(t, key.P256)
	v := newVerifier(t, s.trust(t))
	if _, err := v.SSH(s.sshsig, failingReader{}); !errors.Is(err, errDisk) || errors.Is(err, ErrRefused) {
		t.Error(err)
	}
	if _, err := v.Blob(s.sigstore, failingReader{}); !errors.Is(err, errDisk) || errors.Is(err, ErrRefused) {
		t.Error(err)
	}
}
