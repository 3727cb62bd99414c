package tpm

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/key"
)

// learnHashes asks the TPM which of our hashes it has, once per connection. Every
// TPM has SHA-256; those before 2019 often have no more than it and SHA-1.
func (c *chip) learnHashes() error {
	if c.hashes != nil {
		return nil
	}
	ids, err := c.algorithms()
	if err != nil {
		return err
	}
	found := []crypto.Hash{crypto.SHA256}
	for _, h := range []crypto.Hash{crypto.SHA384, crypto.SHA512} {
		if slices.Contains(ids, hashes[h]) {
			found = append(found, h)
		}
	}
	c.hashes = found
	return nil
}

// lacks says whether the TPM is known not to have a hash.
func (c *chip) lacks(h crypto.Hash) bool { return c.hashes != nil && !slices.Contains(c.hashes, h) }

// newTemplate is the template of a new key for this TPM. An RSA key may decrypt
// only if the TPM lacks a hash of ours: then that is the way to sign with it.
func (c *chip) newTemplate(s key.Spec, pin bool) (tpm2.TPMTPublic, error) {
	t := template(s.Algorithm, s.Usage, pin)
	if !s.Algorithm.RSA() {
		return t, nil
	}
	if err := c.learnHashes(); err != nil {
		return t, err
	}
	t.ObjectAttributes.Decrypt = len(c.hashes) < len(hashes)
	return t, nil
}

// signHere makes one signature with a loaded key: by TPM2_Sign, or without the
// TPM's help for the hash if it does not have it. That is asked only after a
// refusal, so that the usual signature is one command.
func (c *chip) signHere(handle tpm2.TPMHandle, o *object, w order) (*tpm2.TPMTSignature, error) {
	k := tpm2.AuthHandle{Handle: handle, Name: tpm2.TPM2BName{Buffer: []byte(o.name)}, Auth: c.session}
	if !c.lacks(w.hash) {
		rsp, err := execute(c, signCommand{
			KeyHandle: k,
			Digest:    tpm2.TPM2BDigest{Buffer: w.digest},
			InScheme: tpm2.TPMTSigScheme{
				Scheme:  w.scheme,
				Details: tpm2.NewTPMUSigScheme(w.scheme, &tpm2.TPMSSchemeHash{HashAlg: hashes[w.hash]}),
			},
			// A ticket is for restricted keys only.
			Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
		})
		if err == nil {
			return &rsp.Signature, nil
		}
		if !errors.Is(err, tpm2.TPMRCHash) && !errors.Is(err, tpm2.TPMRCScheme) && !errors.Is(err, tpm2.TPMRCValue) {
			return nil, err
		}
		if lerr := c.learnHashes(); lerr != nil {
			return nil, fmt.Errorf("%w: %w", err, lerr)
		}
		if !c.lacks(w.hash) {
			return nil, err
		}
	}
	return c.signPadded(k, o, w)
}

// signPadded signs with a hash that the TPM does not have: the padding is made
// here, and TPM2_RSA_Decrypt without a scheme is the bare private-key operation.
func (c *chip) signPadded(k tpm2.AuthHandle, o *object, w order) (*tpm2.TPMTSignature, error) {
	area, err := parsePublic(o.public)
	if err != nil {
		return nil, err
	}
	public, err := publicKey(area)
	if err != nil {
		return nil, err
	}
	rsaPublic, isRSA := public.(*rsa.PublicKey)
	if !isRSA || !area.ObjectAttributes.Decrypt {
		return nil, hint.Wrap(fmt.Errorf("hash %v: %w by this TPM", w.hash, key.ErrUnsupported),
			"with this key the TPM signs only with "+c.hashNames())
	}
	padded, err := w.pad(rsaPublic.N.BitLen())
	if err != nil {
		return nil, err
	}
	rsp, err := execute(c, tpm2.RSADecrypt{KeyHandle: k, CipherText: tpm2.TPM2BPublicKeyRSA{Buffer: padded}})
	if err != nil {
		return nil, err
	}
	raw := rsp.Message.Buffer
	if len(raw) < len(padded) { // leading zeros mean nothing to some TPMs
		raw = append(make([]byte, len(padded)-len(raw)), raw...)
	}
	return &tpm2.TPMTSignature{
		SigAlg: w.scheme,
		Signature: tpm2.NewTPMUSignature(w.scheme,
			&tpm2.TPMSSignatureRSA{Hash: hashes[w.hash], Sig: tpm2.TPM2BPublicKeyRSA{Buffer: raw}}),
	}, nil
}

// hashNames lists the TPM's hashes for a person.
func (c *chip) hashNames() string {
	names := make([]string, len(c.hashes))
	for i, h := range c.hashes {
		names[i] = h.String()
	}
	return strings.Join(names, ", ")
}

// pad makes the octets that the private-key operation is applied to.
func (w order) pad(bits int) ([]byte, error) {
	if w.scheme == tpm2.TPMAlgRSAPSS {
		salt := make([]byte, w.hash.Size())
		rand.Read(salt) // never fails
		return padPSS(w.hash, w.digest, salt, bits)
	}
	return padPKCS1(w.hash, w.digest, bits)
}

// digestInfos are the octets before a digest in a DigestInfo (RFC 8017, section
// 9.2, note 1).
var digestInfos = map[crypto.Hash]string{
	crypto.SHA256: "\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
	crypto.SHA384: "\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30",
	crypto.SHA512: "\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40",
}

var errSmallModulus = errors.New("the RSA key is too small for the hash")

// padPKCS1 is EMSA-PKCS1-v1_5 (RFC 8017, section 9.2).
func padPKCS1(h crypto.Hash, digest []byte, bits int) ([]byte, error) {
	info := digestInfos[h] + string(digest)
	fill := (bits+7)/8 - len(info) - 3
	if fill < 8 {
		return nil, errSmallModulus
	}
	return []byte("\x00\x01" + strings.Repeat("\xff", fill) + "\x00" + info), nil
}

// padPSS is EMSA-PSS with MGF1 and the same hash (RFC 8017, section 9.1.1).
func padPSS(h crypto.Hash, digest, salt []byte, bits int) ([]byte, error) {
	bits-- // the result is less than the modulus
	size := (bits + 7) / 8
	db := make([]byte, max(0, size-h.Size()-1))
	if len(db) < len(salt)+2 {
		return nil, errSmallModulus
	}
	db[len(db)-len(salt)-1] = 1
	copy(db[len(db)-len(salt):], salt)

	inner := h.New()
	inner.Write(make([]byte, 8))
	inner.Write(digest)
	inner.Write(salt)
	seed := inner.Sum(nil)
	for i := 0; i < len(db); i += h.Size() {
		inner.Reset()
		inner.Write(seed)
		inner.Write([]byte{0, 0, 0, byte(i / h.Size())}) // 512 octets at most: a small count
		subtle.XORBytes(db[i:], db[i:], inner.Sum(nil))
	}
	db[0] &= 0xff >> (8*size - bits)
	return append(append(db, seed...), 0xbc), nil
}
