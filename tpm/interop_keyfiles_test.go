package tpm_test

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// fields are what go-tpm-keyfiles finds in a key file.
type fields struct {
	Type        string `json:"type"`
	EmptyAuth   bool   `json:"empty_auth"`
	Description string `json:"description"`
	Parent      uint32 `json:"parent"`
	Public      string `json:"public"`
	Private     string `json:"private"`
	Secret      string `json:"secret"`
}

// socket is the TPM for go-tpm-keyfiles.
func (w *bench) socket() string { return strings.TrimPrefix(w.chip.Device(), "unix:") }

// TestOurKeysInKeyfiles: the library behind ssh-tpm-agent finds in our files what
// we wrote, signs with them, and writes them so that we read the same again.
func TestOurKeysInKeyfiles(t *testing.T) {
	t.Parallel()
	w := newBench(t)
	b := w.backend()
	signers := map[string]key.Signer{}
	for _, alg := range []key.Algorithm{key.P256, key.P384, key.P521, key.RSA2048} {
		signers[string(alg)] = create(t, b, string(alg), alg, nil)
	}
	signers["pin"] = create(t, b, "pin", key.P256, []byte(interopPIN))
	closed(t, b)
	for name, s := range signers {
		path := filepath.Join(w.keys, name+".tpm")
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		public, private, err := tpm.Areas(data)
		if err != nil {
			t.Fatal(err)
		}
		var got fields
		if err := json.Unmarshal(w.run(testenv.KeyFiles, nil, "show", path), &got); err != nil {
			t.Fatal(err)
		}
		want := fields{
			Type: "2.23.133.10.1.3", EmptyAuth: name != "pin", Parent: 0x40000001,
			Public: hex.EncodeToString(public), Private: hex.EncodeToString(private),
		}
		if got != want {
			t.Errorf("%s: found %+v, want %+v", name, got, want)
		}
		signature := w.run(testenv.KeyFiles, digestFor(crypto.SHA256), "sign", "-tpm", w.socket(), "-pin", "pin", path)
		if !keytest.Verifies(s.Public(), crypto.SHA256, digestFor(crypto.SHA256), signature) {
			t.Errorf("%s: its signature does not verify", name)
		}
		again := w.run(testenv.KeyFiles, nil, "encode", path)
		if p, q, err := tpm.Areas(again); err != nil || !bytes.Equal(p, public) || !bytes.Equal(q, private) {
			t.Errorf("%s: written again: %v", name, err)
		}
	}
}

// TestKeysOfKeyfiles: we list and sign with what the library makes, and take the
// comment and the PIN that its files speak of for what they are.
func TestKeysOfKeyfiles(t *testing.T) {
	t.Parallel()
	w := newBench(t)
	otherParent{handle: persistent, hierarchy: 0x40000001}.makeKey(t, w.chip, "") // only the parent is of use
	names := map[string][]string{
		"p256":        {"-bits", "256"},
		"p384":        {"-bits", "384"},
		"p521":        {"-bits", "521", "-pin", "pin"},
		"rsa2048":     {"-kind", "rsa", "-bits", "2048"},
		"pin":         {"-pin", "pin"},
		"description": {"-description", "a comment, with ü", "-pin", "pin"},
		"persistent":  {"-parent", "0x81000005"},
		"endorsement": {"-parent", "0x4000000B", "-pin", "pin"},
		"platform":    {"-parent", "0x4000000C"},
	}
	var all []string
	for name, args := range names {
		w.file(name+".tpm", w.run(testenv.KeyFiles, nil, append([]string{"create", "-tpm", w.socket()}, args...)...))
		w.keep(name)
		all = append(all, name)
	}
	w.wantSigns(all...)
	for name, in := range infos(t, w.keys) {
		if asks := strings.Contains(strings.Join(names[name], " "), "-pin"); in.Policy.PIN != asks || in.Usage != key.SSH {
			t.Errorf("%s: %+v", name, in)
		}
	}
}
