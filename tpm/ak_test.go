package tpm

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-tpm/tpm2"
)

// fakeAK is what a TPM might have made; files are not loaded here.
func fakeAK(t *testing.T) *object {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	area, err := endorsementArea(akTemplate(), &k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	name, err := tpm2.ObjectName(area)
	if err != nil {
		t.Fatal(err)
	}
	return &object{name: string(name.Buffer), public: tpm2.Marshal(area), private: []byte("private")}
}

// TestOneAttestationKeyWins: of processes that made one each at the same time, all
// use the one that was stored first; and only one replaces a foreign key.
func TestOneAttestationKeyWins(t *testing.T) {
	t.Parallel()
	f := akFile{t.TempDir(), "unix:/tpm"}
	if err := os.Chmod(f.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var old *object
	for round := range 2 {
		var wg sync.WaitGroup
		var got [4]string
		for i := range got {
			made := fakeAK(t)
			wg.Go(func() {
				o, err := f.replace(t.Context(), old, made)
				if err != nil {
					t.Error(err)
					return
				}
				got[i] = o.name
			})
		}
		wg.Wait()
		there, _, err := f.read()
		if err != nil || there == nil {
			t.Fatalf("%v, %v", there, err)
		}
		if old != nil && there.name == old.name {
			t.Error("the foreign key was not replaced")
		}
		if old != nil {
			data, err := os.ReadFile(f.asidePath(old))
			if kept, parseErr := parseAK(data); err != nil || parseErr != nil || kept.name != old.name {
				t.Errorf("the foreign key was not kept: %v, %v", err, parseErr)
			}
		}
		if slices.ContainsFunc(got[:], func(name string) bool { return name != there.name }) {
			t.Errorf("round %d: %x, stored is %x", round, got, there.name)
		}
		old = there
	}
}

// TestAttestationKeyFilesAreApart: devices do not share one.
func TestAttestationKeyFilesAreApart(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, device := range []string{"/dev/tpmrm0", "/dev/tpm0", "unix:/a", "swtpm:/a"} {
		seen[akFile{"/d", device}.path()] = true
	}
	if len(seen) != 4 {
		t.Errorf("%v", seen)
	}
}

// FuzzSplitChain: whatever lies in NV memory, what comes out are whole sequences
// of it, in order.
func FuzzSplitChain(f *testing.F) {
	one := append([]byte{0x30, 0x82, 0, 3}, "abc"...)
	f.Add(one)
	f.Add(append(append(slices.Clone(one), 0, 0xff), one...))
	f.Add([]byte{0x30, 0x82, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := splitChain(data)
		if err != nil && all != nil {
			t.Error("an error and certificates")
		}
		rest := string(data)
		for _, der := range all {
			_, after, found := strings.Cut(rest, string(der))
			if !found || der[0] != 0x30 {
				t.Fatalf("%x is not in %x", der, rest)
			}
			rest = after
		}
	})
}
