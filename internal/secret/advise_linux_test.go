package secret

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestPagesAreProtected(t *testing.T) {
	b := hold(t, "hunter2")
	defer b.Wipe()
	flags := vmFlags(t, b)
	for _, want := range []string{" dd", " wf"} { // do not dump, wipe on fork
		if !strings.Contains(flags, want) {
			t.Errorf("flags of the mapping are%s, want%s", flags, want)
		}
	}
}

// vmFlags reads the flags of the secret's mapping from /proc (proc(5)).
func vmFlags(t *testing.T, b *Buffer) string {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(maps), fmt.Sprintf("%x-", &b.pages[0]))
	if !found {
		t.Fatal("the mapping is not listed")
	}
	_, rest, _ = strings.Cut(rest, "VmFlags:")
	line, _, _ := strings.Cut(rest, "\n")
	return line
}
