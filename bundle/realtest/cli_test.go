package realtest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/testenv"
)

// TestPublishedBundlesByTheProgram: the same bytes from any folder, in a file of any
// name and on the standard output.
func TestPublishedBundlesByTheProgram(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "sealsmith")
	compile := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/sealsmith")
	compile.Dir = testenv.Root()
	if text, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	run := func(folder string, k bundle.Kind, output string) []byte {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, "bundle", "build", "--format", "tpmtb", "--kind", string(k),
			"--date", publishedDate, "--commit", publishedCommit, "--store", *certStore, "--offline", "--output", output, "--quiet")
		cmd.Dir = folder
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil || stderr.Len() > 0 {
			t.Fatalf("%v: %s", err, &stderr)
		}
		return stdout.Bytes()
	}
	for k, want := range published {
		for _, folder := range []string{dir, "/", testenv.Root()} {
			run(folder, k, filepath.Join(dir, "other.pem"))
			file, err := os.ReadFile(filepath.Join(dir, "other.pem"))
			if err != nil {
				t.Fatal(err)
			}
			for how, data := range map[string][]byte{"in a file": file, "on the standard output": run(folder, k, "-")} {
				if got := fmt.Sprintf("%x", sha256.Sum256(data)); got != want {
					t.Errorf("%s %s, in %s: the digest is %s, want %s", k, how, folder, got, want)
				}
			}
		}
	}
}
