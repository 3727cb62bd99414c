package main

import (
	"os"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// TestImportThroughTheAgent: a private key reaches a running agent only wrapped for
// its TPM, and then signs there, with its PIN, as it did before.
func TestImportThroughTheAgent(t *testing.T) {
	keygen := testenv.Need(t, testenv.SSHKeygen)
	w := newWorld(t)
	w.run(keygen, "-q", "-t", "ecdsa", "-b", "384", "-N", "", "-f", w.path("id"))
	w.write("document", "a file")
	w.askpass("right PIN")
	w.startAgent()
	if _, err := w.try("right PIN\n", "sealsmith", "key", "import", "old", "id", "--usage", "ssh", "--pin-fd", "0"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(w.path("id")); err != nil {
		t.Fatal(err)
	}
	w.run("cp", "id.pub", "old.pub")
	if err := w.signFile("old", "git"); err != nil {
		t.Error(err)
	}
	if asked := w.questions(); len(asked) != 1 || !strings.Contains(asked[0], "tpm/old (ssh, imported)") {
		t.Errorf("asked %q", asked)
	}
	if list := w.run("ssh-add", "-L"); !strings.Contains(list, "old (imported)") {
		t.Errorf("listed as %q", list)
	}
	srk := w.run("sealsmith", "tpm", "srk")
	if !strings.HasPrefix(srk, "-----BEGIN PUBLIC KEY-----\n") {
		t.Errorf("storage key %q", srk)
	}
	w.write("parent.pem", srk)
	w.run("sealsmith", "key", "create", "new", "--usage", "ssh", "--wrap-for", "parent.pem", "--output", "new.tpm", "--pubkey", "new.pub")
	w.run("sealsmith", "key", "import", "new", "new.tpm")
	if err := w.signFile("new", "git"); err != nil {
		t.Error(err)
	}
}
