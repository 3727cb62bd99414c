package systemd

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/internal/xdg"
)

func sets(t *testing.T) map[string]Set {
	t.Helper()
	user, host := User(), Host()
	user.Dir, host.Dir = filepath.Join(t.TempDir(), "user"), filepath.Join(t.TempDir(), "host")
	return map[string]Set{"user": user, "host": host}
}

func TestPlaces(t *testing.T) {
	if dir := User().Dir; dir != xdg.UserUnits() || !strings.HasSuffix(dir, "/systemd/user") {
		t.Errorf("user units are in %s", dir)
	}
	if dir := Host().Dir; dir != "/etc/systemd/system" {
		t.Errorf("system units are in %s", dir)
	}
}

// TestVerify has systemd read the units.
func TestVerify(t *testing.T) {
	analyze := testenv.Need(t, testenv.SystemdAnalyze)
	program := filepath.Join(t.TempDir(), "a folder", "sealsmith-agent")
	if err := errors.Join(os.Mkdir(filepath.Dir(program), 0o700), os.WriteFile(program, nil, 0o700)); err != nil {
		t.Fatal(err)
	}
	for name, s := range sets(t) {
		if err := s.Install(program); err != nil {
			t.Fatal(err)
		}
		verify := func() string {
			cmd := exec.CommandContext(t.Context(), analyze, append([]string{s.scope, "--man=no", "verify"}, testenv.Glob(t, s.Dir+"/*")...)...)
			cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+s.Dir, "LC_ALL=C")
			out, err := cmd.CombinedOutput()
			if err != nil {
				return string(out) + err.Error()
			}
			return string(out)
		}
		if out := verify(); out != "" {
			t.Errorf("%s: %s", name, out)
		}
		// What verify says of a mistake shows that it sees the others.
		service := filepath.Join(s.Dir, s.names[2])
		text, err := os.ReadFile(service)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(service, bytes.Replace(text, []byte("UMask="), []byte("Umask="), 1), 0o600); err != nil {
			t.Fatal(err)
		}
		if out := verify(); !strings.Contains(out, "Umask") {
			t.Errorf("%s with a mistake: %q", name, out)
		}
	}
}

func TestInstall(t *testing.T) {
	for name, s := range sets(t) {
		if s.Installed() {
			t.Errorf("%s: installed before", name)
		}
		for _, program := range []string{"/old/sealsmith-agent", "/opt/a b/sealsmith-agent"} {
			if err := s.Install(program); err != nil {
				t.Fatal(err)
			}
		}
		service, err := os.ReadFile(filepath.Join(s.Dir, s.names[2]))
		if err != nil || !bytes.Contains(service, []byte("\nExecStart=\"/opt/a b/sealsmith-agent\" -D\n")) || bytes.Contains(service, []byte(placeholder)) {
			t.Errorf("%s: %v\n%s", name, err, service)
		}
		if !s.Installed() {
			t.Errorf("%s: not installed", name)
		}
		removed, err := s.Remove()
		if err != nil || len(removed) != len(s.names) || s.Installed() {
			t.Errorf("%s: removed %q, %v", name, removed, err)
		}
		if removed, err := s.Remove(); err != nil || len(removed) != 0 {
			t.Errorf("%s: removed again %q, %v", name, removed, err)
		}
	}
}

// TestForeign keeps units that are not ours: a person's own, a mask, and what to read
// would never end.
func TestForeign(t *testing.T) {
	for name, foreign := range map[string]func(path string) error{
		"own":  func(path string) error { return os.WriteFile(path, []byte("[Service]\n"), 0o600) },
		"mask": func(path string) error { return os.Symlink(os.DevNull, path) },
		"pipe": func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"zero": func(path string) error { return os.Symlink("/dev/zero", path) },
		"lost": func(path string) error { return os.Symlink("/nowhere/unit", path) },
	} {
		s := sets(t)["user"]
		if err := s.Install("/bin/sealsmith-agent"); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(s.Dir, s.names[2])
		if err := errors.Join(os.Remove(path), foreign(path)); err != nil {
			t.Fatal(err)
		}
		before, _ := os.Lstat(path)
		if err := s.Install("/other/sealsmith-agent"); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: install: %v", name, err)
		}
		if _, err := s.Remove(); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: remove: %v", name, err)
		}
		if s.Installed() {
			t.Errorf("%s counts as ours", name)
		}
		if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s was touched: %v", name, err)
		}
		if left := testenv.Glob(t, s.Dir+"/*"); len(left) != len(s.names) {
			t.Errorf("%s: left %q", name, left)
		}
	}
}

func TestBadProgram(t *testing.T) {
	for _, program := range []string{"", "sealsmith-agent", "/a%b", "/a$b", `/a"b`, `/a\b`, "/a'b", "/a;b", "/a\nb"} {
		if units, err := User().Units(program); err == nil {
			t.Errorf("%q: %s", program, units[2].Text)
		}
	}
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	script := "#!/bin/sh\necho \"$@\" >>" + log + "\ncase $* in *disable*) echo no such unit; exit 5;; esac\n"
	if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	if err := Run(t.Context(), User().Enable()); err != nil {
		t.Error(err)
	}
	host := sets(t)["host"]
	if err := Run(t.Context(), host.Disable()); err != nil {
		t.Errorf("nothing to disable: %v", err)
	}
	if err := errors.Join(host.Install("/bin/sealsmith-agent"), os.Remove(filepath.Join(host.Dir, host.names[1]))); err != nil {
		t.Fatal(err)
	}
	if missing := host.Missing(); len(missing) != 1 || missing[0] != host.names[1] || host.Installed() {
		t.Errorf("missing %q", missing)
	}
	err := Run(t.Context(), host.Disable())
	if err == nil || !strings.Contains(err.Error(), `exit status 5: "no such unit"`) {
		t.Error(err)
	}
	out, err := os.ReadFile(log)
	want := []string{
		"--user daemon-reload", "--user enable --now sealsmith-agent.socket sealsmith-agent-control.socket",
		"--system disable --now sealsmith-host.socket sealsmith-host.service", "",
	}
	if got := strings.Split(string(out), "\n"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("ran %q, %v", got, err)
	}
}

func TestRunning(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	if User().Running() {
		t.Error("a systemd without its socket")
	}
	if err := os.MkdirAll(filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "systemd", "private"), 0o700); err != nil {
		t.Fatal(err)
	}
	if !User().Running() {
		t.Error("no systemd in spite of its socket")
	}
}
