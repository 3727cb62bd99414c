package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

// importer is a backend that takes one file.
type importer struct {
	*keytest.Backend
	file []byte
	got  key.ImportSpec
}

// Import implements [key.Importer].
func (b *importer) Import(ctx context.Context, s key.ImportSpec) (key.Signer, error) {
	b.got = s
	if !bytes.Equal(s.File, b.file) {
		return nil, fmt.Errorf("import %q: %w", s.Name, key.ErrForeign)
	}
	return b.Create(ctx, key.Spec{Name: s.Name, Usage: key.SSH, Algorithm: key.P256, Comment: s.Comment, Unattended: s.Unattended})
}

func TestImport(t *testing.T) {
	h := start(t, nil)
	b := &importer{Backend: h.backend, file: []byte("-----BEGIN\n\x00\xff")}
	h.server.config.Keys = key.NewRing(b)
	c := h.client()
	spec := key.ImportSpec{Name: "moved", Comment: "me@there", Unattended: true, File: b.file}
	in, err := c.Import(t.Context(), spec)
	if err != nil || in.Ref.String() != "tpm/moved" || in.Comment != "me@there" || !in.Policy.Unattended {
		t.Fatalf("%+v, %v", in, err)
	}
	if b.got.Name != spec.Name || !bytes.Equal(b.got.File, spec.File) {
		t.Errorf("the backend got %+v", b.got)
	}
	if got := h.outcomes(); !slices.Equal(got, []string{"import moved begun", "import tpm/moved done"}) {
		t.Errorf("recorded %q", got)
	}
	if r := h.lastRecord(); r.Key != in.ID {
		t.Errorf("recorded %+v", r)
	}

	spec.Name = "other"
	spec.File = []byte("for another device")
	if _, err := c.Import(t.Context(), spec); !errors.Is(err, key.ErrForeign) {
		t.Errorf("another's file: %v", err)
	}
	if r := h.lastRecord(); r.Action != "import" || r.Outcome != outcomeFailed || r.Code != "foreign" || r.Ref != "other" {
		t.Errorf("recorded %+v", r)
	}
	before := len(h.records())
	spec.Name = "Not A Name"
	if _, err := c.Import(t.Context(), spec); !errors.Is(err, key.ErrUsage) {
		t.Errorf("a bad name: %v", err)
	}
	for _, body := range []string{
		`{"name": "x", "file": 1}`, `{"name": "x", "file": "AA==", "usage": "ssh"}`, `{"name": "x", "file": "*"}`,
	} {
		err := c.do(t.Context(), "POST", "/v1/keys/import", "application/json", strings.NewReader(body), int64(len(body)), &struct{}{})
		if !errors.Is(err, key.ErrUsage) {
			t.Errorf("%s: %v", body, err)
		}
	}
	spec.File = make([]byte, limits.ControlBody)
	if _, err := c.Import(t.Context(), spec); !errors.Is(err, key.ErrUsage) {
		t.Errorf("a file of %d bytes: %v", len(spec.File), err)
	}
	if got := h.records()[before:]; len(got) != 0 {
		t.Errorf("requests that are none were recorded: %+v", got)
	}
}

// TestImportIsRecordedFirst: what cannot be recorded is not imported.
func TestImportIsRecordedFirst(t *testing.T) {
	h := start(t, nil)
	b := &importer{Backend: h.backend, file: []byte("file")}
	h.server.config.Keys = key.NewRing(b)
	h.server.config.Audit.Close()
	if in, err := h.client().Import(t.Context(), key.ImportSpec{Name: "k", File: b.file}); err == nil {
		t.Errorf("imported without a record: %+v", in)
	}
	if b.got.Name != "" {
		t.Error("the device was asked")
	}
}

// TestImportWithoutAnImporter: a device that takes no keys says so.
func TestImportWithoutAnImporter(t *testing.T) {
	h := start(t, nil)
	if _, err := h.client().Import(t.Context(), key.ImportSpec{Name: "k", File: []byte("x")}); !errors.Is(err, key.ErrNoDevice) {
		t.Errorf("%v; want ErrNoDevice", err)
	}
}

func TestDeviceStorage(t *testing.T) {
	h := start(t, nil)
	s, err := h.client().Storage(t.Context())
	if err != nil || s.Device != "test:" || string(s.Storage) != `{"name":"000b01"}` {
		t.Errorf("%+v, %v", s, err)
	}
}
