package oci

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// newTestClient is a client that does not wait before it tries again.
func newTestClient() *Client {
	c := NewClient("sealsmith/test")
	c.wait = func() backoff.BackOff { return backoff.NewConstantBackOff(time.Millisecond) }
	return c
}

var (
	amd64 = Platform{"linux", "amd64", ""}
	arm64 = Platform{"linux", "arm64", ""}
	armv7 = Platform{"linux", "arm", "v7"}
)

// writeFile makes a source file.
func writeFile(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// options are a small build for two platforms.
func options(t testing.TB) BuildOptions {
	t.Helper()
	data := writeFile(t, "data\n")
	var inputs []Input
	for _, p := range []Platform{arm64, amd64} {
		inputs = append(inputs, Input{p, []File{
			{Path: "/usr/bin/app", Source: writeFile(t, "program for "+p.String()), Executable: true},
			{Path: "/usr/share/app/data", Source: data},
		}})
	}
	return BuildOptions{
		Inputs:     inputs,
		Entrypoint: []string{"/usr/bin/app", "serve"},
		Epoch:      time.Unix(1_700_000_000, 0),
		Labels: Labels{Title: "app", Source: "https://example.org/app", Revision: "0123abcd",
			Version: "v1.2.3", Licenses: "Apache-2.0"},
	}
}

func build(t testing.TB, o BuildOptions) *Image {
	t.Helper()
	image, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := image.Close(); err != nil {
			t.Error(err)
		}
	})
	return image
}
