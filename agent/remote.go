package agent

import (
	"context"
	"crypto"
	"crypto/rsa"
	"fmt"
	"io"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/key"
)

// Key finds a key and returns it as one that signs only things with a meaning.
// The subject says, in the caller's own words, what is signed; prompts show it
// as a quotation.
func (c *Client) Key(ctx context.Context, ref key.Ref, subject string) (key.StructuredSigner, error) {
	in, err := c.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	return &remoteKey{c, in, subject}, nil
}

// Signer finds a key of usage digest and returns it as one that signs any digest.
// Other keys are refused with [key.ErrNotAllowed].
func (c *Client) Signer(ctx context.Context, ref key.Ref, subject string) (key.Signer, error) {
	in, err := c.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	if in.Usage != key.Digest {
		return nil, hint.Wrap(fmt.Errorf("sign a digest with %s: the key is of usage %s: %w", in.Ref, in.Usage, key.ErrNotAllowed),
			"only keys created with --usage digest sign a bare digest")
	}
	return &remoteSigner{remoteKey{c, in, subject}}, nil
}

// remoteKey is a key of the agent.
type remoteKey struct {
	client  *Client
	info    key.Info
	subject string
}

var _ key.StructuredSigner = (*remoteKey)(nil)

// Info implements [key.StructuredSigner].
func (k *remoteKey) Info() key.Info { return k.info }

// SignDSSE implements [key.StructuredSigner].
func (k *remoteKey) SignDSSE(ctx context.Context, payloadType string, payload []byte) ([]byte, error) {
	return k.sign(ctx, signRequestBody{Form: FormDSSE, PayloadType: payloadType, Payload: payload})
}

// SignBlob implements [key.StructuredSigner].
func (k *remoteKey) SignBlob(ctx context.Context, message []byte) ([]byte, error) {
	if message == nil {
		message = []byte{} // an empty message is a message
	}
	return k.sign(ctx, signRequestBody{Form: FormBlob, Message: message})
}

// SignSSHSIG implements [key.StructuredSigner].
func (k *remoteKey) SignSSHSIG(ctx context.Context, namespace, hash string, digest []byte) ([]byte, error) {
	return k.sign(ctx, signRequestBody{Form: FormSSHSIG, Namespace: namespace, Hash: hash, Digest: digest})
}

func (k *remoteKey) sign(ctx context.Context, b signRequestBody) ([]byte, error) {
	b.Subject = k.subject
	var answer signAnswer
	err := k.client.call(ctx, "POST", "/v1/keys/"+string(k.info.ID)+"/sign", b, &answer)
	return answer.Signature, err
}

// remoteSigner is a key of usage digest. It is no [key.StructuredSigner]: the
// agent signs nothing else with such a key.
type remoteSigner struct{ key remoteKey }

var _ key.Signer = (*remoteSigner)(nil)

// Info implements [key.Signer].
func (k *remoteSigner) Info() key.Info { return k.key.info }

// Public implements [crypto.Signer].
func (k *remoteSigner) Public() crypto.PublicKey { return k.key.info.Public }

// Sign implements [crypto.Signer].
func (k *remoteSigner) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.SignContext(context.Background(), digest, opts)
}

// SignContext implements [key.Signer].
func (k *remoteSigner) SignContext(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	b := signRequestBody{Form: FormDigest, Hash: hashName(opts.HashFunc()), Digest: digest, Scheme: schemeECDSA}
	pss, isPSS := opts.(*rsa.PSSOptions)
	switch {
	case isPSS:
		switch pss.SaltLength {
		case rsa.PSSSaltLengthAuto, rsa.PSSSaltLengthEqualsHash, opts.HashFunc().Size():
		default:
			return nil, fmt.Errorf("PSS salt of %d bytes: %w", pss.SaltLength, key.ErrUnsupported)
		}
		b.Scheme = schemeRSAPSS
	case k.key.info.Algorithm.RSA():
		b.Scheme = schemeRSAPKCS1
	}
	return k.key.sign(ctx, b)
}
