package tpm

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// TestPinsFillUp: a file that cannot take one more device goes on serving the others.
func TestPinsFillUp(t *testing.T) {
	p := pinFile{filepath.Join(t.TempDir(), "data"), "first"}
	name := append([]byte{0, 0x0b}, make([]byte, 32)...)
	for _, device := range []string{"first", strings.Repeat("second", limits.TPMPins/12)} {
		if _, _, err := (pinFile{p.dir, device}).pin(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	third := pinFile{p.dir, strings.Repeat("third!", limits.TPMPins/12)}
	if _, _, err := third.pin(t.Context(), name); err == nil || len(hint.Of(err)) == 0 {
		t.Errorf("a device too many: %v", err)
	}
	if _, err := third.pinByEK(t.Context(), name, "00"); err == nil {
		t.Error("a device too many, with an endorsement key")
	}
	if got, _, err := p.read(); err != nil || !bytes.Equal(got, name) {
		t.Errorf("the first device: %x, %v", got, err)
	}
}

// FuzzPins: what is accepted can take one more device, and reads back the same.
func FuzzPins(f *testing.F) {
	f.Add([]byte(`{}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"/dev/tpm0": null}`))
	f.Add([]byte(`{"/dev/tpmrm0": {"srk_name": "000b00", "pinned_at": "2026-01-02T03:04:05Z"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := parsePins(data)
		if err != nil {
			return
		}
		all["another"] = devicePin{SRKName: "000b"}
		again, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		back, err := parsePins(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(all, back); diff != "" {
			t.Fatal(diff)
		}
	})
}
