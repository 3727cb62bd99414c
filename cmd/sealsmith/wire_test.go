package main

import (
	"slices"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
)

// TestWire watches the TPM's connection while the real programs work: in the
// steady state a signature is one command, with a PIN too, and no PIN crosses the
// connection, not even when its key is made. The kit checks at the end that
// nothing is left loaded and that the lockout counter is 0.
func TestWire(t *testing.T) {
	testenv.Need(t, testenv.SSHKeygen)
	chip := tpmtest.Start(t)
	w := newWorld(t)
	w.env = append(w.env, "SEALSMITH_TPM="+chip.Device())
	const pin = "correct horse battery"
	w.askpass(pin)
	w.startAgent()

	keys := []string{"plain", "safe"}
	w.run("sealsmith", "key", "create", "plain", "--usage", "ssh")
	if _, err := w.try(pin+"\n", "sealsmith", "key", "create", "safe", "--usage", "ssh", "--pin-fd", "0"); err != nil {
		t.Fatal(err)
	}
	w.write("document", "a file")
	for _, name := range keys {
		w.write(name+".pub", w.run("sealsmith", "key", "pubkey", name))
		if err := w.signFile(name, "file"); err != nil {
			t.Fatal(err)
		}
	}

	chip.Commands() // what it took to get here
	var want []tpm2.TPMCC
	for range 3 {
		for _, name := range keys {
			if err := w.signFile(name, "file"); err != nil {
				t.Fatal(err)
			}
			want = append(want, tpm2.TPMCCSign)
		}
	}
	if got := chip.Commands(); !slices.Equal(got, want) {
		t.Errorf("commands %v; want one TPM2_Sign for each of %d signatures", got, len(want))
	}
	if len(w.questions()) != 1 {
		t.Errorf("asked %q", w.questions())
	}
	if chip.Saw([]byte(pin)) {
		t.Error("the PIN crossed the connection in clear")
	}
}
