package main

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/testenv"
)

// TestControlExamples runs what docs/spec/control-api.md shows.
func TestControlExamples(t *testing.T) {
	for _, p := range []testenv.Program{testenv.Curl, testenv.JQ, testenv.OpenSSL} {
		testenv.Need(t, p)
	}
	w := newWorld(t)
	w.write("document", "a file")
	w.startAgent()
	commands := consoleCommands(t, filepath.Join(testenv.Root(), "docs", "spec", "control-api.md"), 15)
	if out, err := w.try("", "bash", "-c", "set -veuo pipefail\n"+strings.Join(commands, "\n")); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// fails runs a command that must end with this status and say this.
func (w *world) fails(status int, says string, args ...string) {
	w.t.Helper()
	out, err := w.try("", args[0], args[1:]...)
	var ended *failure
	if !errors.As(err, &ended) || ended.status != status || !strings.Contains(ended.stderr, says) {
		w.t.Errorf("%q: %q, %v; want status %d, %q", args, out, err, status, says)
	}
}

// status is what `agent status --json` prints.
func (w *world) status() (s agent.Status) {
	w.t.Helper()
	if err := json.Unmarshal([]byte(w.run("sealsmith", "agent", "status", "--json")), &s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// TestHeadless: a machine where nobody can be asked refuses, says what helps, and that
// helps.
func TestHeadless(t *testing.T) {
	testenv.Need(t, testenv.SSHKeygen)
	w := newWorld(t)
	for _, usage := range []string{"ssh", "artifact"} {
		if _, err := w.try("right PIN\n", "sealsmith", "key", "create", usage, "--usage", usage, "--pin-fd", "0"); err != nil {
			t.Fatal(err)
		}
	}
	w.run("sealsmith", "key", "create", "plain", "--usage", "ssh")
	w.write("ssh.pub", w.run("sealsmith", "key", "pubkey", "ssh"))
	w.write("document", "a file")
	w.startAgent()
	if err := w.signFile("ssh", "git"); err == nil {
		t.Fatal("signed without a PIN")
	}
	w.fails(4, "hint: run this at a terminal, or give --pin-fd N", "sealsmith", "agent", "unlock-key", "ssh")
	unlock := func(name, pin string) error {
		_, err := w.try(pin+"\n", "sealsmith", "agent", "unlock-key", name, "--pin-fd", "0")
		return err
	}
	var ended *failure
	if err := unlock("ssh", "wrong PIN"); !errors.As(err, &ended) || ended.status != 4 || !strings.Contains(ended.stderr, "wrong PIN, 2 tries left") {
		t.Errorf("wrong PIN: %v", err)
	}
	if err := unlock("artifact", "right PIN"); !errors.As(err, &ended) || !strings.Contains(ended.stderr, "asked for at each use") {
		t.Errorf("a key that is confirmed at each use: %v", err)
	}
	if err := unlock("plain", "right PIN"); !errors.As(err, &ended) || ended.status != 2 {
		t.Errorf("a key without a PIN: %v", err)
	}
	if err := unlock("ssh", "right PIN"); err != nil {
		t.Fatal(err)
	}
	if err := w.signFile("ssh", "git"); err != nil {
		t.Error(err)
	}
	status := w.status()
	if status.Keys.Hardware != 3 || len(status.PINs) != 1 || status.Sockets.SSH != w.sshSocket() {
		t.Errorf("status %+v", status)
	}
	if text := w.run("sealsmith", "agent", "status"); !strings.Contains(text, "PIN held") || !strings.Contains(text, "3 in hardware") {
		t.Errorf("status:\n%s", text)
	}
	w.fails(2, "--direct does without the agent", "sealsmith", "agent", "unlock-key", "ssh", "--direct")
}

// TestLock: a locked agent signs nothing, and only the passphrase opens it.
func TestLock(t *testing.T) {
	testenv.Need(t, testenv.SSHKeygen)
	w := newWorld(t)
	w.run("sealsmith", "key", "create", "k", "--usage", "ssh")
	w.write("k.pub", w.run("sealsmith", "key", "pubkey", "k"))
	w.write("document", "a file")
	w.startAgent()
	with := func(verb, passphrase string) error {
		_, err := w.try(passphrase+"\n", "sealsmith", "agent", verb, "--passphrase-fd", "0")
		return err
	}
	if err := with("lock", "open sesame"); err != nil {
		t.Fatal(err)
	}
	if err := w.signFile("k", "git"); err == nil || !w.status().Locked {
		t.Errorf("signed while it is locked, or not locked: %+v", w.status())
	}
	var ended *failure
	if err := with("unlock", "open barley"); !errors.As(err, &ended) || ended.status != 4 {
		t.Errorf("wrong passphrase: %v", err)
	}
	for _, verb := range []string{"lock", "unlock"} {
		w.fails(4, "hint: run this at a terminal, or give --passphrase-fd N", "sealsmith", "agent", verb)
	}
	if err := with("unlock", "open sesame"); err != nil {
		t.Fatal(err)
	}
	if err := w.signFile("k", "git"); err != nil {
		t.Error(err)
	}
}

// TestReload: a rule that is loaded while the agent runs, and configurations that are
// refused and change nothing.
func TestReload(t *testing.T) {
	w := newWorld(t)
	config := w.write("config.yaml", "tpm: swtpm:"+w.path("tpm")+"\n")
	w.env = append(w.env, "SEALSMITH_TPM=", "SEALSMITH_CONFIG="+config)
	if _, err := w.try("right PIN\n", "sealsmith", "key", "create", "k", "--usage", "ssh", "--pin-fd", "0"); err != nil {
		t.Fatal(err)
	}
	w.startAgent()
	unlock := func() error {
		_, err := w.try("right PIN\n", "sealsmith", "agent", "unlock-key", "k", "--pin-fd", "0")
		return err
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	before := w.status()
	if len(before.PINs) != 1 || before.Configuration.File != config {
		t.Fatalf("status %+v", before)
	}
	device := "tpm: swtpm:" + w.path("tpm") + "\n"
	rule := "keys:\n  " + string(before.PINs[0].Key) + ":\n    pin_cache: "
	for _, c := range []struct{ text, says string }{
		{device + rule + "sometimes\n", `line 4: pin_cache "sometimes" is no time`},
		{"tpm: /dev/tpm7\n", `the configuration was not changed: tpm: the device would be "/dev/tpm7"`},
		{device + "sandbox: off\n", `sandbox: is "off" there`},
		{device + "agents: [/nonexistent]\n", "agents: others are named there"},
		{rule + "never\n", `tpm: the device would be "/dev/tpmrm0", and a running agent keeps its own, "swtpm:`},
	} {
		w.write("config.yaml", c.text)
		w.fails(1, c.says, "sealsmith", "agent", "reload")
		if after := w.status(); len(after.PINs) != 1 || after.Configuration != before.Configuration {
			t.Errorf("a reload that was refused changed something: %+v", after)
		}
	}
	w.write("config.yaml", device+"pinentry: /bin/other\n"+rule+"never\n")
	w.run("sealsmith", "agent", "reload")
	if after := w.status(); len(after.PINs) != 0 || after.Asks != "/bin/other" || !after.Configuration.Loaded.After(before.Configuration.Loaded) {
		t.Errorf("after the reload: %+v", after)
	}
	var ended *failure
	if err := unlock(); !errors.As(err, &ended) || !strings.Contains(ended.stderr, "never remembered") {
		t.Errorf("a PIN that is never remembered: %v", err)
	}
}
