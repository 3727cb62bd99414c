package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/ocitest"
	"github.com/sealsmith/sealsmith/internal/sshtest"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/key"
)

// world is a user's folders, with our programs in it.
type world struct {
	t   *testing.T
	dir string
	env []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	testenv.Need(t, testenv.SWTPM)
	w := &world{t: t, dir: testenv.SocketDir(t), env: os.Environ()}
	for name, value := range isolated(w.dir) {
		w.env = append(w.env, name+"="+value)
	}
	if err := os.Mkdir(filepath.Join(w.dir, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) sshSocket() string { return w.path("run/sealsmith/ssh.sock") }

// try runs a program and returns what it printed on stdout; its stderr is in the
// error.
func (w *world) try(stdin, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(w.t.Context(), program, args...)
	cmd.Dir, cmd.Env, cmd.Stdin = w.dir, w.env, strings.NewReader(stdin)
	out, err := cmd.Output()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		err = &failure{ended.ExitCode(), string(ended.Stderr)}
	}
	return string(out), err
}

// failure is a program that ended with another status than 0.
type failure struct {
	status int
	stderr string
}

func (f *failure) Error() string { return f.stderr }

// run is try for a program that must succeed.
func (w *world) run(program string, args ...string) string {
	w.t.Helper()
	out, err := w.try("", program, args...)
	if err != nil {
		w.t.Fatalf("%s %q: %v", program, args, err)
	}
	return out
}

func (w *world) write(name, content string) string {
	w.t.Helper()
	path := w.path(name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// startAgent starts the agent in the foreground and waits until it says where
// its socket is. From then on the world's programs use it.
func (w *world) startAgent(args ...string) *exec.Cmd {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "sealsmith-agent", append([]string{"-D"}, args...)...)
	cmd.Env = w.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		cancel()
		cmd.Wait()
		if w.t.Failed() {
			w.t.Logf("agent:\n%s", stderr.String())
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if want := "SSH_AUTH_SOCK=" + w.sshSocket() + "; export SSH_AUTH_SOCK;\n"; err != nil || line != want {
		w.t.Fatalf("agent printed %q, %v; want %q", line, err, want)
	}
	w.env = append(w.env, "SSH_AUTH_SOCK="+w.sshSocket())
	return cmd
}

// endAgent ends the agent that init started.
func (w *world) endAgent() {
	cmd := exec.Command("sealsmith", "agent", "status", "--json")
	cmd.Env = w.env
	out, _ := cmd.Output() // without its device it fails, and says the rest
	var status struct{ PID int }
	if err := json.Unmarshal(out, &status); err != nil || status.PID < 2 {
		w.t.Errorf("the agent's status is %q (%v)", out, err)
		return
	}
	if err := syscall.Kill(status.PID, syscall.SIGTERM); err != nil {
		w.t.Error(err)
	}
	for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(time.Millisecond) {
		if _, err := os.Lstat(w.path("run/sealsmith/control.sock")); os.IsNotExist(err) {
			return
		}
	}
	w.t.Error("the agent did not end")
}

// TestUsageByShape is the table of docs/architecture.md, with the clients that
// people use. A key of each usage stands behind one agent.
func TestUsageByShape(t *testing.T) {
	for _, p := range []testenv.Program{testenv.SSH, testenv.SSHAdd, testenv.SSHKeygen, testenv.Git} {
		testenv.Need(t, p)
	}
	w := newWorld(t)
	var usages []string
	for _, usage := range key.Usages {
		usages = append(usages, string(usage))
	}
	for _, usage := range usages {
		w.run("sealsmith", "key", "create", usage, "--usage", usage, "--unattended")
		w.write(usage+".pub", w.run("sealsmith", "key", "pubkey", usage))
	}
	w.write("document", "a file")
	var pubs []string
	for _, usage := range usages {
		pubs = append(pubs, usage+".pub")
	}
	server := sshtest.Start(t, []byte(w.run("cat", pubs...)))
	w.startAgent()
	w.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "user")
	w.write("app", "#!/bin/true\n")
	image := strings.TrimSpace(w.run("sealsmith", "image", "build", "--binary", "linux/amd64=app", "--push", ocitest.Registry(t, true)+"/app:v1"))

	clients := map[string]func(usage string) error{
		"list": func(usage string) error {
			out, err := w.try("", "ssh-add", "-L")
			if err == nil && !strings.Contains(out, strings.Fields(w.run("cat", usage+".pub"))[1]) {
				return errors.New("not listed")
			}
			return err
		},
		"login": func(usage string) error {
			_, err := w.try("", "ssh", append([]string{"-o", "IdentitiesOnly=yes", "-i", w.path(usage + ".pub")}, append(server.Args(), "true")...)...)
			return err
		},
		"git commit": func(usage string) error {
			repository := w.path("repository-" + usage)
			w.run("git", "init", "-q", repository)
			_, err := w.try("", "git", "-C", repository, "-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "gpg.format=ssh",
				"-c", "user.signingkey="+w.path(usage+".pub"), "commit", "-q", "-S", "--allow-empty", "-m", "signed")
			return err
		},
		"ssh-keygen file": func(usage string) error {
			return w.signFile(usage, "file")
		},
		"ssh-keygen other namespace": func(usage string) error {
			return w.signFile(usage, "sealsmith-bundle")
		},
		"certificate": func(usage string) error {
			_, err := w.try("", "ssh-keygen", "-q", "-s", usage+".pub", "-U", "-I", "id", "-n", "me", "-V", "+1h", "user.pub")
			return err
		},
		"sshd": func(usage string) error {
			pub := w.path(usage + ".pub")
			host := hostKeyServer{sshtest.Start(t, []byte(w.run("cat", "user.pub")), "HostKeyAgent "+w.sshSocket(), "HostKey "+pub), w}
			host.knows("HOST " + strings.TrimSpace(w.run("cat", pub)))
			_, err := host.ssh("LogLevel=ERROR", "true")
			return err
		},
		"ssh-add -T": func(usage string) error {
			_, err := w.try("", "ssh-add", "-T", w.path(usage+".pub"))
			return err
		},
		"bundle sign": func(usage string) error {
			_, err := w.try("", "sealsmith", "bundle", "sign", w.release(), "--key", usage)
			return err
		},
		"image sign": func(usage string) error {
			_, err := w.try("", "sealsmith", "image", "sign", image, "--key", usage)
			return err
		},
	}
	allowed := map[string][]string{
		"list":                       {"ssh", "ssh-ca", "ssh-host"},
		"login":                      {"ssh"},
		"git commit":                 {"ssh"},
		"ssh-keygen file":            {"ssh"},
		"ssh-keygen other namespace": {},
		"certificate":                {"ssh-ca"},
		"sshd":                       {"ssh-host"},
		"ssh-add -T":                 {},
		"bundle sign":                {"artifact"},
		"image sign":                 {"artifact", "digest"},
	}
	// Where the agent itself must say no, and to what. In the other cells the
	// client finds that the key is not offered.
	refusals := map[string]string{
		"ssh-keygen other namespace/ssh": "sshsig",
		"certificate/ssh":                "certificate",
		"certificate/ssh-host":           "certificate",
		"ssh-add -T/ssh":                 "unrecognised",
	}
	for _, usage := range []string{"ssh-ca", "ssh-host"} {
		refusals["login/"+usage] = "user-auth"
		refusals["git commit/"+usage] = "sshsig"
		refusals["ssh-keygen file/"+usage] = "sshsig"
		refusals["ssh-keygen other namespace/"+usage] = "sshsig"
		refusals["ssh-add -T/"+usage] = "unrecognised"
	}
	for _, usage := range []string{"ssh", "ssh-ca", "artifact", "digest"} {
		refusals["sshd/"+usage] = "exchange-hash" // sshd does not look into the list
	}
	for name, client := range clients {
		for _, usage := range usages {
			t.Run(name+"/"+usage, func(t *testing.T) {
				before := len(w.audit())
				err := client(usage)
				if want := slices.Contains(allowed[name], usage); (err == nil) != want {
					t.Errorf("signed: %v, want %v (%v)", err == nil, want, err)
				}
				form, mustRefuse := refusals[name+"/"+usage]
				refused := slices.ContainsFunc(w.audit()[before:], func(r auditRecord) bool {
					return r.Ref == "tpm/"+usage && r.Form == form && r.Outcome == "refused"
				})
				if refused != mustRefuse {
					t.Errorf("refused by the agent as %q: %v, want %v (%v)", form, refused, mustRefuse, err)
				}
			})
		}
	}
}

// auditRecord is what the tests want to know of a line of the audit log.
type auditRecord struct{ Ref, Form, Outcome string }

func (w *world) audit() []auditRecord {
	w.t.Helper()
	data, err := os.ReadFile(w.path("state/sealsmith/audit.jsonl"))
	if err != nil {
		w.t.Fatal(err)
	}
	var all []auditRecord
	for line := range bytes.Lines(data) {
		var r auditRecord
		if err := json.Unmarshal(line, &r); err != nil {
			w.t.Fatalf("audit line %q: %v", line, err)
		}
		all = append(all, r)
	}
	return all
}

// signFile signs a file as people do, and verifies the signature.
func (w *world) signFile(usage, namespace string) error {
	os.Remove(w.path("document.sig"))
	if _, err := w.try("", "ssh-keygen", "-q", "-Y", "sign", "-f", w.path(usage+".pub"), "-n", namespace, w.path("document")); err != nil {
		return err
	}
	w.write("allowed", "me "+w.run("cat", usage+".pub"))
	_, err := w.try("a file", "ssh-keygen", "-Y", "verify", "-f", w.path("allowed"), "-I", "me", "-n", namespace, "-s", w.path("document.sig"))
	return err
}

// release builds a folder of CA bundles of a throw-away CA, once.
func (w *world) release() string {
	dir := w.path("release")
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	w.run("bash", filepath.Join(testenv.Root(), "scripts", "demo-catalog"), "ca")
	w.run("sealsmith", "bundle", "build", "--catalog", "ca/roots.yaml", "--catalog", "ca/intermediates.yaml",
		"--store", "ca/certs", "--offline", "--date", "2026-04-11", "--output", dir)
	return dir
}

// TestAgentStops: at SIGTERM the agent ends as OpenSSH's does, and leaves no
// socket and no software TPM.
func TestAgentStops(t *testing.T) {
	w := newWorld(t)
	w.run("sealsmith", "key", "create", "laptop", "--usage", "ssh")
	cmd := w.startAgent()
	w.run("ssh-add", "-l")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.ExitCode() != 2 {
		t.Errorf("agent ended with %v, want status 2", err)
	}
	for _, socket := range []string{"ssh.sock", "control.sock"} {
		if _, err := os.Lstat(w.path("run/sealsmith/" + socket)); !os.IsNotExist(err) {
			t.Errorf("%s is still there (%v)", socket, err)
		}
	}
	// The TPM is free again: another process can have it.
	w.run("sealsmith", "key", "create", "second", "--usage", "ssh")
}
