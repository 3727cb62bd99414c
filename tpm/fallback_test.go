package tpm_test

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
)

var everyHash = []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}

// withoutLongHashes makes the chip one that has SHA-256 only: its list of
// algorithms says so.
func withoutLongHashes(chip *tpmtest.TPM) {
	chip.Inject(tpmtest.Fault{On: tpm2.TPMCCGetCapability, Kind: tpmtest.Change, Times: 1000, Edit: func(answer []byte) []byte {
		// Header, moreData, TPM_CAP_ALGS, count, and then an algorithm and its
		// properties each.
		const first = 10 + 1 + 4 + 4
		if len(answer) <= first || binary.BigEndian.Uint32(answer[11:]) != uint32(tpm2.TPMCapAlgs) {
			return answer
		}
		for i := first; i+6 <= len(answer); i += 6 {
			if alg := tpm2.TPMAlgID(binary.BigEndian.Uint16(answer[i:])); alg == tpm2.TPMAlgSHA384 || alg == tpm2.TPMAlgSHA512 {
				binary.BigEndian.PutUint16(answer[i:], uint16(tpm2.TPMAlgSHA3256))
			}
		}
		return answer
	}})
}

// refuseOnce has the next TPM2_Sign refused as by a chip without the hash:
// TPM_RC_HASH of the second parameter.
func refuseOnce(chip *tpmtest.TPM) {
	chip.Inject(tpmtest.Fault{On: tpm2.TPMCCSign, Kind: tpmtest.Answer, Code: tpm2.TPMRCHash + 0x240})
}

func digestFor(h crypto.Hash) []byte { return bytes.Repeat([]byte{0xa5}, h.Size()) }

// TestECDSANeedsNoLongerHash: a digest is cut to what the curve uses, so that a
// chip with the curve's own hash serves all.
func TestECDSANeedsNoLongerHash(t *testing.T) {
	for alg, longest := range map[key.Algorithm]tpm2.TPMAlgID{key.P256: tpm2.TPMAlgSHA256, key.P384: tpm2.TPMAlgSHA384} {
		chip := tpmtest.Start(t)
		s := create(t, newBackend(t, chip, nil), "k", alg, nil)
		for _, h := range everyHash {
			signature, err := s.SignContext(t.Context(), digestFor(h), h)
			if err != nil || !keytest.Verifies(s.Public(), h, digestFor(h), signature) {
				t.Errorf("%s with %v: %v", alg, h, err)
			}
		}
		for _, id := range []tpm2.TPMAlgID{tpm2.TPMAlgSHA384, tpm2.TPMAlgSHA512} {
			scheme := binary.BigEndian.AppendUint16([]byte{0, byte(tpm2.TPMAlgECDSA)}, uint16(id))
			if id > longest && chip.Saw(append(scheme, 0x80, 0x24)) { // and a ticket
				t.Errorf("%s: ECDSA with hash %#x was asked for", alg, uint16(id))
			}
		}
	}
}

// TestChipWithoutLongHashes: an RSA key of such a chip may decrypt, and signs with
// every hash all the same; the hashes are learnt once.
func TestChipWithoutLongHashes(t *testing.T) {
	chip := tpmtest.Start(t)
	withoutLongHashes(chip)
	const pin = "correct horse"
	dir := filepath.Join(t.TempDir(), "keys")
	b := backendOver(t, chip.Open(), dir, lend(t, pin))
	s := create(t, b, "k", key.RSA2048, []byte(pin))
	for _, h := range everyHash {
		for _, opts := range []crypto.SignerOpts{h, &rsa.PSSOptions{Hash: h, SaltLength: rsa.PSSSaltLengthEqualsHash}} {
			chip.Commands()
			signature, err := s.SignContext(t.Context(), digestFor(h), opts)
			if err != nil || !keytest.Verifies(s.Public(), opts, digestFor(h), signature) {
				t.Errorf("%+v: %v", opts, err)
			}
			want := tpm2.TPMCCRSADecrypt
			if h == crypto.SHA256 {
				want = tpm2.TPMCCSign
			}
			if got := chip.Commands(); len(got) == 0 || got[len(got)-1] != want ||
				tpmtest.Count(got, tpm2.TPMCCGetCapability) != 0 {
				t.Errorf("%+v took %v", opts, got)
			}
			if h != crypto.SHA256 && chip.Saw(digestFor(h)) {
				t.Errorf("%+v: the digest was seen", opts)
			}
		}
	}
	closed(t, b)
	s = keytest.Only(t, backendOver(t, chip.Open(), dir, lend(t, pin)))
	mustSign(t, s)
	refuseOnce(chip) // a new connection learns by a refusal
	for i, want := range [][]tpm2.TPMCC{{tpm2.TPMCCSign, tpm2.TPMCCGetCapability, tpm2.TPMCCRSADecrypt}, {tpm2.TPMCCRSADecrypt}} {
		chip.Commands()
		if _, err := s.SignContext(t.Context(), digestFor(crypto.SHA512), crypto.SHA512); err != nil {
			t.Error(err)
		}
		if got := chip.Commands(); !slices.Equal(got, want) {
			t.Errorf("signature %d took %v, want %v", i, got, want)
		}
	}
}

// TestHashIsRefused: a chip that refuses a hash is asked what it has, and only
// then another way is gone, if the key allows it.
func TestHashIsRefused(t *testing.T) {
	chip := tpmtest.Start(t)
	dir := filepath.Join(t.TempDir(), "keys")
	b := backendOver(t, chip.Open(), dir, nil)
	keys := map[string]key.Signer{
		"rsa": create(t, b, "rsa", key.RSA2048, nil), "p384": create(t, b, "p384", key.P384, nil), "p521": create(t, b, "p521", key.P521, nil),
	}
	refuseOnce(chip) // though it has the hash: the refusal stands
	if _, err := keys["rsa"].SignContext(t.Context(), digestFor(crypto.SHA512), crypto.SHA512); !errors.Is(err, tpm2.TPMRCHash) || !errors.Is(err, key.ErrUnsupported) {
		t.Errorf("a refusal of a hash that the chip has: %v", err)
	}
	closed(t, b)
	b = backendOver(t, chip.Open(), dir, nil)
	withoutLongHashes(chip)
	refuseOnce(chip)
	for s, err := range b.Keys(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		chip.Commands()
		_, err := s.SignContext(t.Context(), digestFor(crypto.SHA512), crypto.SHA512)
		hints := strings.Join(hint.Of(err), "; ")
		if !errors.Is(err, key.ErrUnsupported) || !strings.Contains(err.Error(), "SHA-") || !strings.HasSuffix(hints, "only with SHA-256") {
			t.Errorf("%v: %v, hints %q", s.Info().Ref, err, hints)
		}
		mustSign(t, s)
		if slices.Contains(chip.Commands(), tpm2.TPMCCRSADecrypt) {
			t.Errorf("%v was used to decrypt", s.Info().Ref)
		}
	}
}
