package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/tpm"
)

// TestTPMStatusThroughTheAgent: the TPM that the agent holds is shown, which no
// other process could ask meanwhile.
func TestTPMStatusThroughTheAgent(t *testing.T) {
	w := newWorld(t)
	w.startAgent()
	var s tpm.Status
	if err := json.Unmarshal([]byte(w.run("sealsmith", "tpm", "status", "--json")), &s); err != nil {
		t.Fatal(err)
	}
	if !s.Software || !s.Works.Keys.Works {
		t.Errorf("status %+v", s)
	}
	if text := w.run("sealsmith", "tpm", "status"); !strings.Contains(text, "device          "+s.Device) {
		t.Errorf("%s", text)
	}
}
