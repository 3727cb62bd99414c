package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/sshtest"
	"github.com/sealsmith/sealsmith/internal/testenv"
)

// TestUserCertificate: ssh-keygen has a CA key in the TPM sign a certificate, after
// a person saw it, and a real sshd that knows only the CA lets its owner in.
func TestUserCertificate(t *testing.T) {
	for _, p := range []testenv.Program{testenv.SSH, testenv.SSHKeygen} {
		testenv.Need(t, p)
	}
	w := newWorld(t)
	w.askpass("yes", "no")
	w.startAgent()
	for name, flags := range map[string][]string{
		"asks": {"--alg", "p384"}, "rsa": {"--alg", "rsa2048", "--unattended"}, "p521": {"--alg", "p521", "--unattended"},
	} {
		w.run("sealsmith", append([]string{"key", "create", name, "--usage", "ssh-ca"}, flags...)...)
		w.write(name+".pub", w.run("sealsmith", "key", "pubkey", name))
	}
	w.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "user")
	server := sshtest.Start(t, nil, "TrustedUserCAKeys "+w.path("trusted"))
	certify := func(ca, principal string) error {
		os.Remove(w.path("user-cert.pub"))
		_, err := w.try("", "ssh-keygen", "-q", "-s", ca+".pub", "-U", "-I", "laptop of\talice", "-n", principal, "-V", "-5m:+1h", "-z", "42", "user.pub")
		return err
	}
	login := func() error {
		_, err := w.try("", "ssh", append([]string{"-o", "IdentityAgent=none", "-o", "IdentitiesOnly=yes", "-i", w.path("user")}, append(server.Args(), "true")...)...)
		return err
	}
	for _, ca := range []string{"asks", "rsa", "p521"} {
		w.write("trusted", w.run("cat", ca+".pub"))
		if err := certify(ca, server.User); err != nil {
			t.Fatalf("%s: %v", ca, err)
		}
		if err := login(); err != nil {
			t.Errorf("%s: login: %v\n%s", ca, err, server.Log())
		}
	}
	if err := certify("p521", "somebody-else"); err != nil {
		t.Fatal(err)
	}
	if login() == nil {
		t.Error("logged in with another's certificate")
	}
	if err := certify("asks", server.User); err == nil {
		t.Error("certified in spite of a no")
	}
	asked := w.questions()
	if len(asked) != 2 {
		t.Fatalf("asked %q", asked)
	}
	for _, want := range []string{
		"Certificate for: a user\n", `Principals: "` + server.User + `"`, "Valid: from 20", `Extensions: "permit-X11-forwarding", `,
		"Certified key: " + strings.Fields(w.run("ssh-keygen", "-l", "-f", "user.pub"))[1] + " (ssh-ed25519)",
		`Certificate id: "laptop of\talice"`, "Serial: 42\n",
	} {
		if !strings.Contains(asked[0], want) {
			t.Errorf("asked %q; want %q in it", asked[0], want)
		}
	}
}

// hostKeyServer is a real sshd whose host keys are in the TPM, and a client's word on
// which of them it knows.
type hostKeyServer struct {
	*sshtest.Server
	w *world
}

func (s hostKeyServer) knows(line string) {
	s.w.write("known", strings.ReplaceAll(line, "HOST", fmt.Sprintf("[127.0.0.1]:%d", s.Port))+"\n")
}

// ssh logs in, in strict comparison with the known host keys.
func (s hostKeyServer) ssh(option string, command ...string) (string, error) {
	args := []string{
		"-o", "UserKnownHostsFile=" + s.w.path("known"), "-o", "StrictHostKeyChecking=yes", "-o", option,
		"-o", "UpdateHostKeys=no", "-o", "IdentityAgent=none", "-i", s.w.path("user"),
	}
	return s.w.try("", "ssh", append(append(args, s.Args()...), command...)...)
}

// TestHostKeys: a real sshd whose host keys are in the TPM serves clients that
// check them, in each exchange of keys, and hands its other keys to them.
func TestHostKeys(t *testing.T) {
	for _, p := range []testenv.Program{testenv.SSH, testenv.SSHKeygen} {
		testenv.Need(t, p)
	}
	w := newWorld(t)
	w.startAgent()
	config := []string{"HostKeyAgent " + w.sshSocket()}
	keys := map[string]string{}
	for _, algorithm := range []string{"p256", "p384", "p521", "rsa2048"} {
		w.run("sealsmith", "key", "create", algorithm, "--usage", "ssh-host", "--alg", algorithm)
		keys[algorithm] = strings.Join(strings.Fields(w.run("sealsmith", "key", "pubkey", algorithm))[:2], " ")
		config = append(config, "HostKey "+w.write(algorithm+".pub", keys[algorithm]+"\n"))
	}
	w.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "user")
	user := []byte(w.run("cat", "user.pub"))
	server := hostKeyServer{sshtest.Start(t, user, config...), w}
	forms := func(form string) int { return strings.Count(w.run("cat", "state/sealsmith/audit.jsonl"), `"`+form+`"`) }

	for algorithm, exchange := range map[string]string{
		"p256":    "curve25519-sha256",
		"p384":    "ecdh-sha2-nistp384",            // SHA-384
		"p521":    "diffie-hellman-group16-sha512", // SHA-512
		"rsa2048": "ecdh-sha2-nistp256",
	} {
		server.knows("HOST " + keys[algorithm])
		if _, err := server.ssh("KexAlgorithms="+exchange, "true"); err != nil {
			t.Errorf("%s: %v\n%s", algorithm, err, server.Log())
		}
	}
	server.knows("HOST " + strings.TrimSpace(string(user)))
	if _, err := server.ssh("LogLevel=ERROR", "true"); err == nil {
		t.Error("the client took host keys that it does not know")
	}

	server.knows("HOST " + keys["p256"])
	before := forms("exchange-hash")
	out, err := server.ssh("RekeyLimit=16K", "head", "-c", "1000000", "/dev/zero")
	if n := forms("exchange-hash") - before; err != nil || len(out) != 1_000_000 || n < 2 {
		t.Errorf("%d bytes, %v, %d exchanges of keys\n%s", len(out), err, n, server.Log())
	}

	// An sshd that is not root's ends instead of having the agent make a second proof
	// (seen in 9.2).
	if os.Getuid() == 0 {
		server.proves(keys)
		if n := forms("host-key-proof"); n != len(keys)-1 {
			t.Errorf("%d proofs", n)
		}
	}

	// A CA in the TPM certifies a host key in the TPM.
	w.run("sealsmith", "key", "create", "ca", "--usage", "ssh-ca", "--unattended")
	ca := w.write("ca.pub", w.run("sealsmith", "key", "pubkey", "ca"))
	w.run("ssh-keygen", "-q", "-s", ca, "-U", "-h", "-I", "host", "-n", "127.0.0.1", "-V", "+1h", "p256.pub")
	server = hostKeyServer{sshtest.Start(t, user, append(config, "HostCertificate "+w.path("p256-cert.pub"))...), w}
	server.knows("@cert-authority HOST " + w.run("cat", ca))
	if _, err := server.ssh("HostKeyAlgorithms=ecdsa-sha2-nistp256-cert-v01@openssh.com", "true"); err != nil {
		t.Errorf("with a certificate: %v\n%s", err, server.Log())
	}
}

// proves has the client ask for proofs of the keys that it does not know yet.
func (s hostKeyServer) proves(keys map[string]string) {
	t := s.w.t
	t.Helper()
	wait := fmt.Sprintf("'until grep -q nistp521 %s; do sleep 0.01; done'", s.w.path("known"))
	if _, err := s.ssh("UpdateHostKeys=yes", "timeout", "60", "sh", "-c", wait); err != nil {
		t.Errorf("%v\n%s", err, s.Log())
	}
	for algorithm, line := range keys {
		if !strings.Contains(s.w.run("cat", "known"), line) {
			t.Errorf("the client does not know the key %s now", algorithm)
		}
	}
}
