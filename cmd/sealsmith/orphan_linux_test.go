package main

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// TestKilledWithItsOwnTPM: swtpm does not outlive a command that was killed while they
// began to talk, and the next one has the folder.
func TestKilledWithItsOwnTPM(t *testing.T) {
	testenv.Need(t, testenv.SWTPM)
	w := newWorld(t)
	w.run("sealsmith", "key", "create", "first", "--usage", "ssh")
	for wait := 5 * time.Millisecond; wait < 40*time.Millisecond; wait += 5 * time.Millisecond {
		cmd := exec.Command("sealsmith", "key", "attest", "first")
		cmd.Dir, cmd.Env = w.dir, w.env
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(wait)
		cmd.Process.Kill()
		cmd.Wait() // it was killed
		deadline := time.Now().Add(5 * time.Second)
		for {
			_, err := w.try("", "sealsmith", "key", "attest", "first")
			if f, ok := err.(*failure); !ok || f.status != 5 {
				break // done, or refused by a TPM that is there
			}
			if time.Now().After(deadline) {
				t.Fatalf("the TPM in %s cannot be used: %v", filepath.Join(w.dir, "tpm"), err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}
