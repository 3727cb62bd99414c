package verify

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	sgverify "github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/provenance"
)

const mediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// Blob verifies a Sigstore bundle with a message signature over what r holds.
// The policy must name [Sigstore]. Refusals wrap [ErrRefused].
func (v *Verifier) Blob(bundleJSON []byte, r io.Reader) (*Result, error) {
	s, err := v.open(bundleJSON)
	if err != nil {
		return nil, err
	}
	message := s.bundle.GetMessageSignature()
	if message == nil {
		return nil, refuse(Malformed, "the Sigstore bundle holds a statement, not a signature over a file")
	}
	if got := message.GetMessageDigest().GetAlgorithm(); got != s.details.GetProtoHashType() {
		return nil, refuse(Malformed, "Sigstore bundle: digest by %s, and the key signs with %s", got, s.details.GetProtoHashType())
	}
	h := s.details.GetHashType().New()
	if _, err := io.Copy(h, r); err != nil {
		return nil, fmt.Errorf("read what was signed: %w", err)
	}
	digest := h.Sum(nil)
	// The digest in the bundle is not signed; it only tells a signature over
	// other content from a changed one.
	if !bytes.Equal(digest, message.GetMessageDigest().GetDigest()) {
		return nil, refuse(OtherContent, "the signature by %s is over other content than this file", s.signer.Fingerprint)
	}
	if err := s.verify(sgverify.WithArtifactDigest(hashName(s.details.GetHashType()), digest)); err != nil {
		return nil, err
	}
	covers := fmt.Sprintf("the Sigstore bundle by %s covers the file (%s)", s.signer.Fingerprint, s.details.GetHashType())
	return &Result{Checks: []string{covers, v.policy.trustCheck(s.signer)}, Signers: []Signer{s.signer}}, nil
}

// Statement verifies a Sigstore bundle whose DSSE envelope holds an in-toto
// statement of the given predicate type about the given SHA-256 digest, in
// lower-case hexadecimal. The policy must name [Sigstore]. Refusals wrap
// [ErrRefused].
func (v *Verifier) Statement(bundleJSON []byte, predicateType, sha256Hex string) (*Result, error) {
	digest, err := hex.DecodeString(sha256Hex)
	if err != nil || len(digest) != crypto.SHA256.Size() {
		return nil, fmt.Errorf("SHA-256 digest %.200q: %w", sha256Hex, key.ErrUsage)
	}
	s, err := v.open(bundleJSON)
	if err != nil {
		return nil, err
	}
	envelope := s.bundle.GetDsseEnvelope()
	switch {
	case envelope == nil:
		return nil, refuse(Malformed, "the Sigstore bundle holds no statement")
	case len(envelope.GetSignatures()) != 1:
		return nil, refuse(Malformed, "the Sigstore bundle holds %d signatures, want one", len(envelope.GetSignatures()))
	case envelope.GetPayloadType() != provenance.PayloadType:
		return nil, refuse(WrongStatement, "payload of type %.200q", envelope.GetPayloadType())
	}
	statement, err := provenance.ParseStatement(envelope.GetPayload())
	switch {
	case err != nil:
		return nil, refuse(Malformed, "%w", err)
	case statement.PredicateType != predicateType:
		return nil, refuse(WrongStatement, "predicate type %.200q, want %.200q", statement.PredicateType, predicateType)
	case !statement.HasDigest("sha256", sha256Hex):
		return nil, refuse(OtherContent, "the statement is not about sha256:%s", sha256Hex)
	}
	if err := s.verify(sgverify.WithArtifactDigest("sha256", digest)); err != nil {
		return nil, err
	}
	return &Result{
		Checks: []string{
			fmt.Sprintf("the statement is signed by %s", s.signer.Fingerprint),
			fmt.Sprintf("the statement is of type %s, about sha256:%s", predicateType, sha256Hex),
			v.policy.trustCheck(s.signer),
		},
		Signers: []Signer{s.signer}, Statement: statement,
	}, nil
}

// signed is a Sigstore bundle by a key that the policy accepts. Its signature is
// not verified yet.
type signed struct {
	bundle  *bundle.Bundle
	key     crypto.PublicKey
	details signature.AlgorithmDetails
	signer  Signer
}

// open parses a bundle, finds the key that its hint names and checks the key
// against the policy.
func (v *Verifier) open(bundleJSON []byte) (*signed, error) {
	if err := v.need(Sigstore); err != nil {
		return nil, err
	}
	switch {
	case len(bundleJSON) == 0:
		return nil, refuse(NoSignature, "there is no Sigstore bundle")
	case len(bundleJSON) > limits.SigstoreBundle:
		return nil, refuse(Malformed, "Sigstore bundle of %d bytes, at most %d", len(bundleJSON), limits.SigstoreBundle)
	}
	s := &signed{bundle: &bundle.Bundle{}}
	if err := s.bundle.UnmarshalJSON(bundleJSON); err != nil {
		return nil, refuse(Malformed, "Sigstore bundle: %.200q", err.Error())
	}
	if s.bundle.GetMediaType() != mediaType {
		return nil, refuse(Malformed, "Sigstore bundle of type %.200q, want %s", s.bundle.GetMediaType(), mediaType)
	}
	material, ok := s.bundle.GetVerificationMaterial().GetContent().(*protobundle.VerificationMaterial_PublicKey)
	if !ok {
		return nil, refuse(WrongKey, "the Sigstore bundle was signed with a certificate, not with a key")
	}
	hint := material.PublicKey.GetHint()
	if s.key = v.policy.hinted(hint); s.key == nil {
		return nil, refuse(WrongKey, "the Sigstore bundle names the key %s, which is none of the trusted keys", hintText(hint))
	}
	var err error
	if s.details, err = signature.GetDefaultAlgorithmDetails(s.key); err != nil || s.details.GetHashType() == 0 {
		return nil, refuse(WrongKey, "Sigstore bundles by a key of type %T are not supported", s.key)
	}
	s.signer, err = v.policy.signer(Sigstore, s.key)
	return s, err
}

// hinted finds a trusted key by the hint that cosign writes, the base64 of the
// SHA-256 of the SubjectPublicKeyInfo; nil if there is none.
func (p Policy) hinted(hint string) crypto.PublicKey {
	for _, k := range p.Trust.candidates() {
		id, err := key.NewID(k)
		if err != nil {
			continue
		}
		if sum, err := hex.DecodeString(string(id)); err == nil && base64.StdEncoding.EncodeToString(sum) == hint {
			return k
		}
	}
	return nil
}

// hintText shows a hint: as "sealsmith key list" shows the key, if it is an ID.
func hintText(hint string) string {
	if sum, err := base64.StdEncoding.DecodeString(hint); err == nil && len(sum) == crypto.SHA256.Size() {
		return "id:" + key.ID(hex.EncodeToString(sum)).Short()
	}
	return fmt.Sprintf("%.200q", hint)
}

// verify has sigstore-go verify the signature by the key, and nothing else.
func (s *signed) verify(artifact sgverify.ArtifactPolicyOption) error {
	verifier, err := signature.LoadDefaultVerifier(s.key)
	if err != nil {
		return refuse(WrongKey, "%w", err)
	}
	trusted := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(verifier, time.Time{}, time.Time{}), nil
	})
	v, err := sgverify.NewVerifier(trusted, sgverify.WithNoObserverTimestamps())
	if err != nil {
		return fmt.Errorf("verify Sigstore bundle: %w", err)
	}
	if _, err := v.Verify(s.bundle, sgverify.NewPolicy(artifact, sgverify.WithKey())); err != nil {
		return refuse(InvalidSignature, "%s did not sign this: %.200q", s.signer.Fingerprint, err.Error())
	}
	return nil
}

// hashName is in-toto's and sigstore-go's name of a hash.
func hashName(h crypto.Hash) string {
	return map[crypto.Hash]string{crypto.SHA256: "sha256", crypto.SHA384: "sha384", crypto.SHA512: "sha512"}[h]
}
