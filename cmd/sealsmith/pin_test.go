package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// askpass writes a program for SSH_ASKPASS that types the lines of answers, one
// for each question, and keeps the questions.
func (w *world) askpass(answers ...string) {
	w.t.Helper()
	w.write("answers", strings.Join(answers, "\n")+"\n")
	w.write("questions", "")
	program := w.write("askpass", fmt.Sprintf(`#!/bin/sh
printf '%%s\n--\n' "$1" >> %[1]s/questions
head -n 1 %[1]s/answers
sed -i 1d %[1]s/answers
`, w.dir))
	if err := os.Chmod(program, 0o700); err != nil {
		w.t.Fatal(err)
	}
	w.env = append(w.env, "SSH_ASKPASS="+program)
}

// questions are what the askpass program was asked so far.
func (w *world) questions() []string {
	w.t.Helper()
	asked := strings.Split(w.run("cat", "questions"), "--\n")
	return asked[:len(asked)-1]
}

// TestPIN signs with a PIN key as people do: a wrong PIN is asked again, with the
// tries that are left, a right one is remembered.
func TestPIN(t *testing.T) {
	testenv.Need(t, testenv.SSHKeygen)
	w := newWorld(t)
	if _, err := w.try("right PIN\n", "sealsmith", "key", "create", "safe", "--usage", "ssh", "--pin-fd", "0"); err != nil {
		t.Fatal(err)
	}
	w.write("safe.pub", w.run("sealsmith", "key", "pubkey", "safe"))
	w.write("document", "a file")
	w.askpass("wrong PIN", "right PIN")
	w.startAgent()

	if err := w.signFile("safe", "git"); err != nil {
		t.Fatal(err)
	}
	asked := w.questions()
	if len(asked) != 2 || !strings.Contains(asked[0], "tpm/safe") || !strings.Contains(asked[0], "File signature for: git") {
		t.Fatalf("asked %q", asked)
	}
	if !strings.Contains(asked[1], "wrong PIN, 2 tries left") {
		t.Errorf("after a wrong PIN: %q", asked[1])
	}
	if err := w.signFile("safe", "git"); err != nil {
		t.Fatal(err)
	}
	if again := w.questions(); len(again) != 2 {
		t.Errorf("asked for a remembered PIN: %q", again[2:])
	}
	for _, secret := range []string{"right PIN", "wrong PIN\n"} {
		if log := w.run("cat", "state/sealsmith/audit.jsonl"); strings.Contains(log, secret) {
			t.Errorf("the audit log holds a PIN:\n%s", log)
		}
	}
}

// TestConfirm: a release key signs only after a yes, and what the person sees is
// what the agent computed.
func TestConfirm(t *testing.T) {
	w := newWorld(t)
	_, err := w.try("", "sealsmith", "key", "create", "release", "--usage", "artifact", "--pin")
	wantStatus(t, err, 4, "hint: in a script, give the PIN with --pin-fd N")
	w.run("sealsmith", "key", "create", "release", "--usage", "artifact")
	_, err = w.try("", "sealsmith", "key", "pin", "release", "--guessable-unsafe")
	wantStatus(t, err, 4, "hint: in a script, give PINs with --pin-fd N and --new-pin-fd N")
	dir := w.release()
	_, err = w.try("", "sealsmith", "bundle", "sign", dir, "--key", "release")
	wantStatus(t, err, 4, "nobody can be asked")

	w.askpass("yes", "no")
	w.startAgent()
	_, err = w.try("", "sealsmith", "--no-prompt", "bundle", "sign", dir, "--key", "release")
	wantStatus(t, err, 4, "--no-prompt was given")
	if asked := w.questions(); len(asked) != 0 {
		t.Errorf("asked in spite of --no-prompt: %q", asked)
	}
	_, err = w.try("", "sealsmith", "bundle", "sign", dir, "--key", "release")
	wantStatus(t, err, 4, "cancelled")
	asked := w.questions()
	if len(asked) != 2 {
		t.Fatalf("asked %d times: %q", len(asked), asked)
	}
	for i, want := range []string{"File signature for: sealsmith-bundle", "Message digest: sha256:"} {
		if !strings.Contains(asked[i], want) || !strings.Contains(asked[i], `The program says:`) {
			t.Errorf("question %d: %q; want %q in it, and the program's claim apart", i, asked[i], want)
		}
	}
	if _, err := os.Stat(dir + "/SHA256SUMS.sig"); !os.IsNotExist(err) {
		t.Errorf("half of a refused signing was written (%v)", err)
	}
}

// TestDeviceHasOneOwner: while the agent holds a software TPM, a command that
// insists on its own way, or on another device, says so.
func TestDeviceHasOneOwner(t *testing.T) {
	w := newWorld(t)
	w.startAgent()
	w.run("sealsmith", "key", "create", "laptop", "--usage", "ssh")
	if out := w.run("sealsmith", "agent", "status"); !strings.Contains(out, "swtpm:"+w.path("tpm")) {
		t.Errorf("agent status: %s", out)
	}
	_, err := w.try("", "sealsmith", "key", "create", "other", "--usage", "ssh", "--direct")
	wantStatus(t, err, 5, "swtpm:"+w.path("tpm"))
	_, err = w.try("", "sealsmith", "key", "create", "other", "--usage", "ssh", "--tpm", "swtpm:"+w.path("tpm2"))
	wantStatus(t, err, 5, "swtpm:"+w.path("tpm2"))
	if list := w.run("sealsmith", "key", "list"); strings.Contains(list, "other") {
		t.Errorf("a key was made all the same:\n%s", list)
	}
}

// wantStatus checks the exit status of a program that failed, and its message.
func wantStatus(t *testing.T, err error, status int, message string) {
	t.Helper()
	f, ok := err.(*failure)
	if !ok || f.status != status || !strings.Contains(f.stderr, message) {
		t.Errorf("%+v; want status %d and %q", err, status, message)
	}
}
