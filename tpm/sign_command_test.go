package tpm

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// openSession is a session without secrets: what it does can be repeated.
type openSession struct {
	tpm2.Session
	attributes tpm2.TPMASession
	wrong      error
	checked    []byte // the parameters of the last answer
}

func newOpenSession() *openSession { return &openSession{attributes: (&session{}).attributes()} }

func (s *openSession) Init(transport.TPM) error           { return nil }
func (s *openSession) CleanupFailure(transport.TPM) error { return nil }
func (s *openSession) NewNonceCaller() error              { return nil }
func (s *openSession) IsEncryption() bool                 { return false }
func (s *openSession) IsDecryption() bool                 { return true }
func (s *openSession) Handle() tpm2.TPMHandle             { return 0x02000001 }

func (s *openSession) Encrypt(p []byte) error {
	for i := range p {
		p[i] ^= 0x55
	}
	return nil
}

func (s *openSession) Authorize(cc tpm2.TPMCC, parms, _ []byte, names []tpm2.TPM2BName, _ int) (*tpm2.TPMSAuthCommand, error) {
	return &tpm2.TPMSAuthCommand{
		Handle: s.Handle(), Nonce: tpm2.TPM2BNonce{Buffer: []byte("nonce")}, Attributes: s.attributes,
		Authorization: tpm2.TPM2BData{Buffer: slices.Concat([]byte{byte(cc)}, names[0].Buffer, parms)},
	}, nil
}

func (s *openSession) Validate(_ tpm2.TPMRC, _ tpm2.TPMCC, parms []byte, _ []tpm2.TPM2BName, _ int, auth *tpm2.TPMSAuthResponse) error {
	s.checked = parms
	if auth.Attributes != s.attributes {
		return errors.New("attributes")
	}
	return s.wrong
}

// recorder keeps the command and gives a ready answer.
type recorder struct{ command, answer []byte }

// Send implements [transport.TPM].
func (r *recorder) Send(command []byte) ([]byte, error) {
	r.command = slices.Clone(command)
	return slices.Clone(r.answer), nil
}

// aScheme is a signature scheme with its hash.
type aScheme struct{ alg, hash tpm2.TPMAlgID }

// both sends a signature's command in our encoding and in go-tpm's.
func both(scheme aScheme, digest, answer []byte) (ours, theirs *tpm2.SignResponse, commands [2][]byte, errs [2]error) {
	command := func() tpm2.Sign {
		return tpm2.Sign{
			KeyHandle: tpm2.AuthHandle{Handle: 0x80000001, Name: tpm2.TPM2BName{Buffer: []byte("name")}, Auth: newOpenSession()},
			Digest:    tpm2.TPM2BDigest{Buffer: slices.Clone(digest)},
			InScheme: tpm2.TPMTSigScheme{
				Scheme: scheme.alg, Details: tpm2.NewTPMUSigScheme(scheme.alg, &tpm2.TPMSSchemeHash{HashAlg: scheme.hash}),
			},
			Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
		}
	}
	r := &recorder{answer: answer}
	ours, errs[0] = signCommand(command()).Execute(r)
	commands[0] = r.command
	defer func() {
		if recover() != nil { // go-tpm panics on some answers
			theirs, errs[1] = nil, errors.New("panic")
		}
	}()
	theirs, errs[1] = command().Execute(r)
	commands[1] = r.command
	return ours, theirs, commands, errs
}

// signAnswer is an answer with a session around a signature.
func signAnswer(parms ...byte) []byte {
	a := []byte{0x80, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(len(parms))}
	a = append(append(a, parms...), 0, 2, 'n', 'n', attributeBits, 0, 1, 'h')
	a[5] = byte(len(a))
	return a
}

var (
	ecdsaParms = []byte{0, 0x18, 0, 0x0b, 0, 2, 'r', 'r', 0, 1, 's'}
	ecdsa256   = aScheme{tpm2.TPMAlgECDSA, tpm2.TPMAlgSHA256}
)

// TestSignCommandIsGoTPMs: the same octets go out, and the same come in.
func TestSignCommandIsGoTPMs(t *testing.T) {
	for _, c := range []struct {
		scheme aScheme
		digest []byte
		answer []byte
	}{
		{ecdsa256, make([]byte, 32), signAnswer(ecdsaParms...)},
		{aScheme{tpm2.TPMAlgRSASSA, tpm2.TPMAlgSHA384}, make([]byte, 48), signAnswer(0, 0x14, 0, 0x0c, 0, 3, 's', 'i', 'g')},
		{aScheme{tpm2.TPMAlgRSAPSS, tpm2.TPMAlgSHA512}, make([]byte, 64), signAnswer(0, 0x16, 0, 0x0d, 0, 3, 's', 'i', 'g')},
	} {
		ours, theirs, commands, errs := both(c.scheme, c.digest, c.answer)
		if errs[0] != nil || errs[1] != nil {
			t.Fatalf("%v: %v", c.scheme, errs)
		}
		if !bytes.Equal(commands[0], commands[1]) {
			t.Errorf("%v: commands\n%x\n%x", c.scheme, commands[0], commands[1])
		}
		if a, b := tpm2.Marshal(ours.Signature), tpm2.Marshal(theirs.Signature); !bytes.Equal(a, b) {
			t.Errorf("%v: signatures\n%x\n%x", c.scheme, a, b)
		}
	}
}

func TestSignAnswersThatAreRefused(t *testing.T) {
	good := signAnswer(ecdsaParms...)
	change := func(at int, to byte) []byte { a := slices.Clone(good); a[at] = to; return a }
	for name, answer := range map[string][]byte{
		"nothing":                 {},
		"header only":             good[:10],
		"without a session":       change(1, 1),
		"parameters too long":     change(13, 0xff),
		"parameters too short":    change(13, byte(len(ecdsaParms)-1)),
		"another scheme":          change(15, 0x1a),
		"another hash":            change(17, 0x0c),
		"other attributes":        change(len(good)-4, attributeBits|1<<6),
		"the end missing":         good[:len(good)-1],
		"more after the end":      append(slices.Clone(good), 0),
		"more after the numbers":  signAnswer(append(slices.Clone(ecdsaParms), 0)...),
		"one number":              signAnswer(ecdsaParms[:8]...),
		"a session's part alone":  signAnswer(),
		"no HMAC":                 good[:len(good)-3],
		"an RSA signature's form": signAnswer(0, 0x14, 0, 0x0b, 0, 1, 's'),
	} {
		if _, _, _, errs := both(ecdsa256, make([]byte, 32), answer); !errors.Is(errs[0], errAnswer) {
			t.Errorf("%s: %v", name, errs[0])
		}
	}
	if _, _, _, errs := both(ecdsa256, make([]byte, 32), []byte{0x80, 1, 0, 0, 0, 10, 0, 0, 0x09, 0x22}); errs[0] != tpm2.TPMRCRetry {
		t.Errorf("a code: %v", errs[0])
	}
}

// TestSignatureIsCheckedFirst: an answer with a wrong HMAC gives no signature, and
// the HMAC is over all parameters.
func TestSignatureIsCheckedFirst(t *testing.T) {
	s := newOpenSession()
	s.wrong = errors.New("wrong HMAC")
	_, err := openAnswer(s, tpm2.TPMCCSign, signAnswer(ecdsaParms...))
	if !errors.Is(err, s.wrong) || !bytes.Equal(s.checked, ecdsaParms) {
		t.Errorf("%v, checked %x", err, s.checked)
	}
}

// FuzzSignAnswer: what we accept, go-tpm understands in the same way.
func FuzzSignAnswer(f *testing.F) {
	f.Add(signAnswer(ecdsaParms...))
	f.Add(signAnswer())
	f.Add([]byte{0x80, 1, 0, 0, 0, 10, 0, 0, 0x09, 0x22})
	f.Fuzz(func(t *testing.T, answer []byte) {
		ours, theirs, _, errs := both(ecdsa256, make([]byte, 32), answer)
		if errs[0] != nil {
			return
		}
		if errs[1] != nil {
			t.Fatalf("accepted by us, not by go-tpm: %v", errs[1])
		}
		if a, b := tpm2.Marshal(ours.Signature), tpm2.Marshal(theirs.Signature); !bytes.Equal(a, b) {
			t.Errorf("%x and %x", a, b)
		}
	})
}
