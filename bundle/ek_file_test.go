package bundle

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// intelJSON is an answer as Intel's service gives it.
func intelJSON(t testing.TB, encoded string) []byte {
	t.Helper()
	out, err := json.Marshal(map[string]string{"pubhash": "ab", "certificate": encoded})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestParseEKFile(t *testing.T) {
	root := newRoot(t, "Root")
	ca := root.newCA(t, "CA")
	leaf, other := ca.newEK(t), ca.newEK(t)
	encoded := base64.URLEncoding.EncodeToString(leaf.Raw)
	escaped := strings.ReplaceAll(encoded, "=", "%3D")
	filled := func(b byte, n int) []byte { return append(bytes.Clone(leaf.Raw), bytes.Repeat([]byte{b}, n)...) }
	for _, c := range []struct {
		name    string
		data    []byte
		eks     []*x509.Certificate
		helpers []*x509.Certificate
	}{
		{"DER", leaf.Raw, []*x509.Certificate{leaf}, nil},
		{"NV index filled with zeros", filled(0, 900), []*x509.Certificate{leaf}, nil},
		{"NV index filled with ones", filled(0xff, 1), []*x509.Certificate{leaf}, nil},
		{"PEM", pemFile(leaf), []*x509.Certificate{leaf}, nil},
		{"PEM with CRLF and text", append([]byte("text\r\n"), bytes.ReplaceAll(pemFile(leaf), []byte("\n"), []byte("\r\n"))...), []*x509.Certificate{leaf}, nil},
		{"PEM with its issuers", pemFile(leaf, ca.cert, root.cert), []*x509.Certificate{leaf}, []*x509.Certificate{ca.cert, root.cert}},
		{"PEM of tpm ek --export", pemFile(leaf, other, ca.cert), []*x509.Certificate{leaf, other}, []*x509.Certificate{ca.cert}},
		{"PEM with the CA first", pemFile(ca.cert, leaf), []*x509.Certificate{ca.cert, leaf}, nil},
		{"Intel's JSON", intelJSON(t, encoded), []*x509.Certificate{leaf}, nil},
		{"the same without padding", intelJSON(t, strings.TrimRight(encoded, "=")), []*x509.Certificate{leaf}, nil},
		{"the same as a URL has it", append([]byte(" \n"), intelJSON(t, escaped)...), []*x509.Certificate{leaf}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := ParseEKFile(c.data)
			if err != nil {
				t.Fatal(err)
			}
			wantTheSame(t, f.EKs, c.eks)
			wantTheSame(t, f.Helpers, c.helpers)
		})
	}
}

func wantTheSame(t *testing.T, got, want []*x509.Certificate) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d certificates, want %d", len(got), len(want))
	}
	for i := range got {
		if !got[i].Equal(want[i]) {
			t.Errorf("certificate %d is that of %s", i, got[i].Subject)
		}
	}
}

func TestParseEKFileRefuses(t *testing.T) {
	root := newRoot(t, "Root")
	leaf := root.newEK(t)
	encoded := base64.URLEncoding.EncodeToString(leaf.Raw)
	behind := func(s string) []byte { return append(bytes.Clone(leaf.Raw), s...) }
	crowd := []*x509.Certificate{leaf}
	for range limits.BundleHelpers + 1 {
		crowd = append(crowd, root.cert)
	}
	for _, c := range []struct {
		name string
		data []byte
		text string
	}{
		{"empty", nil, "empty"},
		{"erased NV index", bytes.Repeat([]byte{0xff}, 1600), "neither DER nor PEM"},
		{"text", []byte("hello\n"), "neither DER nor PEM"},
		{"text that begins like DER", []byte("0"), "not whole"},
		{"cut off", leaf.Raw[:len(leaf.Raw)-1], "not whole"},
		{"another certificate behind it", behind(string(leaf.Raw)), "neither all 00 nor all FF"},
		{"both kinds of padding", behind("\x00\xff"), "2 bytes after the certificate"},
		{"padding, and then something", behind("\x00\x00\x01"), "3 bytes after the certificate"},
		{"padding of bytes that are as little text as FF", behind("\xff\x80\xfe\xff"), "4 bytes after the certificate"},
		{"padding of another kind", behind("  "), "2 bytes after the certificate"},
		{"other DER", []byte{0x30, 3, 2, 1, 5}, "not a certificate"},
		{"large", append([]byte{0x30, 0x83, 1, 0, 0}, make([]byte, 1<<16)...), "more than 65536 bytes"},
		{"private key in PEM", append(pemFile(leaf), "-----BEGIN PRIVATE KEY-----\n"...), "line "},
		{"damaged PEM", bytes.Replace(pemFile(leaf), []byte("\nM"), []byte("\n!"), 1), "begins in line 1"},
		{"PEM that is no certificate", []byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"), "begins in line 1: not a certificate"},
		{"PEM with too many CAs", pemFile(crowd...), "more than 32 certificates of CAs"},
		{"JSON without a certificate", []byte(`{"pubhash":"00"}`), "without a certificate"},
		{"JSON with something else", []byte(`{"certificate":7}`), "JSON: "},
		{"JSON with two certificates", []byte(`{"certificate":"MAA","Certificate":"MAA"}`), "more than one"},
		{"JSON and more", append(intelJSON(t, encoded), '{'), "JSON: "},
		{"JSON with plain base64", intelJSON(t, "+/+/"), "not in base64url"},
		{"JSON with padding", intelJSON(t, base64.URLEncoding.EncodeToString(behind("\x00\x00"))), "not a certificate"},
		{"JSON array", []byte(`[]`), "neither DER nor PEM"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseEKFile(c.data)
			wantReason(t, err, Malformed, c.text)
		})
	}
}

// FuzzEKFile: what a file came in makes no difference. Nothing that is in it is
// accepted but our certificate, and that as if it had come alone.
func FuzzEKFile(f *testing.F) {
	serial := []change{func(c *x509.Certificate) { c.SerialNumber = big.NewInt(7) }}
	root := &authority{certify(f, nil, throwawayKey, caTemplate("Root"), serial), throwawayKey}
	anchors := anchorsOf(f, root.cert)
	leaf := certify(f, root, throwawayEK, ekTemplate(f), serial)
	f.Add(leaf.Raw)
	f.Add(append(bytes.Clone(leaf.Raw), 0, 0, 0))
	f.Add(append(bytes.Clone(leaf.Raw[:len(leaf.Raw)-1]), leaf.Raw[len(leaf.Raw)-1]^1)) // another signature
	f.Add(append(bytes.Clone(leaf.Raw), 0xff))
	f.Add(pemFile(leaf, root.cert))
	f.Add(pemFile(root.cert, leaf, leaf))
	f.Add(intelJSON(f, base64.URLEncoding.EncodeToString(leaf.Raw)))
	f.Add(intelJSON(f, strings.ReplaceAll(base64.URLEncoding.EncodeToString(leaf.Raw), "=", "%3D")))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := ParseEKFile(data)
		if err != nil {
			wantReason(t, err, Malformed, "")
			return
		}
		if len(file.EKs) == 0 || len(file.Helpers) > limits.BundleHelpers {
			t.Fatalf("%d EK certificates, %d helpers", len(file.EKs), len(file.Helpers))
		}
		for _, c := range file.EKs {
			r := anchors.ReportEK(c, EKOptions{At: ekTime, Helpers: file.Helpers})
			if ours := bytes.Equal(c.Raw, leaf.Raw); (r.Refused == nil) != ours {
				t.Errorf("%x: %v", data, r.Refused)
			}
			if _, err := anchors.VerifyEK(parsed(t, c.Raw), nil, ekTime); (err == nil) != (r.Refused == nil) {
				t.Errorf("%x: alone %v, in its file %v", data, err, r.Refused)
			}
		}
	})
}
