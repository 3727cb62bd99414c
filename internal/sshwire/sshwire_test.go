package sshwire

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/sshsig"
)

var testKey = func() []byte {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	blob, err := Blob(k.Public())
	if err != nil {
		panic(err)
	}
	return blob
}()

func login(change func(*UserAuth)) []byte {
	u := &UserAuth{SessionID: bytes.Repeat([]byte{7}, 32), User: "git", Algorithm: ssh.KeyAlgoECDSA256, Key: testKey}
	if change != nil {
		change(u)
	}
	return u.Marshal()
}

func fileSignature(t testing.TB) []byte { return fileSignatureFor(t, "git") }

func fileSignatureFor(t testing.TB, namespace string) []byte {
	t.Helper()
	digest := sha256.Sum256([]byte("file"))
	b, err := sshsig.SignedData(namespace, "sha256", digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestClassify(t *testing.T) {
	hostBound := login(func(u *UserAuth) { u.HostKey = testKey })
	other := login(func(u *UserAuth) { u.Key = append(bytes.Clone(testKey), 0) })
	flag := login(nil)
	// The boolean stands behind session id, message, user, service, method.
	flag[4+32+1+4+3+4+len(service)+4+len(methodPublicKey)] = 2
	for _, c := range []struct {
		name string
		data []byte
		want Shape
		err  string
	}{
		{"login", login(nil), ShapeUserAuth, ""},
		{"host-bound login", hostBound, ShapeUserAuth, ""},
		{"login without a user name", login(func(u *UserAuth) { u.User = "" }), ShapeUserAuth, ""},
		{"file signature", fileSignature(t), ShapeSSHSIG, ""},
		{"login with another key", other, ShapeUnrecognised, "another key"},
		{"other algorithm", login(func(u *UserAuth) { u.Algorithm = ssh.KeyAlgoRSA }), ShapeUnrecognised, `algorithm "ssh-rsa"`},
		{"no session id", login(func(u *UserAuth) { u.SessionID = nil }), ShapeUnrecognised, "session id of 0 bytes"},
		{"long session id", login(func(u *UserAuth) { u.SessionID = make([]byte, 129) }), ShapeUnrecognised, "session id of 129 bytes"},
		{"trailing byte", append(login(nil), 0), ShapeUnrecognised, "malformed login"},
		{"trailing byte, host-bound", append(bytes.Clone(hostBound), 0), ShapeUnrecognised, "malformed login"},
		{"cut", login(nil)[:100], ShapeUnrecognised, "malformed login"},
		{"empty host key", append(bytes.Clone(hostBound[:len(hostBound)-4-len(testKey)]), 0, 0, 0, 0), ShapeUnrecognised, "host key"},
		{"plain method with host key", bytes.Replace(hostBound, lengthPrefixed(methodHostBound), lengthPrefixed(methodPublicKey), 1), ShapeUnrecognised, "malformed login"},
		{"other method", bytes.Replace(login(nil), lengthPrefixed(methodPublicKey), lengthPrefixed("hostbased"), 1), ShapeUnrecognised, `method "hostbased"`},
		{"other service", bytes.Replace(login(nil), lengthPrefixed(service), lengthPrefixed("ssh-userauth"), 1), ShapeUnrecognised, `service "ssh-userauth"`},
		{"other message", bytes.Replace(login(nil), []byte{50, 0, 0, 0, 3}, []byte{51, 0, 0, 0, 3}, 1), ShapeUnrecognised, "nothing that SSH"},
		{"no signature flag", bytes.Replace(login(nil), []byte("publickey\x01"), []byte("publickey\x00"), 1), ShapeUnrecognised, "malformed login"},
		{"second spelling of true", flag, ShapeUnrecognised, "malformed login"},
		{"SSHSIG with trailing byte", append(fileSignature(t), 0), ShapeUnrecognised, "malformed"},
		{"SSHSIG alone", []byte("SSHSIG"), ShapeUnrecognised, "malformed"},
		{"SSHSIG as long as SHA-512", fileSignatureFor(t, "file"), ShapeSSHSIG, ""},
		{"SSHSIG cut to the length of SHA-384", fileSignature(t)[:48], ShapeUnrecognised, "malformed"},
		{"certificate", certified(t, nil), ShapeCertificate, ""},
		{"certificate with trailing byte", append(certified(t, nil), 0), ShapeUnrecognised, "malformed certificate"},
		{"certificate by another authority", certified(t, func(c *ssh.Certificate) { c.SignatureKey = publicKey(t) }), ShapeUnrecognised, "another authority"},
		{"host key proof", proof(nil), ShapeHostKeyProof, ""},
		{"proof of another host key", proof(func(p *HostKeyProof) { p.HostKey = []byte("k") }), ShapeUnrecognised, "another host key"},
		{"proof without session id", proof(func(p *HostKeyProof) { p.SessionID = nil }), ShapeUnrecognised, "session id of 0 bytes"},
		{"proof with long session id", proof(func(p *HostKeyProof) { p.SessionID = make([]byte, 129) }), ShapeUnrecognised, "session id of 129 bytes"},
		{"proof with trailing byte", append(proof(nil), 0), ShapeUnrecognised, "malformed host key proof"},
		{"proof, cut", proof(nil)[:60], ShapeUnrecognised, "malformed host key proof"},
		{"another object of OpenSSH's", append(lengthPrefixed("x@openssh.com"), "rest"...), ShapeUnrecognised, "nothing that SSH"},
		{"SHA-256", make([]byte, 32), ShapeExchangeHash, ""},
		{"SHA-384", make([]byte, 48), ShapeExchangeHash, ""},
		{"SHA-512", make([]byte, 64), ShapeExchangeHash, ""},
		{"SHA-1", make([]byte, 20), ShapeUnrecognised, "nothing that SSH"},
		{"one byte more than SHA-256", make([]byte, 33), ShapeUnrecognised, "nothing that SSH"},
		{"DSSE as long as a hash", []byte("DSSEv1 1 a 18 012345678901234567"), ShapeUnrecognised, "nothing that SSH"},
		{"nothing", nil, ShapeUnrecognised, "nothing that SSH"},
		{"ssh-add -T", bytes.Repeat([]byte{0xa5}, 1024), ShapeUnrecognised, "nothing that SSH"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Classify(c.data, testKey, ssh.KeyAlgoECDSA256)
			if got.Shape != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %q, %v; want %q, %q", got.Shape, err, c.want, c.err)
			}
		})
	}
}

func lengthPrefixed(s string) []byte { return ssh.Marshal(struct{ S string }{s}) }

func TestResembles(t *testing.T) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificateRequest(request)
	if err != nil {
		t.Fatal(err)
	}
	const root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
	for _, c := range []struct {
		name    string
		message []byte
		want    Shape // empty: an ordinary message
	}{
		{"SSHSIG", fileSignature(t), ShapeSSHSIG},
		{"SSHSIG, cut", []byte("SSHSIG"), ShapeSSHSIG},
		{"DSSE", []byte("DSSEv1 1 a 1 b"), ShapeDSSE},
		{"DSSE, malformed", []byte("DSSEv1 "), ShapeDSSE},
		{"login", login(nil), ShapeUserAuth},
		{"login with another key", login(func(u *UserAuth) { u.Key = []byte("k") }), ShapeUserAuth},
		{"login with trailing data", append(login(nil), "more"...), ShapeUserAuth},
		{"host-based login", bytes.Replace(login(nil), lengthPrefixed(methodPublicKey), lengthPrefixed("hostbased"), 1), ShapeUserAuth},
		{"certificate", append(lengthPrefixed("ecdsa-sha2-nistp256-cert-v01@openssh.com"), "rest"...), ShapeCertificate},
		{"host key proof", append(lengthPrefixed("hostkeys-prove-00@openssh.com"), "rest"...), ShapeHostKeyProof},
		{"another object of OpenSSH's", append(lengthPrefixed("x@openssh.com"), "rest"...), ShapeOpenSSH},
		{"body of an X.509 certificate", certificate.RawTBSCertificate, ShapeX509},
		{"body of a request", parsed.RawTBSCertificateRequest, ShapeX509},
		{"signed note", []byte("text\n\n\u2014 example.com AAAAAAAA\n"), ShapeNote},
		{"checkpoint", []byte("example.com/log\n20852163\n" + root + "\n"), ShapeNote},
		{"cosignature", []byte("cosignature/v1\ntime 1679315147\nexample.com/log\n1\n" + root + "\n"), ShapeNote},

		{"empty", nil, ""},
		{"text", []byte("three\nordinary\nlines\n"), ""},
		{"check sums", []byte(strings.Repeat("0", 64) + "  file\n"), ""},
		{"a whole certificate", der, ""},
		{"zeros", make([]byte, 1000), ""},
		{"ELF", []byte("\x7fELF\x02\x01\x01\x00"), ""},
		{"JSON", []byte(`{"a": 1}`), ""},
		{"ASN.1", mustDER(t, []int{1, 2, 3}), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, yes := Resembles(c.message)
			if got != c.want || yes != (c.want != "") {
				t.Errorf("got %q, %v; want %q", got, yes, c.want)
			}
		})
	}
}

func mustDER(t *testing.T, v any) []byte {
	t.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestBlob(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	large, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, pub := range []crypto.PublicKey{ec.Public(), large.Public(), r.Public()} {
		blob, err := Blob(pub)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseBlob(blob)
		if err != nil || !got.(interface{ Equal(crypto.PublicKey) bool }).Equal(pub) {
			t.Errorf("%T came back as %v, %v", pub, got, err)
		}
		oracle, err := ssh.NewPublicKey(pub)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := Fingerprint(blob), ssh.FingerprintSHA256(oracle); got != want {
			t.Errorf("fingerprint %s, want %s", got, want)
		}
		for _, bad := range [][]byte{nil, blob[:len(blob)-1], append(bytes.Clone(blob), 0)} {
			if _, err := ParseBlob(bad); err == nil {
				t.Errorf("parsed %x", bad)
			}
		}
	}
	if _, err := Blob("no key"); err == nil {
		t.Error("a string became a public key")
	}
}

// TestEncodeSignature has x/crypto verify what we encode.
func TestEncodeSignature(t *testing.T) {
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	r, _ := rsa.GenerateKey(rand.Reader, 2048)
	for _, c := range []struct {
		signer crypto.Signer
		hash   crypto.Hash
	}{{p256, 0}, {p384, 0}, {p521, 0}, {r, crypto.SHA256}, {r, crypto.SHA512}} {
		name, hash, err := Algorithm(c.signer.Public(), c.hash)
		if err != nil {
			t.Fatal(err)
		}
		h := hash.New()
		h.Write([]byte("message"))
		raw, err := c.signer.Sign(rand.Reader, h.Sum(nil), hash)
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := EncodeSignature(c.signer.Public(), name, raw)
		if err != nil {
			t.Fatal(err)
		}
		var s ssh.Signature
		if err := ssh.Unmarshal(encoded, &s); err != nil {
			t.Fatal(err)
		}
		k, err := ssh.NewPublicKey(c.signer.Public())
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Verify([]byte("message"), &s); err != nil || s.Format != name {
			t.Errorf("%s: format %s, %v", name, s.Format, err)
		}
	}
	if _, _, err := Algorithm(r.Public(), crypto.SHA1); err == nil {
		t.Error("SHA-1 has an algorithm")
	}
	if _, err := EncodeSignature(p256.Public(), ssh.KeyAlgoECDSA256, []byte("no DER")); err == nil {
		t.Error("no DER was encoded")
	}
}

// FuzzClassify checks that what is recognised re-encodes to itself, and that the
// blob form of the agent would refuse it, but for a bare hash.
func FuzzClassify(f *testing.F) {
	f.Add(login(nil))
	f.Add(login(func(u *UserAuth) { u.HostKey = testKey }))
	f.Add(append(login(nil), 0))
	f.Add(fileSignature(f))
	f.Add([]byte("SSHSIG"))
	f.Add(proof(nil))
	f.Add(certified(f, nil))
	f.Add(make([]byte, 48))
	f.Add([]byte("a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, algorithm := testKey, ssh.KeyAlgoECDSA256
		if u, err := ParseUserAuth(data); err == nil {
			key, algorithm = u.Key, u.Algorithm
		}
		got, err := Classify(data, key, algorithm)
		if (err == nil) == (got.Shape == ShapeUnrecognised) {
			t.Fatalf("%x classified as %q, %v", data, got.Shape, err)
		}
		again := data
		switch got.Shape {
		case ShapeUserAuth:
			again = got.UserAuth.Marshal()
		case ShapeSSHSIG:
			again, err = sshsig.SignedData(got.SSHSIG.Namespace, got.SSHSIG.Hash, got.SSHSIG.Digest)
		case ShapeCertificate:
			again = MarshalCertificate(got.Certificate)
		case ShapeHostKeyProof:
			var p *HostKeyProof
			if p, err = ParseHostKeyProof(data); err == nil {
				again = p.Marshal()
			}
		}
		if got.Shape != ShapeUnrecognised && (err != nil || !bytes.Equal(again, data)) {
			t.Fatalf("accepted %x as %q, re-encoded %x, %v", data, got.Shape, again, err)
		}
		resembled, _ := Resembles(data)
		if wanted := got.Shape; wanted != ShapeUnrecognised && wanted != ShapeExchangeHash && resembled != wanted {
			t.Fatalf("%x is %q and resembles %q", data, wanted, resembled)
		}
		// The parsers alone must not accept more than Classify does.
		if _, err := ParseUserAuth(data); err == nil && got.Shape != ShapeUserAuth {
			t.Fatalf("login %x classified as %q", data, got.Shape)
		}
	})
}

// FuzzParseBlob checks that an accepted public key re-encodes to itself.
func FuzzParseBlob(f *testing.F) {
	f.Add(testKey)
	f.Add(append(bytes.Clone(testKey), 0))
	f.Add(lengthPrefixed("ssh-ed25519"))
	f.Fuzz(func(t *testing.T, data []byte) {
		pub, err := ParseBlob(data)
		if err != nil {
			return
		}
		again, err := Blob(pub)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("accepted %x, re-encoded %x, %v", data, again, err)
		}
	})
}
