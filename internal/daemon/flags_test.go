package daemon

import (
	"bytes"
	"errors"
	"flag"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

func TestParseFlags(t *testing.T) {
	t.Setenv("SHELL", "/bin/sh")
	for args, want := range map[string]flags{
		"":    {},
		"-s":  {},
		"-c":  {shell: shell{csh: true}},
		"-sk": {kill: true},
		"-ck": {kill: true, shell: shell{csh: true}},
		"-D":  {foreground: true},
		"-d":  {foreground: true, debug: true},
		"-Dc": {foreground: true, shell: shell{csh: true}},
		"-V":  {version: true},
		"-u":  {sweep: true},
		"-TU": {temporary: true, noSweep: true},
		"-D -a /x/s --control /x/c --tpm swtpm:/x --config=/x/c.yaml --log-format json": {
			foreground: true, ssh: "/x/s", control: "/x/c", tpm: "swtpm:/x", config: "/x/c.yaml", logFormat: "json"},
		"-Da/x/s":         {foreground: true, ssh: "/x/s"},
		"-a -s":           {ssh: mustAbs(t, "-s")},
		"-t 90 -E SHA256": {life: 90 * time.Second},
		"-t1h30m":         {life: 90 * time.Minute},
		"-t 1W2d3H4M5s":   {life: (9*24+3)*time.Hour + 4*time.Minute + 5*time.Second},
		"-t 0":            {},
		"-t 4294967295":   {life: (1<<32 - 1) * time.Second},
		"-P /usr/lib/* -O no-restrict-websafe -O allow-remote-pkcs11 -O websafe-allow=ssh:*": {},
		"env -D x":           {command: []string{"env", "-D", "x"}},
		"-t 5 -a /x/s -- -x": {life: 5 * time.Second, ssh: "/x/s", command: []string{"-x"}},
		"-":                  {command: []string{"-"}},
	} {
		if want.logFormat == "" {
			want.logFormat = "text"
		}
		var stderr bytes.Buffer
		f, err := parseFlags(strings.Fields(args), &stderr)
		if err != nil || stderr.Len() > 0 {
			t.Errorf("%q: %v, %q", args, err, stderr.String())
			continue
		}
		if len(f.command) == 0 {
			f.command = nil
		}
		if !reflect.DeepEqual(*f, want) {
			t.Errorf("%q: %+v; want %+v", args, *f, want)
		}
	}
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	absolute, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return absolute
}

func TestBadFlags(t *testing.T) {
	for args, want := range map[string]string{
		"-X":                      "not defined: -X",
		"-sX":                     "not defined: -X",
		"--nonsense":              "not defined: -nonsense",
		"-a":                      "needs an argument: -a",
		"--tpm":                   "needs an argument: -tpm",
		"-s -c":                   "different shells",
		"-d -D":                   "-d is -D",
		"-D true":                 `a command ("true")`,
		"-s true":                 `a command ("true")`,
		"-k true":                 `a command ("true")`,
		"-u true":                 `a command ("true")`,
		"-t 5x":                   "invalid lifetime",
		"-t h":                    "invalid lifetime",
		"-t -1":                   "invalid lifetime",
		"-t 1h-1":                 "invalid lifetime",
		"-t 4294967296":           "invalid lifetime",
		"-t 7102w":                "invalid lifetime",
		"-t 99999999999999999999": "invalid lifetime",
		"-E md5":                  "prompts show no such",
		"-O bogus":                "unknown option of ssh-agent",
		"-a /x/a\x01b":            "control character",
	} {
		if _, err := parseFlags(strings.Fields(args), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", args, err, want)
		}
	}
	for _, option := range []string{"-t", "-a", "--control", "--config", "--tpm", "-E", "-O"} {
		if _, err := parseFlags([]string{option, ""}, &bytes.Buffer{}); err == nil {
			t.Errorf("%s takes nothing for a value", option)
		}
	}
	var stderr bytes.Buffer
	_, err := parseFlags([]string{"-h"}, &stderr)
	if !errors.Is(err, flag.ErrHelp) || !strings.Contains(stderr.String(), "path of the ssh-agent socket") || !strings.HasPrefix(stderr.String(), usage) {
		t.Errorf("-h: %v, %q", err, stderr.String())
	}
}

// TestShellOf takes the shell from the environment, as ssh-agent does.
func TestShellOf(t *testing.T) {
	for value, csh := range map[string]bool{"": false, "/bin/sh": false, "/bin/csh": true, "/usr/bin/tcsh": true, "csh": true} {
		t.Setenv("SHELL", value)
		for args, want := range map[string]bool{"": csh, "-s": false, "-c": true, "-k": csh} {
			if f, err := parseFlags(strings.Fields(args), &bytes.Buffer{}); err != nil || f.shell.csh != want {
				t.Errorf("SHELL=%q, %q: %+v, %v", value, args, f, err)
			}
		}
	}
}

// TestShellQuote has shells read what we print.
func TestShellQuote(t *testing.T) {
	paths := []string{"/run/user/1000/s", "/a b/s", `/a"b/s`, `/a\b/s`, "/a$HOME/s", "/a`id`/s", "/a'b;c/s", "/a!b/s", "/a{b,c}/~[d]*?", `/a' "$!\b^#/s`}
	for _, program := range []testenv.Program{"sh", testenv.TCSH} {
		s := shell{csh: program == testenv.TCSH}
		t.Run(string(program), func(t *testing.T) {
			testenv.Need(t, program)
			for _, path := range paths {
				line := s.set("SSH_AUTH_SOCK", path)
				out, err := exec.Command(string(program), "-c", line+"printenv SSH_AUTH_SOCK").CombinedOutput()
				if err != nil || string(out) != path+"\n" {
					t.Errorf("%s is read as %q, %v", line, out, err)
				}
				if _, err := exec.Command(string(program), "-c", line+s.unset("SSH_AUTH_SOCK")+"printenv SSH_AUTH_SOCK").Output(); exitCode(err) != 1 {
					t.Errorf("%q unset: %v", path, err)
				}
			}
		})
	}
	for _, s := range []shell{{}, {csh: true}} {
		if got := s.quote("/a b/s"); got != `"/a b/s"` {
			t.Errorf("a blank: %s", got)
		}
	}
}
