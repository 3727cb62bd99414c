package agenttest

import (
	"debug/elf"
	"os"
	"testing"
)

// maxProgram is how large the agent may get, in octets: a machine has one, and starts
// it at each login. Most of the program is in memory all the time.
const maxProgram = 9_000_000

// TestProgram looks at what is shipped.
func TestProgram(t *testing.T) {
	info, err := os.Stat(program)
	if err != nil || info.Size() > maxProgram {
		t.Errorf("%d octets, %v; at most %d", info.Size(), err, maxProgram)
	}
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if libraries, err := f.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("it links %q, %v", libraries, err)
	}
}
