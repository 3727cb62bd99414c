package oci

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// program writes a module with a small program to a new folder.
func program(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":          "module example.org/app\n\ngo 1.26.0\n",
		"cmd/app/main.go": "package main\n\nfunc main() { println(\"hello\") }\n",
		"cmd/bad/main.go": "package main\n\nfunc main() { nothing }\n",
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestGoBuild: what the folder or a developer's environment say does not matter.
func TestGoBuild(t *testing.T) {
	var first []byte
	for _, env := range []map[string]string{
		{"GOFLAGS": ""},
		{
			"GOFLAGS": "-tags=local -trimpath=false -buildvcs=true", "GOAMD64": "v3", "GOARM64": "v9.0",
			"CGO_ENABLED": "1", "GOWORK": "/nowhere/go.work", "GOEXPERIMENT": "jsonv2", "GOFIPS140": "latest",
		},
	} {
		for name, value := range env {
			t.Setenv(name, value)
		}
		dir := program(t)
		output := filepath.Join(t.TempDir(), "app")
		err := GoBuild(t.Context(), GoBuildOptions{
			Dir: dir, Package: "./cmd/app", Platform: Platform{"linux", runtime.GOARCH, ""}, Output: output, LDFlags: "-s -w",
		})
		if err != nil {
			t.Fatal(err)
		}
		info, err := buildinfo.ReadFile(output)
		if err != nil {
			t.Fatal(err)
		}
		settings := map[string]string{}
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
		for key, want := range map[string]string{
			"-trimpath": "true", "-ldflags": "", "-tags": "", "vcs": "", "CGO_ENABLED": "0",
			"GOOS": "linux", "GOARCH": runtime.GOARCH, "GOEXPERIMENT": "", "GOFIPS140": "",
		} {
			if got := settings[key]; got != want {
				t.Errorf("%s is %q, want %q", key, got, want)
			}
		}
		binary, err := os.ReadFile(output)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(binary, []byte(dir)) {
			t.Error("the program names the folder it was built in")
		}
		if first == nil {
			first = binary
		} else if !bytes.Equal(first, binary) {
			t.Error("another folder and environment give another program")
		}
	}
}

func TestGoBuildRefuses(t *testing.T) {
	dir := program(t)
	output := filepath.Join(t.TempDir(), "app")
	platform := Platform{"linux", runtime.GOARCH, ""}
	for name, o := range map[string]GoBuildOptions{
		"flag as package":  {Dir: dir, Package: "-toolexec=/bin/true", Platform: platform, Output: output},
		"unknown platform": {Dir: dir, Package: "./cmd/app", Platform: Platform{"plan9", "amd64", ""}, Output: output},
	} {
		if err := GoBuild(t.Context(), o); !errors.Is(err, ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := GoBuild(t.Context(), GoBuildOptions{Dir: dir, Package: "./cmd/bad", Platform: platform, Output: output})
	if err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("the compiler's message is missing: %v", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := GoBuild(canceled, GoBuildOptions{Dir: dir, Package: "./cmd/app", Platform: platform, Output: output}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}
