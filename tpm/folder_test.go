package tpm_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-tpm/tpm2"
	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// fixture is a key folder with one key "k", with a TPM that stays for the test.
type fixture struct {
	chip *tpmtest.TPM
	dir  string
	b    *tpm.Backend
	k    key.Signer
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{chip: tpmtest.Start(t), dir: filepath.Join(t.TempDir(), "keys")}
	f.b = backendOver(t, f.chip.Open(), f.dir, nil)
	var err error
	f.k, err = f.b.Create(t.Context(), key.Spec{
		Name: "k", Usage: key.Artifact, Algorithm: key.P256, Comment: "my release key", Unattended: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFiles(t *testing.T) {
	f := newFixture(t)
	var names []string
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, e.Name()+" "+info.Mode().String())
	}
	want := []string{".lock -rw-------", "k.json -rw-------", "k.pub -rw-r--r--", "k.tpm -rw-------"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	// The list without a device says what Create said.
	samePublic := cmp.Comparer(func(a, b key.Info) bool {
		a.Public, b.Public = nil, nil // compared by ID
		return a == b
	})
	if diff := cmp.Diff(f.k.Info(), infos(t, f.dir)["k"], samePublic); diff != "" {
		t.Error(diff)
	}
	if in := f.k.Info(); in.Comment != "my release key" || !in.Policy.Unattended || in.Created.IsZero() {
		t.Errorf("info %+v", in)
	}
}

func TestPublicFileIsOpenSSHs(t *testing.T) {
	keygen := testenv.Need(t, testenv.SSHKeygen)
	f := newFixture(t)
	out, err := exec.Command(keygen, "-l", "-f", filepath.Join(f.dir, "k.pub")).CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "256 SHA256:") || !strings.Contains(string(out), "my release key (ECDSA)") {
		t.Errorf("ssh-keygen: %v: %s", err, out)
	}
}

// TestKeyFileLoadsElsewhere loads our file as another program would, and
// compares the Name on the chip with the label and the public key computed here.
func TestKeyFileLoadsElsewhere(t *testing.T) {
	f := newFixture(t)
	data, err := os.ReadFile(filepath.Join(f.dir, "k.tpm"))
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := tpm.Areas(data)
	if err != nil {
		t.Fatal(err)
	}
	primary, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm.StorageTemplate()),
	}.Execute(f.chip)
	if err != nil {
		t.Fatal(err)
	}
	defer tpm2.FlushContext{FlushHandle: primary.ObjectHandle}.Execute(f.chip)
	loaded, err := tpm2.Load{
		ParentHandle: tpm2.NamedHandle{Handle: primary.ObjectHandle, Name: primary.Name},
		InPrivate:    tpm2.TPM2BPrivate{Buffer: private},
		InPublic:     tpm2.BytesAs2B[tpm2.TPMTPublic](public),
	}.Execute(f.chip)
	if err != nil {
		t.Fatal(err)
	}
	defer tpm2.FlushContext{FlushHandle: loaded.ObjectHandle}.Execute(f.chip)
	area, err := tpm2.Unmarshal[tpm2.TPMTPublic](public)
	if err != nil {
		t.Fatal(err)
	}
	name, err := tpm2.ObjectName(area)
	if err != nil || !bytes.Equal(name.Buffer, loaded.Name.Buffer) {
		t.Errorf("Name computed %x, on the chip %x, %v", name, loaded.Name.Buffer, err)
	}
	label := key.Artifact.Label()
	if !bytes.Equal(area.AuthPolicy.Buffer, label[:]) {
		t.Errorf("policy %x, want the label %x", area.AuthPolicy.Buffer, label)
	}
	want := tpm2.TPMAObject{
		FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true, SignEncrypt: true,
	}
	if area.ObjectAttributes != want {
		t.Errorf("attributes %+v", area.ObjectAttributes)
	}
}

func TestRecordOfAnotherKeyIsRefused(t *testing.T) {
	f := newFixture(t)
	other, err := f.b.Create(t.Context(), key.Spec{Name: "other", Usage: key.SSH, Algorithm: key.P256})
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(f.dir, "k.json"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(f.dir, "other.json"), data)
	wantListed(t, f.b, []string{"k"}, []string{`"other.tpm"`, string(f.k.Info().ID)})
	data = bytes.ReplaceAll(data, []byte(f.k.Info().ID), []byte(other.Info().ID))
	write(t, filepath.Join(f.dir, "other.json"), data)
	wantListed(t, f.b, []string{"k", "other"}, nil)
}

func TestBadFilesDoNotHideTheOthers(t *testing.T) {
	f := newFixture(t)
	good, err := os.ReadFile(filepath.Join(f.dir, "k.tpm"))
	if err != nil {
		t.Fatal(err)
	}
	record, err := os.ReadFile(filepath.Join(f.dir, "k.json"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file string
		data []byte
		mode os.FileMode
	}{
		"empty":            {"x.tpm", nil, 0o600},
		"no key":           {"x.tpm", []byte("hello\n"), 0o600},
		"too large":        {"x.tpm", bytes.Repeat([]byte(" "), 17<<10), 0o600},
		"writable by all":  {"x.tpm", good, 0o666},
		"not a name":       {"X Y.tpm", good, 0o600},
		"unknown field":    {"k.json", bytes.Replace(record, []byte(`"id"`), []byte(`"xx": 1, "id"`), 1), 0o600},
		"null record":      {"k.json", []byte("null\n"), 0o600},
		"trailing data":    {"k.json", append(record, "{}"...), 0o600},
		"bad parent":       {"k.json", bytes.Replace(record, []byte("000b"), []byte("00xx"), 1), 0o600},
		"record too large": {"k.json", append(record, bytes.Repeat([]byte(" "), 5000)...), 0o600},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(f.dir, c.file)
			write(t, path, c.data)
			chmod(t, path, c.mode)
			listed := []string{"k"}
			if c.file == "k.json" {
				listed = nil
			}
			wantListed(t, f.b, listed, []string{strings.TrimSuffix(c.file, ".json")})
			if c.file == "k.json" {
				write(t, path, record)
			} else if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			wantListed(t, f.b, []string{"k"}, nil)
		})
	}
}

// TestModesAreSeenAtOnce: a mode changes neither the content nor the time of a
// file, or of what a link leads to.
func TestModesAreSeenAtOnce(t *testing.T) {
	f := newFixture(t)
	path, elsewhere := filepath.Join(f.dir, "k.tpm"), filepath.Join(t.TempDir(), "k")
	check := func() {
		t.Helper()
		wantListed(t, f.b, []string{"k"}, nil)
		for range 2 {
			chmod(t, path, 0o666)
			wantListed(t, f.b, nil, []string{"k.tpm", "can be written"})
			chmod(t, path, 0o600)
			wantListed(t, f.b, []string{"k"}, nil)
		}
	}
	check()
	if err := errors.Join(os.Rename(path, elsewhere), os.Symlink(elsewhere, path)); err != nil {
		t.Fatal(err)
	}
	check()
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// TestInterruptedCreate leaves what a crash at each step would leave.
func TestInterruptedCreate(t *testing.T) {
	for name, files := range map[string][]string{
		"public key":            {"k.pub"},
		"public key and record": {"k.pub", "k.json"},
		"temporary file":        {"k.pub", "k.json", ".tmp-k.tpm-123"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "keys")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				write(t, filepath.Join(dir, file), []byte("half"))
			}
			b := backendOver(t, tpmtest.Start(t).Open(), dir, nil)
			wantListed(t, b, nil, nil)
			create(t, b, "other", key.P256, nil)
			for _, file := range files {
				if _, err := os.Stat(filepath.Join(dir, file)); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s was not swept: %v", file, err)
				}
			}
			create(t, b, "k", key.P256, nil)
			wantListed(t, b, []string{"k", "other"}, nil)
		})
	}
}

func TestInterruptedDelete(t *testing.T) {
	f := newFixture(t)
	if err := os.Remove(filepath.Join(f.dir, "k.tpm")); err != nil { // the first step
		t.Fatal(err)
	}
	wantListed(t, f.b, nil, nil)
	if err := f.b.Delete(t.Context(), key.Ref{Name: "k"}); !errors.Is(err, key.ErrNotFound) {
		t.Errorf("delete again: %v", err)
	}
	create(t, f.b, "k", key.P256, nil)
	wantListed(t, f.b, []string{"k"}, nil)
}

func TestDeleteTakesAllFiles(t *testing.T) {
	f := newFixture(t)
	create(t, f.b, "other", key.P256, nil)
	if err := f.b.Delete(t.Context(), f.k.Info().Ref); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(f.dir, "k.*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	for _, r := range []key.Ref{{Name: "../keys/other"}, {Backend: "piv/1", Name: "other"}, {ID: f.k.Info().ID}} {
		if err := f.b.Delete(t.Context(), r); !errors.Is(err, key.ErrNotFound) {
			t.Errorf("delete %q: %v; want ErrNotFound", r, err)
		}
	}
	wantListed(t, f.b, []string{"other"}, nil)
}

// TestCertificateBesideKey: NAME-cert.pub is found, also when it comes later, and goes
// with its key only.
func TestCertificateBesideKey(t *testing.T) {
	f := newFixture(t)
	other := create(t, f.b, "other", key.P256, nil).Info()
	authority, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	certificate := func(in key.Info) *ssh.Certificate {
		pub, err := ssh.NewPublicKey(in.Public)
		if err != nil {
			t.Fatal(err)
		}
		c := &ssh.Certificate{Key: pub, CertType: ssh.UserCert, ValidBefore: ssh.CertTimeInfinity}
		if err := c.SignCert(rand.Reader, authority); err != nil {
			t.Fatal(err)
		}
		return c
	}
	path := filepath.Join(f.dir, "k-cert.pub")
	listed := func() string {
		t.Helper()
		for s, err := range f.b.Keys(t.Context()) {
			if err == nil && s.Info().Ref.Name == "k" {
				return s.Info().Certificate
			}
		}
		t.Fatal("the key is not listed")
		return ""
	}
	good := certificate(f.k.Info())
	line := ssh.MarshalAuthorizedKey(good)
	if listed() != "" {
		t.Error("a certificate from nowhere")
	}
	write(t, path, line)
	if listed() != string(good.Marshal()) {
		t.Error("the certificate is not found")
	}
	for name, bad := range map[string][]byte{
		"of another key": ssh.MarshalAuthorizedKey(certificate(other)),
		"a plain key":    ssh.MarshalAuthorizedKey(good.Key),
		"two lines":      append(bytes.Clone(line), line...),
		"no line":        []byte("x"),
		"nothing":        nil,
		"too long":       append(bytes.Clone(line), bytes.Repeat([]byte("\n"), 1<<20)...),
	} {
		write(t, path, bad)
		if listed() != "" {
			t.Errorf("%s is taken for the key's certificate", name)
		}
	}
	write(t, path, line)
	write(t, filepath.Join(f.dir, "lone-cert.pub"), line) // before its key
	create(t, f.b, "new", key.P256, nil)                  // sweeps
	if listed() == "" {
		t.Error("a certificate was swept")
	}
	if err := f.b.Delete(t.Context(), f.k.Info().Ref); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the certificate of a deleted key is left")
	}
	if _, err := os.Stat(filepath.Join(f.dir, "lone-cert.pub")); err != nil {
		t.Error("a certificate of no key was swept")
	}
	create(t, f.b, "k", key.P256, nil)
	create(t, f.b, "k-cert", key.P256, nil)
	if err := f.b.Delete(t.Context(), key.Ref{Name: "k"}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error("the public key of k-cert went with k")
	}
}

// TestCopyOfAKeyFile: a person's copy of a key file, made by cp, stops nothing.
func TestCopyOfAKeyFile(t *testing.T) {
	f := newFixture(t)
	data, err := os.ReadFile(filepath.Join(f.dir, "k.tpm"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(f.dir, "copy.tpm"), data)
	wantListed(t, f.b, []string{"copy", "k"}, nil)
	ring := key.NewRing(f.b)
	s, err := ring.Signer(t.Context(), f.k.Info().ID)
	if err != nil {
		t.Fatal(err)
	}
	mustSign(t, s)
	if err := ring.Delete(t.Context(), key.Ref{Backend: "tpm", Name: "copy"}); err != nil {
		t.Fatal(err)
	}
	wantListed(t, f.b, []string{"k"}, nil)
	mustSign(t, keytest.Only(t, f.b))
}

// TestCreateAtOnce: two backends on one folder, as two processes would be.
func TestCreateAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	var made, refused atomic.Int32
	var wg sync.WaitGroup
	for range 2 {
		b := backendOver(t, tpmtest.Start(t).Open(), dir, nil)
		wg.Go(func() {
			_, err := b.Create(t.Context(), key.Spec{Name: "k", Usage: key.SSH, Algorithm: key.P256})
			switch {
			case err == nil:
				made.Add(1)
			case errors.Is(err, key.ErrExists):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 || refused.Load() != 1 {
		t.Errorf("%d made, %d refused", made.Load(), refused.Load())
	}
	if in := infos(t, dir)["k"]; in.Created.IsZero() {
		t.Errorf("the winner's files do not fit together: %+v", in)
	}
}

func TestKeyWithoutRecordIsForeign(t *testing.T) {
	f := newFixture(t)
	if err := os.Remove(filepath.Join(f.dir, "k.json")); err != nil {
		t.Fatal(err)
	}
	in := infos(t, f.dir)["k"]
	if in.Usage != key.Artifact || in.Policy.Unattended || !in.Created.IsZero() {
		t.Errorf("info %+v; want the label's usage and nothing that only the record says", in)
	}
	mustSign(t, keytest.Only(t, f.b))
}

// TestFileThatHidesThePIN: whatever a key is used for, that it has a PIN is found out
// once, and counted once.
func TestFileThatHidesThePIN(t *testing.T) {
	for name, use := range map[string]func(*testing.T, *tpm.Backend, key.Signer) error{
		"sign": func(t *testing.T, _ *tpm.Backend, s key.Signer) error { return sign(t.Context(), s) },
		"change PIN": func(t *testing.T, b *tpm.Backend, _ key.Signer) error {
			return changePIN(t.Context(), b, nil, []byte("new"))
		},
		"attest": func(t *testing.T, _ *tpm.Backend, s key.Signer) error { _, err := attest(t, s, nil); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			chip := tpmtest.StartProvisioned(t)
			chip.ExpectLockout(1)
			dir := filepath.Join(t.TempDir(), "keys")
			b := backendOver(t, chip.Open(), dir, nil)
			create(t, b, "k", key.P256, []byte("right"))
			hidePIN(t, filepath.Join(dir, "k.tpm"))
			s := keytest.Only(t, b)
			err := use(t, b, s)
			if _, isPIN := errors.AsType[*key.PINError](err); isPIN || !errors.Is(err, tpm2.TPMRCAuthFail) {
				t.Errorf("%v; want the TPM's refusal, and no PINError for a PIN that nobody gave", err)
			}
			if err := use(t, b, s); err == nil || len(hint.Of(err)) == 0 {
				t.Errorf("the second time: %v", err)
			}
		})
	}
}

// hidePIN changes emptyAuth in a key file to TRUE.
func hidePIN(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	no, yes := []byte{0xA0, 3, 1, 1, 0}, []byte{0xA0, 3, 1, 1, 0xff}
	block.Bytes = bytes.Replace(block.Bytes, no, yes, 1)
	write(t, path, pem.EncodeToMemory(block))
}

func TestKeyOfAnotherTPM(t *testing.T) {
	f := newFixture(t)
	for name, keep := range map[string]bool{"with record": true, "without record": false} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "keys")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{"k.tpm", "k.json"} {
				data, err := os.ReadFile(filepath.Join(f.dir, file))
				if err != nil {
					t.Fatal(err)
				}
				if keep || file == "k.tpm" {
					write(t, filepath.Join(dir, file), data)
				}
			}
			chip := tpmtest.Start(t)
			err := sign(t.Context(), keytest.Only(t, backendOver(t, chip.Open(), dir, nil)))
			if !errors.Is(err, key.ErrForeign) {
				t.Errorf("%v; want ErrForeign", err)
			}
			if keep && slices.Contains(chip.Commands(), tpm2.TPMCCLoad) {
				t.Error("the TPM was tried though the record says that it is another")
			}
		})
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// wantListed checks the names that a backend lists, and that it reports one
// error with the texts, or none.
func wantListed(t *testing.T, b *tpm.Backend, names, texts []string) {
	t.Helper()
	var got []string
	var failed error
	for s, err := range b.Keys(t.Context()) {
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		got = append(got, s.Info().Ref.Name)
	}
	if !slices.Equal(got, names) {
		t.Errorf("listed %q, want %q", got, names)
	}
	if (failed != nil) != (texts != nil) {
		t.Errorf("errors: %v; want one with %q", failed, texts)
	}
	for _, text := range texts {
		if failed != nil && !strings.Contains(failed.Error(), text) {
			t.Errorf("error %v does not say %q", failed, text)
		}
	}
}
