package tpm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"golang.org/x/crypto/cryptobyte"
)

// signCommand is TPM2_Sign (TPM 2.0 part 3, section 20.2) with a session of
// attributeBits. It does what [tpm2.Sign] does, whose encoding by reflection takes
// longer than everything else that we add to a signature.
type signCommand tpm2.Sign

var _ tpm2.Command[tpm2.SignResponse, *tpm2.SignResponse] = signCommand{}

// Command implements [tpm2.Command].
func (signCommand) Command() tpm2.TPMCC { return tpm2.TPMCCSign }

// Execute implements [tpm2.Command]. No more sessions can be added.
func (s signCommand) Execute(t transport.TPM, _ ...tpm2.Session) (*tpm2.SignResponse, error) {
	k, ok := s.KeyHandle.(tpm2.AuthHandle)
	if !ok {
		return nil, errors.New("TPM2_Sign without a session")
	}
	hash, err := hashOf(s.InScheme)
	if err != nil {
		return nil, err
	}
	command, err := s.encode(k, hash)
	if err != nil {
		return nil, err
	}
	answer, err := t.Send(command)
	if err != nil {
		return nil, err
	}
	parms, err := openAnswer(k.Auth, tpm2.TPMCCSign, answer)
	if err != nil {
		return nil, err
	}
	return readSignature(parms, s.InScheme.Scheme, hash)
}

// hashOf is the hash of a scheme of ours.
func hashOf(s tpm2.TPMTSigScheme) (tpm2.TPMIAlgHash, error) {
	details, err := s.Details.ECDSA()
	switch s.Scheme {
	case tpm2.TPMAlgRSASSA:
		details, err = s.Details.RSASSA()
	case tpm2.TPMAlgRSAPSS:
		details, err = s.Details.RSAPSS()
	}
	if err != nil {
		return 0, err
	}
	return details.HashAlg, nil
}

// encode makes the command: header, handle, session, parameters (part 1, section
// 18).
func (s signCommand) encode(k tpm2.AuthHandle, hash tpm2.TPMIAlgHash) ([]byte, error) {
	if err := k.Auth.NewNonceCaller(); err != nil {
		return nil, err
	}
	big := binary.BigEndian
	p := appendSized(nil, s.Digest.Buffer)
	if err := k.Auth.Encrypt(p[2:]); err != nil {
		return nil, err
	}
	p = big.AppendUint16(p, uint16(s.InScheme.Scheme))
	p = big.AppendUint16(p, uint16(hash))
	p = big.AppendUint16(p, uint16(s.Validation.Tag))
	p = big.AppendUint32(p, uint32(s.Validation.Hierarchy))
	p = appendSized(p, s.Validation.Digest.Buffer)
	auth, err := k.Auth.Authorize(tpm2.TPMCCSign, p, nil, []tpm2.TPM2BName{k.Name}, 0)
	if err != nil {
		return nil, err
	}
	a := big.AppendUint32(nil, uint32(auth.Handle))
	a = appendSized(a, auth.Nonce.Buffer)
	a = append(a, attributeBits)
	a = appendSized(a, auth.Authorization.Buffer)

	size := headerSize + 4 + 4 + len(a) + len(p)
	c := big.AppendUint16(make([]byte, 0, size), uint16(tpm2.TPMSTSessions))
	c = big.AppendUint32(c, uint32(size))
	c = big.AppendUint32(c, uint32(tpm2.TPMCCSign))
	c = big.AppendUint32(c, uint32(k.Handle))
	c = big.AppendUint32(c, uint32(len(a)))
	return append(append(c, a...), p...), nil
}

// appendSized appends a TPM2B: 16 bits of length, then the content.
func appendSized(to, content []byte) []byte {
	return append(binary.BigEndian.AppendUint16(to, uint16(len(content))), content...)
}

var errAnswer = errors.New("malformed answer")

// openAnswer returns the parameters of an answer without handles, when their HMAC
// is right.
func openAnswer(s tpm2.Session, code tpm2.TPMCC, answer []byte) (cryptobyte.String, error) {
	in := cryptobyte.String(answer)
	var tag uint16
	var size, rc, length uint32
	if !in.ReadUint16(&tag) || !in.ReadUint32(&size) || !in.ReadUint32(&rc) {
		return nil, errAnswer
	}
	if rc != uint32(tpm2.TPMRCSuccess) {
		return nil, tpm2.TPMRC(rc)
	}
	var parms, nonce, mac []byte
	var bits uint8
	if tag != uint16(tpm2.TPMSTSessions) || !in.ReadUint32(&length) || !in.ReadBytes(&parms, int(length)) ||
		!readSized(&in, &nonce) || !in.ReadUint8(&bits) || !readSized(&in, &mac) || !in.Empty() {
		return nil, errAnswer
	}
	if bits != attributeBits {
		return nil, fmt.Errorf("%w: session attributes %#x", errAnswer, bits)
	}
	err := s.Validate(tpm2.TPMRCSuccess, code, parms, nil, 0, &tpm2.TPMSAuthResponse{
		Nonce:         tpm2.TPM2BNonce{Buffer: nonce},
		Attributes:    tpm2.TPMASession{ContinueSession: true, Decrypt: true},
		Authorization: tpm2.TPM2BData{Buffer: mac},
	})
	if err != nil {
		return nil, err
	}
	return parms, nil
}

// readSignature reads a TPMT_SIGNATURE, which must be of the scheme and hash that
// were asked for.
func readSignature(parms cryptobyte.String, alg tpm2.TPMAlgID, hash tpm2.TPMIAlgHash) (*tpm2.SignResponse, error) {
	var isAlg, isHash uint16
	var first, second []byte
	isECDSA := alg == tpm2.TPMAlgECDSA
	if !parms.ReadUint16(&isAlg) || !parms.ReadUint16(&isHash) || isAlg != uint16(alg) || isHash != uint16(hash) ||
		!readSized(&parms, &first) || isECDSA && !readSized(&parms, &second) || !parms.Empty() {
		return nil, errAnswer
	}
	signature := tpm2.NewTPMUSignature(alg, &tpm2.TPMSSignatureRSA{Hash: hash, Sig: tpm2.TPM2BPublicKeyRSA{Buffer: first}})
	if isECDSA {
		signature = tpm2.NewTPMUSignature(alg, &tpm2.TPMSSignatureECC{
			Hash:       hash,
			SignatureR: tpm2.TPM2BECCParameter{Buffer: first}, SignatureS: tpm2.TPM2BECCParameter{Buffer: second},
		})
	}
	return &tpm2.SignResponse{Signature: tpm2.TPMTSignature{SigAlg: alg, Signature: signature}}, nil
}

// readSized reads a TPM2B.
func readSized(in *cryptobyte.String, out *[]byte) bool {
	var content cryptobyte.String
	ok := in.ReadUint16LengthPrefixed(&content)
	*out = content
	return ok
}
