package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var id = strings.Repeat("0123456789abcdef", 4)

var fingerprint = "SHA256:" + strings.Repeat("a", 43)

var example = `# which device
tpm: swtpm:/tmp/x
pinentry: /usr/bin/pinentry-gtk
software_keys: confirm
sandbox: require
agents:
  - /run/one
  - {path: /run/other/../two, keys: ["` + fingerprint + `"]}
offer: [release, tpm/b, "id:01234567", "` + fingerprint + `"]
keys:
  ` + id + `:
    confirm: true
    namespaces: [git, "notes@example.org"]
    allow_unrecognized_unsafe: true
    pin_cache: 10m
`

func TestParse(t *testing.T) {
	got, err := Parse([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		TPM: "swtpm:/tmp/x", Pinentry: "/usr/bin/pinentry-gtk", SoftwareKeys: "confirm", Sandbox: SandboxRequire,
		Agents: []Agent{{Path: "/run/one"}, {"/run/two", []string{fingerprint}}}, Offer: []string{"release", "tpm/b", "id:01234567", fingerprint},
		Keys: map[string]Key{id: {Confirm: true, Namespaces: []string{"git", "notes@example.org"}, AllowUnrecognizedUnsafe: true, PINCache: "10m"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPINIdle(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "never": -1, "1s": time.Second, "8h": 8 * time.Hour} {
		if got, err := (Key{PINCache: text}).PINIdle(); got != want || err != nil {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"tmp: x\n", `line 1: unknown key "tmp"; did you mean "tpm"?`},
		{"\npinentry: pinentry-gtk\n", "line 2: pinentry \"pinentry-gtk\" is not a whole path"},
		{"\nsandbox: on\n", `line 2: sandbox "on" is neither require nor off`},
		{"\nsoftware_keys: ask\n", `line 2: software_keys "ask" is none of`},
		{"agents: /run/one\n", "line 1: "},
		{"agents:\n  - one\n", `line 2: agent "one" is not a whole path`},
		{"agents:\n  - {keys: []}\n", `line 2: agent "" is not a whole path`},
		{"agents:\n  - {path: /a, key: []}\n", `unknown key "key"`},
		{"agents:\n  - [/a]\n", "a list stands where there must be a map"},
		{"agents:\n  - 5\n", `"5" must be text`},
		{"agents:\n  - /a\n  - {path: /b/../a}\n", `line 3: agent "/a" stands here twice`},
		{"agents:\n  - {path: /a, keys: [\"MD5:aa\"]}\n", `line 2: "MD5:aa" is no fingerprint`},
		{"agents:\n  - /" + strings.Repeat("a", 107) + "\n", "line 2: path of 108 bytes"},
		{"agents: [/1, /2, /3, /4, /5, /6, /7, /8, /9]\n", "line 1: more than 8 agents"},
		{"\noffer: []\n", "line 2: offer names no key"},
		{"offer:\n  - a\n  - B\n", `line 3: "B" names no key`},
		{"offer: [" + strings.Repeat("a, ", 257) + "]\n", "more than 256 keys are offered"},
		{"keys:\n  release: {}\n", `line 2: "release" is not the ID of a key`},
		{"keys:\n  " + strings.ToUpper(id) + ": {}\n", "is not the ID of a key"},
		{"keys:\n  " + id + ":\n    confirm: maybe\n", "line 3:"},
		{"keys:\n  " + id + ":\n    namespaces: [\"\"]\n", "line 3: "},
		{"keys:\n  " + id + ":\n    namespaces: [\"ä\"]\n", "not printable ASCII"},
		{"keys:\n  " + id + ":\n    pin_cache: always\n", `line 3: pin_cache "always" is no time from 1s to 8h0m0s`},
		{"keys:\n  " + id + ":\n    pin_cache: 9h\n", "is no time from"},
		{"keys:\n  " + id + ":\n    pin_cache: 0s\n", "is no time from"},
		{"keys:\n  " + id + ":\n    pin_cache: 600\n", "line 3:"},
	} {
		if got, err := Parse([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %+v, %v; want %q", c.text, got, err, c.want)
		}
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte("tpm: /dev/tpm0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(path); err != nil || c.TPM != "/dev/tpm0" {
		t.Errorf("from an argument: %+v, %v", c, err)
	}
	t.Setenv("SEALSMITH_CONFIG", path)
	if c, err := Load(""); err != nil || c.TPM != "/dev/tpm0" {
		t.Errorf("from the environment: %+v, %v", c, err)
	}
	if err := os.Chmod(path, 0o620); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(path); err == nil || !strings.Contains(err.Error(), "written by other users") {
		t.Errorf("a file that others can write: %+v, %v", c, err)
	}
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	if c, err := Load(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file that was asked for: %+v, %v", c, err)
	}
	if err := os.WriteFile(missing, make([]byte, 1<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(missing); err == nil || !strings.Contains(err.Error(), "has more than 1048576 bytes") {
		t.Errorf("a huge file: %+v, %v", c, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(example)
	f.Add("keys: {}\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse([]byte(text))
		if err != nil {
			return
		}
		for id := range c.Keys {
			if !idGrammar().MatchString(id) {
				t.Fatalf("accepted the key %q", id)
			}
		}
		// Comments and blank lines never change the meaning.
		again, err := Parse([]byte("# comment\n\n" + text))
		if strings.HasPrefix(text, "%") {
			return // a directive must come first
		}
		if diff := cmp.Diff(c, again, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
	})
}
