package oci

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/testenv"
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

func TestGoBuild(t *testing.T) {
	// What a developer's environment may say must not matter.
	t.Setenv("GOFLAGS", "-tags=local -trimpath=false")
	t.Setenv("GOAMD64", "v3")
	t.Setenv("CGO_ENABLED", "1")
	t.Setenv("GOWORK", "/nowhere/go.work")
	platform := Platform{"linux", runtime.GOARCH, ""}
	var first []byte
	for i := range 2 {
		dir := program(t)
		output := filepath.Join(t.TempDir(), "app")
		info, err := GoBuild(t.Context(), GoBuildOptions{
			Dir: dir, Package: "./cmd/app", Platform: platform, Output: output, LDFlags: "-s -w",
		})
		if err != nil {
			t.Fatal(err)
		}
		settings := map[string]string{}
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
		for key, want := range map[string]string{
			"-trimpath": "true", "-ldflags": "", "CGO_ENABLED": "0", "GOOS": "linux", "GOARCH": runtime.GOARCH, "-tags": "", "vcs.revision": "",
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
		if i == 0 {
			first = binary
		} else if !bytes.Equal(first, binary) {
			t.Error("two folders give two programs")
		}
	}
}

// TestGoBuildRecordsTheCommit although the environment says not to.
func TestGoBuildRecordsTheCommit(t *testing.T) {
	git := testenv.Need(t, testenv.Git)
	t.Setenv("GOFLAGS", "-buildvcs=false")
	dir := program(t)
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), git, append([]string{"-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"}, args...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("init", "-q")
	run("add", ".")
	run("commit", "-q", "-m", "first")
	revision := run("rev-parse", "HEAD")
	for _, modified := range []string{"false", "true"} {
		info, err := GoBuild(t.Context(), GoBuildOptions{
			Dir: dir, Package: "./cmd/app", Platform: Platform{"linux", runtime.GOARCH, ""},
			Output: filepath.Join(t.TempDir(), "app"), VCS: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		for key, want := range map[string]string{"vcs.revision": revision, "vcs.modified": modified} {
			if !slices.Contains(info.Settings, debug.BuildSetting{Key: key, Value: want}) {
				t.Errorf("%s is not %s in %v", key, want, info.Settings)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "new.txt"), nil, 0o600); err != nil {
			t.Fatal(err)
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
		if _, err := GoBuild(t.Context(), o); !errors.Is(err, ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := GoBuild(t.Context(), GoBuildOptions{Dir: dir, Package: "./cmd/bad", Platform: platform, Output: output})
	if err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("the compiler's message is missing: %v", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := GoBuild(canceled, GoBuildOptions{Dir: dir, Package: "./cmd/app", Platform: platform, Output: output}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}
