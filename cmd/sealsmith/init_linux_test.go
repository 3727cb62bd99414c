package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/sshtest"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
)

// newcomer is a world with nothing but OpenSSH, our programs and, for want of a TPM,
// swtpm. Its ssh knows the server: that is the user's to check.
func newcomer(t *testing.T, server *sshtest.Server) *world {
	t.Helper()
	w := newWorld(t)
	bin := w.path("bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sealsmith", "sealsmith-agent", "swtpm", "ssh-add", "ssh-keygen", "sh"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	ssh := fmt.Sprintf("#!/bin/sh\nexec %s -F none -o UserKnownHostsFile=%s \"$@\"\n", testenv.Need(t, testenv.SSH), server.KnownHosts)
	if err := os.WriteFile(filepath.Join(bin, "ssh"), []byte(ssh), 0o700); err != nil {
		t.Fatal(err)
	}
	w.env = append(w.env, "PATH="+bin, "SHELL=/bin/sh")
	t.Cleanup(w.endAgent)
	return w
}

// TestNewUser is the first day: from nothing to a login at a real server, with no
// more than what init prints.
func TestNewUser(t *testing.T) {
	server := sshtest.Start(t, nil)
	w := newcomer(t, server)
	destination := fmt.Sprintf("ssh://%s@127.0.0.1:%d", server.User, server.Port)
	start := time.Now()
	printed := w.run("sealsmith", "init", "--no-pin", "--write")

	// The server does not have the key yet: init says what to do.
	_, err := w.try("", "sealsmith", "init", "--test", destination)
	if err == nil || !strings.Contains(err.Error(), "authorized_keys") {
		t.Errorf("login without the key on the server: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(printed), "\n")
	if err := os.WriteFile(server.AuthorizedKeys, []byte(lines[len(lines)-1]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.run("sealsmith", "init", "--test", destination)
	t.Logf("from nothing to a login in %v", time.Since(start))

	// And with what was written, by ssh alone.
	out := w.run("ssh", append([]string{"-F", w.path(".ssh/config")}, append(server.Args()[2:], "echo", "welcome")...)...)
	if out != "welcome\n" {
		t.Errorf("ssh printed %q", out)
	}
	if strings.Contains(printed, "git") {
		t.Errorf("there is no git, and init speaks of it: %s", printed)
	}
}

// TestLostSocket: an agent whose socket was removed is called by its PID, and init
// works again after its end.
func TestLostSocket(t *testing.T) {
	w := newcomer(t, sshtest.Start(t, nil))
	w.run("sealsmith", "init", "--no-pin")
	if out := w.run("sealsmith", "agent", "status"); strings.Contains(out, "not there") {
		t.Errorf("status before:\n%s", out)
	}
	socket := w.sshSocket()
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	if out := w.run("sealsmith", "agent", "status"); !strings.Contains(out, socket+", which is not there") {
		t.Errorf("status after:\n%s", out)
	}
	w.fails(1, fmt.Sprintf("hint: end it with: kill %d, and run this again", w.status().PID), "sealsmith", "init")
	w.endAgent()
	for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(time.Millisecond) {
		if locks, _ := filepath.Glob(w.path("run/sealsmith/tpm-*.lock")); len(locks) == 0 {
			break // the device is free
		}
	}
	w.run("sealsmith", "init")
}

// TestInitAgain: without a name, init goes on with the key that it set up, whatever
// keys were imported since.
func TestInitAgain(t *testing.T) {
	w := newcomer(t, sshtest.Start(t, nil))
	first := w.run("sealsmith", "init", "made", "--no-pin", "--write")
	w.run("ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", w.path("file"))
	w.run("sealsmith", "key", "import", "came", w.path("file"), "--usage", "ssh")
	if again := w.run("sealsmith", "init", "--write"); again != first {
		t.Errorf("first\n%s, then\n%s", first, again)
	}
}

// TestInitKilled kills init at each thing that it says for the first time: the next run
// goes on from there, and all is there once.
func TestInitKilled(t *testing.T) {
	chip := tpmtest.Start(t) // it outlives our programs
	w := newcomer(t, sshtest.Start(t, nil))
	w.env = append(w.env, "SEALSMITH_TPM="+chip.Device())
	said := map[string]bool{}
	for killed := true; killed; {
		killed = false
		cmd := exec.Command(w.path("bin/sealsmith"), "init", "laptop", "--no-pin", "--write")
		cmd.Dir, cmd.Env = w.dir, w.env
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			fmt.Fprintln(&text, lines.Text())
			if !said[lines.Text()] && !killed {
				cmd.Process.Kill()
				killed = true
			}
			said[lines.Text()] = true
		}
		if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() != -1 {
			t.Fatalf("%v: %s", err, text.String())
		}
	}
	if keys := w.run("sealsmith", "key", "list"); strings.Count(keys, "\n") != 2 {
		t.Errorf("keys:\n%s", keys)
	}
	for _, name := range []string{".ssh/config", ".profile"} {
		if text := w.run("cat", name); strings.Count(text, "begin: written") != 1 {
			t.Errorf("%s:\n%s", name, text)
		}
	}
}

// TestInitAtTheTerminal: a key without a PIN needs a yes. Whoever breaks off has
// made nothing.
func TestInitAtTheTerminal(t *testing.T) {
	testenv.Need(t, testenv.SSHKeygen)
	testenv.Need(t, testenv.Git)
	w := newWorld(t)
	s := newScreen(t)
	wait := w.sealsmith(s, "init", "laptop")
	s.answer("May the new key laptop be used without a PIN?", "\x03")
	s.answer("Choose a PIN for the new key laptop", "\x03")
	if err := wait(); err == nil {
		t.Error("broken off, and all is well")
	}
	if made, err := filepath.Glob(w.path("data/sealsmith/keys/*.tpm")); err != nil || len(made) > 0 {
		t.Errorf("made %v (%v)", made, err)
	}
	wait = w.sealsmith(s, "init", "laptop")
	t.Cleanup(w.endAgent)
	s.answer("without a PIN?", "no")
	s.answer("Choose a PIN", "2718 2818")
	s.answer("once more", "2718 2818")
	if err := wait(); err != nil {
		t.Fatalf("%v: %s", err, s.unread())
	}
	wait = w.sealsmith(s, "init", "plain", "--write")
	s.answer("without a PIN?", "yes")
	if err := wait(); err != nil {
		t.Fatalf("%v: %s", err, s.unread())
	}
	for name, pin := range map[string]string{"laptop": "true", "plain": "false"} {
		if shown := w.run("sealsmith", "key", "show", name, "--json"); !strings.Contains(shown, `"pin": `+pin) {
			t.Errorf("%s: want pin %s: %s", name, pin, shown)
		}
	}
	if !strings.Contains(s.text(), "in the place of you@example.org") {
		t.Error("nobody learns that git knows no email address")
	}
	if strings.Contains(s.text(), "2718") {
		t.Error("the PIN is on the screen")
	}
}
