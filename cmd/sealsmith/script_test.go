package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sealsmith/sealsmith/internal/daemon"
	"github.com/sealsmith/sealsmith/internal/ocitest"
	"github.com/sealsmith/sealsmith/internal/testenv"
)

var update = flag.Bool("update", false, "rewrite the expected output in the scripts")

// TestMain makes this test program stand for both of ours: they are on PATH in
// the scripts, and for what the other tests start.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"sealsmith": main,
		"sealsmith-agent": func() {
			os.Exit(daemon.Main(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
		},
	})
}

// TestScripts runs the command line as users type it, on a software TPM: one
// script a command in testdata/script.
func TestScripts(t *testing.T) {
	testenv.Need(t, testenv.SWTPM)
	testenv.Glob(t, "testdata/script/*.txtar")
	registry, plain := ocitest.Registry(t, true), ocitest.Registry(t, false)
	tools := filepath.Join(testenv.Root(), "bin", "tools")
	if testenv.Required(string(testenv.Cosign)) {
		testenv.Need(t, testenv.Cosign)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			for name, value := range isolated(testenv.SocketDir(t)) {
				env.Setenv(name, value)
			}
			env.Setenv("ROOT", testenv.Root())
			env.Setenv("REGISTRY", registry)
			env.Setenv("PLAINREGISTRY", plain)
			env.Setenv("PATH", tools+string(os.PathListSeparator)+env.Getenv("PATH"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "provision": provision(t)},
	})
}

// isolated is an environment in which our programs touch nothing of the user's;
// dir must be short, because the sockets are below it.
func isolated(dir string) map[string]string {
	return map[string]string{
		"HOME":              dir,
		"XDG_CONFIG_HOME":   filepath.Join(dir, "config"),
		"XDG_DATA_HOME":     filepath.Join(dir, "data"),
		"XDG_STATE_HOME":    filepath.Join(dir, "state"),
		"XDG_RUNTIME_DIR":   filepath.Join(dir, "run"),
		"SEALSMITH_TPM":     "swtpm:" + filepath.Join(dir, "tpm"),
		"SEALSMITH_SOCKET":  "",
		"SEALSMITH_CONFIG":  "",
		"SOURCE_DATE_EPOCH": "",
		"SSH_AUTH_SOCK":     "",
		"SSH_ASKPASS":       "",
		"DISPLAY":           "",
		"WAYLAND_DISPLAY":   "",
		"GPG_TTY":           "",
		// Under the race detector each of our programs would wait a second
		// before it ends.
		"GORACE": "atexit_sleep_ms=0",
	}
}

// exits STATUS COMMAND…: runs a command that must end with exactly this status.
// stdout and stderr are kept for the next lines.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		ts.Fatalf("status %q is no number", args[0])
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var ended *exec.ExitError
		if !errors.As(err, &ended) {
			ts.Fatalf("%v", err)
		}
		got = ended.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}
