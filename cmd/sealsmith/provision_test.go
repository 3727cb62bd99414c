package main

import (
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sealsmith/sealsmith/internal/tpmtest"
)

// provision [another]: gives the script a software TPM with EK certificates, of the
// usual maker or another, whose CAs are in roots.pem and intermediates.pem.
func provision(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		maker := tpmtest.Manufacturer
		switch {
		case neg || len(args) > 1 || len(args) == 1 && args[0] != "another":
			ts.Fatalf("usage: provision [another]")
		case len(args) == 1:
			maker = tpmtest.AnotherManufacturer
		}
		m := maker(t)
		ts.Check(m.Provision(strings.TrimPrefix(ts.Getenv("SEALSMITH_TPM"), "swtpm:")))
		ts.Check(os.WriteFile(ts.MkAbs("roots.pem"), m.Root, 0o600))
		ts.Check(os.WriteFile(ts.MkAbs("intermediates.pem"), m.Intermediate, 0o600))
	}
}
