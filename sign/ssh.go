package sign

import (
	"context"
	"fmt"
	"io"

	"github.com/sealsmith/sealsmith/internal/sshsig"
	"github.com/sealsmith/sealsmith/key"
)

// sshHash is the hash that ssh-keygen signs with.
const sshHash = "sha512"

// SSH signs what r holds, of any length, and returns an armored SSHSIG, as
// "ssh-keygen -Y sign -n NAMESPACE" writes it.
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
