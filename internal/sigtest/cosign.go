package sigtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// The files of a [Cosign] after [Cosign.GenerateKey]. Services is there from the
// start, for the flag --signing-config: neither a log nor timestamps.
const (
	CosignKey = "cosign.key"
	CosignPub = "cosign.pub"
	Services  = "services.json"
)

// Cosign is cosign in a folder of its own; its working folder, where the files
// that it reads and writes stand, is its home, too.
type Cosign struct {
	t            testing.TB
	program, dir string
}

// NewCosign asks for the program.
func NewCosign(t testing.TB) *Cosign {
	t.Helper()
	c := &Cosign{t, testenv.Need(t, testenv.Cosign), t.TempDir()}
	c.Write(Services, []byte(`{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}`))
	return c
}

// Run runs cosign. What it says goes to the test's log when it fails.
func (c *Cosign) Run(args ...string) error {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), c.program, args...)
	cmd.Dir = c.dir
	cmd.Env = []string{"HOME=" + c.dir, "COSIGN_PASSWORD="}
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Logf("cosign %q: %v\n%s", args, err, out)
	}
	return err
}

// MustRun ends the test when cosign fails.
func (c *Cosign) MustRun(args ...string) {
	c.t.Helper()
	if c.Run(args...) != nil {
		c.t.FailNow()
	}
}

// GenerateKey makes [CosignKey] and [CosignPub].
func (c *Cosign) GenerateKey() {
	c.t.Helper()
	c.MustRun("generate-key-pair")
}

// Write puts a file into cosign's folder.
func (c *Cosign) Write(name string, data []byte) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), data, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// Read reads a file from cosign's folder.
func (c *Cosign) Read(name string) []byte {
	c.t.Helper()
	data, err := os.ReadFile(filepath.Join(c.dir, name))
	if err != nil {
		c.t.Fatal(err)
	}
	return data
}
