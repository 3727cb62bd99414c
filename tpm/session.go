package tpm

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

const (
	nonceSize  = 16
	aesKeySize = 16
)

// session is an HMAC session, salted to the storage primary, that encrypts the
// first parameter of each command (TPM 2.0 part 1, sections 19 and 21). Unlike
// go-tpm's, it serves objects with different auth values, one after the other,
// and takes an auth value as the TPM does: without its trailing zeros, with any
// zero inside (go-tpm v0.9.8 cuts at the first).
type session struct {
	handle      tpm2.TPMHandle
	key         []byte
	nonceCaller []byte
	nonceTPM    []byte
	auth        []byte // lent for one command by with; not ours

	secretAnswer bool // for one command: see withSecretAnswer
}

var _ tpm2.Session = (*session)(nil)

// startSession opens a session that only the owner of the parent's private part
// can share with us. The parent must have been checked, and may be flushed
// afterwards.
func startSession(c *chip, p parent) (*session, error) {
	encapsulation, err := tpm2.ImportEncapsulationKey(&p.public)
	if err != nil {
		return nil, err
	}
	salt, encrypted, err := tpm2.CreateEncryptedSalt(rand.Reader, encapsulation)
	if err != nil {
		return nil, err
	}
	defer clear(salt)
	s := &session{nonceCaller: make([]byte, nonceSize)}
	if err := s.NewNonceCaller(); err != nil {
		return nil, err
	}
	rsp, err := execute(c, tpm2.StartAuthSession{
		TPMKey:        p.handle,
		Bind:          tpm2.TPMRHNull,
		NonceCaller:   tpm2.TPM2BNonce{Buffer: s.nonceCaller},
		EncryptedSalt: tpm2.TPM2BEncryptedSecret{Buffer: encrypted},
		SessionType:   tpm2.TPMSEHMAC,
		Symmetric: tpm2.TPMTSymDef{
			Algorithm: tpm2.TPMAlgAES,
			KeyBits:   tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, tpm2.TPMKeyBits(8*aesKeySize)),
			Mode:      tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCFB),
		},
		AuthHash: tpm2.TPMAlgSHA256,
	})
	if err != nil {
		return nil, err
	}
	s.handle = tpm2.TPMHandle(rsp.SessionHandle.HandleValue())
	s.nonceTPM = rsp.NonceTPM.Buffer
	// Part 1, 19.6.8: the session key.
	s.key = tpm2.KDFa(crypto.SHA256, salt, "ATH", s.nonceTPM, s.nonceCaller, 8*sha256.Size)
	return s, nil
}

// forget clears the session's secret, with which PINs that were set could be read out
// of a recording of the bus. A nil session has none.
func (s *session) forget() {
	if s != nil {
		clear(s.key)
	}
}

// with lends an auth value to the session for the commands that f runs.
func (s *session) with(auth []byte, f func() error) error {
	s.auth = bytes.TrimRight(auth, "\x00")
	defer func() { s.auth = nil }()
	return f()
}

// withSecretAnswer has the TPM encrypt the first parameter of its answers to the
// commands that f runs. They are for objects with an empty auth value.
func (s *session) withSecretAnswer(f func() error) error {
	s.secretAnswer = true
	defer func() { s.secretAnswer = false }()
	return s.with(nil, f)
}

// Init implements [tpm2.Session].
func (s *session) Init(transport.TPM) error { return nil }

// CleanupFailure implements [tpm2.Session]: the session outlives a command that
// the TPM refused.
func (s *session) CleanupFailure(transport.TPM) error { return nil }

// NonceTPM implements [tpm2.Session].
func (s *session) NonceTPM() tpm2.TPM2BNonce { return tpm2.TPM2BNonce{Buffer: s.nonceTPM} }

// NewNonceCaller implements [tpm2.Session].
func (s *session) NewNonceCaller() error {
	_, err := rand.Read(s.nonceCaller)
	return err
}

// Handle implements [tpm2.Session].
func (s *session) Handle() tpm2.TPMHandle { return s.handle }

// IsEncryption implements [tpm2.Session]: most answers are not encrypted, for a
// signature is no secret.
func (s *session) IsEncryption() bool { return s.secretAnswer }

// IsDecryption implements [tpm2.Session]: the TPM decrypts what we send.
func (s *session) IsDecryption() bool { return true }

// attributes are those of every command: the session continues, and its first
// parameter is encrypted.
func (s *session) attributes() tpm2.TPMASession {
	return tpm2.TPMASession{ContinueSession: true, Decrypt: true, Encrypt: s.secretAnswer}
}

// attributes as a TPMA_SESSION octet (part 2, section 8.4).
const (
	attributeBits = 1<<0 | 1<<5
	encryptBit    = 1 << 6 // of a secret answer
)

// Authorize implements [tpm2.Session]: part 1, section 19.6.5.
func (s *session) Authorize(cc tpm2.TPMCC, parms, addNonces []byte, names []tpm2.TPM2BName, _ int) (*tpm2.TPMSAuthCommand, error) {
	h := sha256.New()
	binary.Write(h, binary.BigEndian, cc)
	for _, name := range names {
		h.Write(name.Buffer)
	}
	h.Write(parms)
	return &tpm2.TPMSAuthCommand{
		Handle:        s.handle,
		Nonce:         tpm2.TPM2BNonce{Buffer: s.nonceCaller},
		Attributes:    s.attributes(),
		Authorization: tpm2.TPM2BData{Buffer: s.mac(h.Sum(nil), s.nonceCaller, s.nonceTPM, addNonces)},
	}, nil
}

// Validate implements [tpm2.Session]. The new nonce is taken only from an answer
// whose HMAC is right.
func (s *session) Validate(rc tpm2.TPMRC, cc tpm2.TPMCC, parms []byte, _ []tpm2.TPM2BName, _ int, auth *tpm2.TPMSAuthResponse) error {
	if auth.Attributes != s.attributes() {
		return fmt.Errorf("session attributes %+v", auth.Attributes)
	}
	if len(auth.Nonce.Buffer) < nonceSize || len(auth.Nonce.Buffer) > sha256.Size {
		return fmt.Errorf("nonce of %d bytes", len(auth.Nonce.Buffer))
	}
	h := sha256.New()
	binary.Write(h, binary.BigEndian, rc)
	binary.Write(h, binary.BigEndian, cc)
	h.Write(parms)
	if !hmac.Equal(s.mac(h.Sum(nil), auth.Nonce.Buffer, s.nonceCaller, nil), auth.Authorization.Buffer) {
		return errors.New("wrong HMAC")
	}
	s.nonceTPM = auth.Nonce.Buffer
	return nil
}

// mac authenticates a command or an answer.
func (s *session) mac(hash, newer, older, addNonces []byte) []byte {
	secret := s.secret()
	defer clear(secret)
	bits := byte(attributeBits)
	if s.secretAnswer {
		bits |= encryptBit
	}
	m := hmac.New(sha256.New, secret)
	for _, part := range [][]byte{hash, newer, older, addNonces, {bits}} {
		m.Write(part)
	}
	return m.Sum(nil)
}

// secret is the session key and the auth value, in a slice to be cleared.
func (s *session) secret() []byte {
	return append(append(make([]byte, 0, len(s.key)+len(s.auth)), s.key...), s.auth...)
}

// Encrypt implements [tpm2.Session]: part 1, section 21.3.
func (s *session) Encrypt(parameter []byte) error {
	return s.cfb(s.nonceCaller, s.nonceTPM, func(block cipher.Block, iv []byte) {
		//lint:ignore SA1019 the TPM specification demands CFB; the HMAC authenticates it.
		cipher.NewCFBEncrypter(block, iv).XORKeyStream(parameter, parameter)
	})
}

// Decrypt implements [tpm2.Session]: the same for a secret answer, whose HMAC was
// checked before.
func (s *session) Decrypt(parameter []byte) error {
	return s.cfb(s.nonceTPM, s.nonceCaller, func(block cipher.Block, iv []byte) {
		//lint:ignore SA1019 see Encrypt.
		cipher.NewCFBDecrypter(block, iv).XORKeyStream(parameter, parameter)
	})
}

// cfb lends the key that encrypts a parameter to f.
func (s *session) cfb(newer, older []byte, f func(block cipher.Block, iv []byte)) error {
	secret := s.secret()
	defer clear(secret)
	keyIV := tpm2.KDFa(crypto.SHA256, secret, "CFB", newer, older, 8*(aesKeySize+aes.BlockSize))
	defer clear(keyIV)
	block, err := aes.NewCipher(keyIV[:aesKeySize])
	if err != nil {
		return err
	}
	f(block, keyIV[aesKeySize:])
	return nil
}
