package bench

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/sigtest"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/sign"
)

// TestBundleVerifyProcess verifies a signed release of as many certificates as the
// built-in catalog has, as a person does: the program from its start to its end,
// against ssh-keygen and sha256sum, one after the other. Those two read neither the
// bundles nor the index nor the Sigstore bundle, and remember nothing.
func TestBundleVerifyProcess(t *testing.T) {
	const name, memory = "bundle/verify/process", "bundle/verify/rss"
	if !wanted(name) && !wanted(memory) {
		return
	}
	dir := t.TempDir()
	program := buildProgram(t, dir)
	release, signers := filepath.Join(dir, "release"), filepath.Join(dir, "signers")
	writeRelease(t, release, signers)
	ours := func() *exec.Cmd {
		cmd := exec.Command(program, "bundle", "verify", release, "--allowed-signers", signers, "--identity", "me@example.org")
		cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(dir, "state"))
		return cmd
	}
	signature := func() *exec.Cmd {
		cmd := exec.Command(testenv.Need(t, testenv.SSHKeygen), "-Y", "verify", "-f", signers, "-I", "me@example.org", "-n", "sealsmith-bundle",
			"-s", filepath.Join(release, bundle.SumsName+".sig"))
		sums, err := os.ReadFile(filepath.Join(release, bundle.SumsName))
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdin = bytes.NewReader(sums)
		return cmd
	}
	sums := func() *exec.Cmd {
		cmd := exec.Command(testenv.Need(t, testenv.SHA256Sum), "--strict", "-c", bundle.SumsName)
		cmd.Dir = release
		return cmd
	}
	run := func(commands ...func() *exec.Cmd) func() float64 {
		return func() float64 {
			return seconds(func() {
				for _, command := range commands {
					if out, err := command().CombinedOutput(); err != nil {
						t.Fatalf("%v\n%s", err, out)
					}
				}
			})
		}
	}
	run(ours)() // which remembers it
	if wanted(name) {
		value, ratio := inTurns(run(ours), run(signature, sums))
		printFigure(name, value, "s", "ssh-keygen and sha256sum", 1/ratio)
	}
	if wanted(memory) {
		var peaks []float64
		for range rounds {
			peaks = append(peaks, peakMemory(t, ours()))
		}
		printFigure(memory, median(peaks), "kB", fmt.Sprintf("%v kB", processMemory), processMemory/median(peaks))
	}
}

// writeRelease writes a signed release, and the file that allows its signer.
func writeRelease(t *testing.T, dir, signers string) {
	t.Helper()
	store, err := bundle.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	options := bundle.Options{Date: "2026-04-11", Catalogs: map[bundle.Kind]*bundle.Catalog{}, Fetcher: &bundle.Fetcher{Store: store, Offline: true}}
	var root *authority
	serial := 0
	for _, kind := range bundle.Kinds() {
		own, err := bundle.OwnCatalog(kind)
		if err != nil {
			t.Fatal(err)
		}
		list, issuer := &bundle.Catalog{}, root
		for _, e := range own.Entries {
			serial++
			made := newAuthority(t, serial, issuer)
			if kind == bundle.Roots {
				root = made
			}
			if err := store.Add(made.cert.Raw); err != nil {
				t.Fatal(err)
			}
			digest := sha256.Sum256(made.cert.Raw)
			e.Fingerprints = []bundle.Fingerprint{{Hash: crypto.SHA256, Digest: digest[:]}}
			list.Entries = append(list.Entries, e)
		}
		options.Catalogs[kind] = list
	}
	out, err := bundle.Release(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	sums := out.Files[len(out.Files)-1]
	k := sigtest.NewKey(t, key.P256)
	sshsig, sshErr := sign.SSH(t.Context(), k, "sealsmith-bundle", bytes.NewReader(sums.Data))
	sigstore, err := sign.Blob(t.Context(), k, bytes.NewReader(sums.Data))
	line, lineErr := sshwire.AuthorizedKey(k.Info().Public, "")
	if err := errors.Join(sshErr, err, lineErr, os.Mkdir(dir, 0o700), out.Write(dir)); err != nil {
		t.Fatal(err)
	}
	for path, data := range map[string][]byte{
		filepath.Join(dir, sums.Name+".sig"): sshsig, filepath.Join(dir, sums.Name+".sigstore.json"): sigstore,
		signers: append([]byte("me@example.org "), line...),
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
