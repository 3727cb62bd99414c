package bundle

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"testing"
)

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestBodyDER(t *testing.T) {
	der := testCA(t, "IFX", 1).X509.Raw
	for name, body := range map[string][]byte{
		"DER":                der,
		"PEM":                pemOf(der),
		"PEM with CRLF":      bytes.ReplaceAll(pemOf(der), []byte("\n"), []byte("\r\n")),
		"PEM with text":      []byte("Our CA:\n" + string(pemOf(der)) + "see https://pki.example\n"),
		"base64":             []byte(base64.StdEncoding.EncodeToString(der)),
		"base64 in lines":    bytes.TrimSuffix(bytes.TrimPrefix(pemOf(der), []byte("-----BEGIN CERTIFICATE-----\n")), []byte("-----END CERTIFICATE-----\n")),
		"base64 with spaces": []byte(" " + base64.StdEncoding.EncodeToString(der) + "\r\n"),
	} {
		if got, err := bodyDER(body); err != nil || !bytes.Equal(got, der) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, c := range []struct {
		body []byte
		want string
	}{
		{nil, "an empty body came"},
		{[]byte("<!DOCTYPE html>"), "an HTML or XML page came"},
		{[]byte("\n  <html>"), "an HTML or XML page came"},
		{[]byte("not found"), "9 bytes came that are neither DER nor PEM"},
		{[]byte("\x1b[2J"), "4 bytes came that are neither DER nor PEM"},
		{append(bytes.Clone(der), 0, 0), "2 bytes came after the certificate"},
		{der[:100], "100 bytes came that are no whole DER structure"},
		{[]byte(base64.StdEncoding.EncodeToString(append(bytes.Clone(der), 0))), "1 bytes came after the certificate"},
		{append(pemOf(der), pemOf(der)...), "2 PEM blocks came; one certificate is wanted"},
		{append(pemOf(der), "-----BEGIN PRIVATE KEY-----\n"...), "2 PEM blocks came"},
		{pem.EncodeToMemory(&pem.Block{Type: "PKCS7", Bytes: der}), `PEM of type "PKCS7" came`},
		{pemOf(der)[:200], "damaged PEM came"},
		{append(pemOf(der), "-----END CERTIFICATE-----\n"...), "damaged PEM came"},
		{pemOf(append(bytes.Clone(der), 0)), "1 bytes came after the certificate"},
	} {
		_, err := bodyDER(c.body)
		wantError(t, err, c.want)
	}
}

// FuzzBodyDER: what is taken out of a body is one DER structure, and comes out
// again however it is wrapped.
func FuzzBodyDER(f *testing.F) {
	der := testCA(f, "IFX", 1).X509.Raw
	f.Add(der)
	f.Add(pemOf(der))
	f.Add([]byte(base64.StdEncoding.EncodeToString(der)))
	f.Add([]byte("0\x00"))
	f.Add([]byte("<html>"))
	f.Fuzz(func(t *testing.T, body []byte) {
		der, err := bodyDER(body)
		if err != nil {
			return
		}
		for _, wrapped := range [][]byte{der, pemOf(der), []byte(base64.StdEncoding.EncodeToString(der))} {
			if again, err := bodyDER(wrapped); err != nil || !bytes.Equal(again, der) {
				t.Errorf("%q: %x, %v; want %x", wrapped, again, err, der)
			}
		}
	})
}
