package testenv

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Program is a program that tests talk to.
type Program string

// The programs that tests use.
const (
	SWTPM      Program = "swtpm"
	SWTPMSetup Program = "swtpm_setup"
	SSH        Program = "ssh"
	SSHD       Program = "sshd"
	SSHKeygen  Program = "ssh-keygen"
	SSHAdd     Program = "ssh-add"
	SSHAgent   Program = "ssh-agent"
	SCP        Program = "scp"
	SFTP       Program = "sftp"
	TCSH       Program = "tcsh"
	Git        Program = "git"
	JQ         Program = "jq"
	OpenSSL    Program = "openssl"
	Curl       Program = "curl"
	SHA256Sum  Program = "sha256sum"
	Cosign     Program = "cosign"
	Crane      Program = "crane"
	Pinentry   Program = "pinentry-curses"
	// The programs of systemd.
	SystemdAnalyze        Program = "systemd-analyze"
	SystemdSocketActivate Program = "systemd-socket-activate"
	// TPM2OpenSSL is a module of OpenSSL, not a program.
	TPM2OpenSSL Program = "tpm2-openssl"
	// KeyFiles is internal/tools/keyfiles.
	KeyFiles Program = "keyfiles"
	// The programs of tpm2-tools.
	TPM2CreatePrimary  Program = "tpm2_createprimary"
	TPM2Create         Program = "tpm2_create"
	TPM2EncodeObject   Program = "tpm2_encodeobject"
	TPM2EvictControl   Program = "tpm2_evictcontrol"
	TPM2MakeCredential Program = "tpm2_makecredential"
)

// Need returns the path of a program. Without the program it skips the test, or
// fails it when SEALSMITH_REQUIRE demands the program.
func Need(t testing.TB, p Program) string {
	t.Helper()
	path, err := Look(p)
	if err == nil {
		return path
	}
	if Required(string(p)) {
		t.Fatalf("%s is required and cannot be found: %v; run: make setup", p, err)
	}
	t.Skipf("%s cannot be found: %v; run: make setup", p, err)
	return ""
}

// Look finds a program in bin/tools of this module (what `make tools` built),
// on PATH, or in the system's own folders, which are not on everybody's PATH.
func Look(p Program) (string, error) {
	if p == TPM2OpenSSL {
		return lookModule("tpm2")
	}
	if path := filepath.Join(Root(), "bin", "tools", string(p)); executable(path) {
		return path, nil
	}
	path, err := exec.LookPath(string(p))
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/sbin"} {
		if path := filepath.Join(dir, string(p)); executable(path) {
			return path, nil
		}
	}
	return "", err
}

// lookModule finds a module of OpenSSL in its folder: some cannot be asked
// themselves unless their device is there.
func lookModule(name string) (string, error) {
	openssl, err := Look(OpenSSL)
	if err != nil {
		return "", err
	}
	out, err := exec.Command(openssl, "version", "-m").Output()
	if err != nil {
		return "", fmt.Errorf("openssl version -m: %w", err)
	}
	dir, err := strconv.Unquote(strings.TrimSpace(strings.TrimPrefix(string(out), "MODULESDIR:")))
	if err != nil {
		return "", fmt.Errorf("openssl version -m: %q", out)
	}
	for _, suffix := range []string{".so", ".dylib"} {
		path := filepath.Join(dir, name+suffix)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no module %s in %s: %w", name, dir, fs.ErrNotExist)
}

// Required says whether SEALSMITH_REQUIRE names what, or says "all".
func Required(what string) bool {
	required := strings.Split(os.Getenv("SEALSMITH_REQUIRE"), ",")
	return slices.Contains(required, what) || slices.Contains(required, "all")
}

// Root is the folder of this module's go.mod, found upwards from the working
// folder (a test runs in its package's folder).
func Root() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			panic("testenv: not inside the module")
		}
		dir = parent
	}
}

// Glob is filepath.Glob that fails the test when nothing matches: an empty
// table proves nothing.
func Glob(t testing.TB, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no file matches %s (%v)", pattern, err)
	}
	return paths
}

// SocketDir makes a private folder whose path is short enough for the name of a
// unix socket (104 bytes on some systems) and removes it after the test.
func SocketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "sealsmith-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
