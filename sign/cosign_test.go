package sign

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sealsmith/sealsmith/internal/sigtest"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/provenance"
)

// TestCosignVerifies has cosign verify what we sign, and refuse what was
// changed. P-384 stands for the warning of [CosignWarning].
func TestCosignVerifies(t *testing.T) {
	program := testenv.Need(t, testenv.Cosign)
	for _, c := range []struct {
		algorithm key.Algorithm
		flags     []string // without which cosign 3 fails
	}{
		{key.P256, nil},
		{key.RSA2048, nil},
		{key.RSA3072, nil},
		{key.P384, []string{"--signature-digest-algorithm", "sha384"}},
	} {
		t.Run(string(c.algorithm), func(t *testing.T) {
			t.Parallel()
			k := sigtest.NewKey(t, c.algorithm)
			dir := t.TempDir()
			write := func(name string, data []byte) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
				return path
			}
			cosign := func(args ...string) error {
				cmd := exec.CommandContext(t.Context(), program, args...)
				cmd.Env = []string{"HOME=" + dir}
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Logf("cosign %s: %v\n%s", args[0], err, out)
				}
				return err
			}
			blob, err := Blob(t.Context(), k, bytes.NewReader(message))
			if err != nil {
				t.Fatal(err)
			}
			envelope, err := Statement(t.Context(), k, statement(t))
			if err != nil {
				t.Fatal(err)
			}
			file, changed := write("file", message), write("changed", append([]byte("x"), message...))
			pub := write("pub.pem", sigtest.PEM(t, k.Info().Public))
			stranger := write("stranger.pem", sigtest.PEM(t, sigtest.NewKey(t, key.P256).Info().Public))

			verifyBlob := []string{"verify-blob", "--insecure-ignore-tlog", "--bundle", write("blob.json", blob)}
			verifyStatement := []string{
				"verify-blob-attestation", "--insecure-ignore-tlog", "--type", provenance.ImageSignatureType,
				"--bundle", write("statement.json", envelope),
			}
			for _, verify := range [][]string{verifyBlob, verifyStatement} {
				verify := slices.Concat(verify, c.flags)
				if err := cosign(slices.Concat(verify, []string{"--key", pub, file})...); err != nil {
					t.Errorf("%s refuses the good bundle", verify[0])
				}
				if cosign(slices.Concat(verify, []string{"--key", pub, changed})...) == nil {
					t.Errorf("%s accepts another file", verify[0])
				}
				if cosign(slices.Concat(verify, []string{"--key", stranger, file})...) == nil {
					t.Errorf("%s accepts another key", verify[0])
				}
			}
			for _, verify := range [][]string{verifyBlob, verifyStatement} {
				if c.flags != nil && cosign(slices.Concat(verify, []string{"--key", pub, file})...) == nil {
					t.Errorf("%s needs no flags any more: CosignWarning is out of date", verify[0])
				}
			}
		})
	}
}
