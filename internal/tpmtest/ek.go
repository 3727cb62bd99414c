package tpmtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// Maker is a maker of software TPMs with endorsement keys: an RSA-2048 key (L-1) and
// a P-384 key (H-3) with certificates in NV memory, as swtpm_setup makes them.
type Maker struct {
	// Root and Intermediate are the CA certificates of the maker, in PEM.
	Root, Intermediate []byte

	state []byte // of a TPM as it leaves the factory
}

// makers are made once for each test process: that takes a second.
var makers [2]func() (*Maker, error)

func init() {
	for i := range makers {
		makers[i] = sync.OnceValues(newMaker)
	}
}

// Manufacturer is the usual maker. All its TPMs have the same seeds, hence the same
// endorsement keys.
func Manufacturer(t testing.TB) *Maker { return maker(t, 0) }

// AnotherManufacturer is one with other CAs, and other seeds.
func AnotherManufacturer(t testing.TB) *Maker { return maker(t, 1) }

func maker(t testing.TB, i int) *Maker {
	t.Helper()
	testenv.Need(t, testenv.SWTPM)
	testenv.Need(t, testenv.SWTPMSetup)
	m, err := makers[i]()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// StartProvisioned is [Start] for a TPM of the usual maker.
func StartProvisioned(t testing.TB) *TPM { return Manufacturer(t).Start(t) }

// Start is [Start] for a TPM of this maker.
func (m *Maker) Start(t testing.TB) *TPM {
	t.Helper()
	state := t.TempDir()
	if err := m.Provision(state); err != nil {
		t.Fatal(err)
	}
	return startIn(t, state)
}

// Provision puts the state of a TPM of this maker into a folder, which is made if
// needed, for programs that start swtpm there themselves.
func (m *Maker) Provision(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, stateFile), m.state, 0o600)
}

// stateFile is where swtpm keeps what survives a power cut.
const stateFile = "tpm2-00.permall"

func newMaker() (*Maker, error) {
	dir, err := os.MkdirTemp("", "sealsmith-maker-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program, err := testenv.Look(testenv.SWTPMSetup)
	if err != nil {
		return nil, err
	}
	localca, err := exec.LookPath("swtpm_localca")
	if err != nil {
		return nil, err
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	for name, content := range map[string]string{
		"setup.conf": fmt.Sprintf("create_certs_tool = %s\ncreate_certs_tool_config = %s\ncreate_certs_tool_options = %s\nactive_pcr_banks = sha256\n",
			localca, in("ca.conf"), in("ca.options")),
		"ca.conf": fmt.Sprintf("statedir = %s\nsigningkey = %s\nissuercert = %s\ncertserial = %s\n",
			dir, in("ca.key"), in("ca.pem"), in("serial")),
		"ca.options": "--platform-manufacturer Test\n--platform-version 2.1\n--platform-model QEMU\n",
	} {
		if err := os.WriteFile(in(name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	if err := os.Mkdir(in("state"), 0o700); err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "--config", in("setup.conf"), "--tpm2", "--tpmstate", in("state"),
		"--create-ek-cert", "--create-platform-cert", "--lock-nvram", "--overwrite")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("swtpm_setup: %w: %s", err, out)
	}
	m := &Maker{}
	for name, into := range map[string]*[]byte{
		filepath.Join("state", stateFile): &m.state, "ca.pem": &m.Intermediate, "swtpm-localca-rootca-cert.pem": &m.Root,
	} {
		if *into, err = os.ReadFile(in(name)); err != nil {
			return nil, err
		}
	}
	return m, nil
}
