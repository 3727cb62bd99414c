package tpm

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

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
