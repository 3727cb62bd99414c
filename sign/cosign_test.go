package sign

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/sigtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/provenance"
)

// TestCosignVerifies has cosign verify what we sign, and refuse what was
// changed, with the flags that [CosignWarning] names.
func TestCosignVerifies(t *testing.T) {
	for _, c := range []struct {
		algorithm key.Algorithm
		flags     []string // without which cosign 3 fails
	}{
		{key.P256, nil},
		{key.RSA2048, nil},
		{key.RSA3072, nil},
		{key.RSA4096, nil},
		{key.P384, []string{"--signature-digest-algorithm", "sha384"}},
		{key.P521, []string{"--signature-digest-algorithm", "sha512"}},
	} {
		t.Run(string(c.algorithm), func(t *testing.T) {
			t.Parallel()
			k := sigtest.NewKey(t, c.algorithm)
			cosign := sigtest.NewCosign(t)
			blob, err := Blob(t.Context(), k, bytes.NewReader(message))
			if err != nil {
				t.Fatal(err)
			}
			envelope, err := Statement(t.Context(), k, statement(t))
			if err != nil {
				t.Fatal(err)
			}
			for name, data := range map[string][]byte{
				"file": message, "changed": append([]byte("x"), message...),
				"blob.json": blob, "statement.json": envelope,
				"pub.pem":      sigtest.PEM(t, k.Info().Public),
				"stranger.pem": sigtest.PEM(t, sigtest.NewKey(t, key.P256).Info().Public),
			} {
				cosign.Write(name, data)
			}
			for _, verify := range [][]string{
				{"verify-blob", "--insecure-ignore-tlog", "--bundle", "blob.json"},
				{"verify-blob-attestation", "--insecure-ignore-tlog", "--bundle", "statement.json", "--type", provenance.ImageSignatureType},
			} {
				try := func(key, file string, flags ...string) error {
					return cosign.Run(slices.Concat(verify, flags, []string{"--key", key, file})...)
				}
				if try("pub.pem", "file", c.flags...) != nil {
					t.Errorf("%s refuses the good bundle", verify[0])
				}
				if try("pub.pem", "changed", c.flags...) == nil {
					t.Errorf("%s accepts another file", verify[0])
				}
				if try("stranger.pem", "file", c.flags...) == nil {
					t.Errorf("%s accepts another key", verify[0])
				}
				if c.flags != nil && !strings.Contains(CosignWarning(c.algorithm), strings.Join(c.flags, " ")) {
					t.Errorf("the warning does not name %q", c.flags)
				}
				if c.flags != nil && try("pub.pem", "file") == nil {
					t.Errorf("%s needs no flags any more: CosignWarning is out of date", verify[0])
				}
			}
		})
	}
}
