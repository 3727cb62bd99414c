package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/ocitest"
	"github.com/sealsmith/sealsmith/internal/sshtest"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
)

// TestREADME runs every command of README.md's console blocks, in their order, in
// one shell. What stands for the reader's own things (a server, a registry, the
// vendors' sites) is put in its place.
func TestREADME(t *testing.T) {
	for _, p := range []testenv.Program{testenv.SSH, testenv.SSHKeygen, testenv.Git, testenv.OpenSSL, testenv.SHA256Sum} {
		testenv.Need(t, p)
	}
	cosign := testenv.Need(t, testenv.Cosign)
	w := newWorld(t)
	maker := tpmtest.Manufacturer(t)
	if err := maker.Provision(w.path("tpm")); err != nil {
		t.Fatal(err)
	}
	w.write("roots.pem", string(maker.Root))
	w.write("intermediates.pem", string(maker.Intermediate))
	server := sshtest.Start(t, nil)
	if err := os.Symlink(server.AuthorizedKeys, w.path("authorized_keys")); err != nil {
		t.Fatal(err)
	}
	w.write("app", "#!/bin/true\n")
	w.run("git", "init", "-q", ".")
	w.run("git", "config", "user.name", "Reader")
	w.run("git", "config", "user.email", "me@example.org")
	w.run("git", "add", "app")
	w.run("bash", filepath.Join(testenv.Root(), "scripts", "demo-catalog"), "ca")

	places := strings.NewReplacer(
		"ssh server.example", "ssh -F .ssh/config "+strings.Join(server.Args()[2:], " "),
		"registry.example", ocitest.Registry(t, true),
		"sealsmith bundle build", "sealsmith bundle build --catalog ca/roots.yaml --catalog ca/intermediates.yaml --store ca/certs --offline",
		"cosign verify", cosign+" verify",
		"sealsmith init laptop", "sealsmith init laptop --no-pin",
		"ssh-copy-id -f -i ~/.local/share/sealsmith/keys/laptop.pub server.example", "cat data/sealsmith/keys/laptop.pub >> authorized_keys",
	)
	t.Cleanup(w.endAgent)
	commands := consoleCommands(t, filepath.Join(testenv.Root(), "README.md"), 15)
	var script strings.Builder
	script.WriteString("set -veuo pipefail\n") // -v says which command failed
	for _, command := range commands {
		fmt.Fprintln(&script, places.Replace(command))
	}
	// A release key asks: the reader says yes.
	w.env = append(w.env, "SSH_ASKPASS=/bin/true", "SSH_CONNECTION=", "SHELL=/bin/sh")
	if out, err := w.try("", "bash", "-c", script.String()); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// consoleCommands are the lines that begin with "$ " in the console blocks of a
// document, of which there are so many at least.
func consoleCommands(t *testing.T, path string, least int) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	inside := false
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console"
		case inside:
			command, ok := strings.CutPrefix(line, "$ ")
			if !ok {
				t.Fatalf("%s: %q in a console block is no command", path, line)
			}
			commands = append(commands, command)
		}
	}
	if len(commands) < least {
		t.Fatalf("%s has only %d commands", path, len(commands))
	}
	return commands
}
