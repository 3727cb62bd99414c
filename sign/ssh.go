package sign

import (
	"context"
	"fmt"
	"io"

	"github.com/sealsmith/sealsmith/internal/sshsig"
	"github.com/sealsmith/sealsmith/key"
)

// sshHash is not the one that ssh-keygen chooses by itself (sha512): with this one,
// a person who is asked to allow the signature is shown the digest that sha256sum
// prints, and that the Sigstore bundle over the same file is made of.
const sshHash = "sha256"

// SSH signs what r holds, of any length, and returns an armored SSHSIG, as
// "ssh-keygen -Y sign -n NAMESPACE -O hashalg=sha256" writes it. Every version of
// "ssh-keygen -Y verify" accepts it (OpenSSH PROTOCOL.sshsig, section 2).
func SSH(ctx context.Context, k key.StructuredSigner, namespace string, r io.Reader) ([]byte, error) {
	in := k.Info()
	h, err := sshsig.NewHash(sshHash)
	if err != nil {
		return nil, err
	}
	if err := sshsig.CheckNamespace(namespace); err != nil {
		return nil, fmt.Errorf("%w: %w", err, key.ErrUsage)
	}
	if _, err := io.Copy(h, r); err != nil {
		return nil, fmt.Errorf("read what to sign: %w", err)
	}
	digest := h.Sum(nil)
	answer, err := k.SignSSHSIG(ctx, namespace, sshHash, digest)
	if err != nil {
		return nil, err // it names the key
	}
	s, err := sshsig.New(in.Public, namespace, sshHash, answer)
	if err == nil {
		err = s.Verify(digest)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %v", faulty(in.Ref), err)
	}
	return s.Armor(), nil
}
