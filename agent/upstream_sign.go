package agent

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/key"
)

// upstreamFor finds the upstream that is to sign with a key: one that lists it now, and
// has our devices if the key is theirs. nil: we are to.
func (c *sshConn) upstreamFor(ctx context.Context, blob []byte) *relay {
	if len(c.relays) == 0 || c.locked() != nil {
		return nil
	}
	ours := c.holds(ctx, blob)
	if _, ok := c.settings.Load().Offer.place(upstreamKey(blob), blob); !ours && !ok {
		return nil
	}
	for i, list := range c.askLists(ctx, ours) {
		if slices.ContainsFunc(list, func(one identity) bool { return bytes.Equal(one.Blob, blob) }) {
			return c.relays[i]
		}
	}
	return nil
}

// holds says whether a device of ours has the key.
func (c *sshConn) holds(ctx context.Context, blob []byte) bool {
	id, _, err := idOf(blob)
	if err == nil {
		_, err = c.config.Keys.Signer(ctx, id)
	}
	return err == nil
}

// signUpstream passes a request to sign on. What the key signs is for the upstream to
// decide, but for SHA-1, and for a rule that has a person asked.
func (c *sshConn) signUpstream(ctx context.Context, l *relay, m signRequest) (signature []byte, err error) {
	in := upstreamKey(m.Key)
	use := key.ID(in.Ref.Name)
	ctx, done := c.uses.begin(ctx, use)
	defer done()
	j := &signing{Request: Request{Peer: c.conn.peer, Socket: SocketSSH, Key: in, Form: FormUnrecognised}}
	j.sum, j.Digest = sha256Of(m.Data)
	login, format, err := upstreamAlgorithm(m)
	if err == nil {
		err = c.locked() // while the upstreams were asked for the key
	}
	if err == nil {
		if what, err := sshwire.Classify(m.Data, m.Key, login); err == nil {
			j.Request.describe(what, c.binds)
		}
		// The agent with our devices has the same rules.
		if c.settings.Load().Rules[in.ID].Confirm && !l.Devices {
			err = c.config.PINs.confirm(ctx, use, j.Request.question(fmt.Sprintf("Sign with the key %s?", in.Ref)))
		}
	}
	if err == nil {
		signature, err = l.sign(ctx, c, m, format)
	}
	if err := c.settle(j, c.unlessEnded(ctx, err)); err != nil {
		return nil, err
	}
	return signature, nil
}

// upstreamAlgorithm is algorithmFor for keys of any kind: the algorithm of a login with
// the key, and what its signatures are called.
func upstreamAlgorithm(m signRequest) (login, format string, err error) {
	var kind []byte
	if _, err := takeStrings(m.Key, &kind); err != nil {
		return "", "", err
	}
	format, certified := strings.CutSuffix(string(kind), certificateMark)
	login = string(kind)
	switch rsa := format == ssh.KeyAlgoRSA; {
	case !rsa && m.Flags == 0:
		return login, format, nil
	case rsa && m.Flags == flagSHA256:
		format = ssh.KeyAlgoRSASHA256
	case rsa && m.Flags == flagSHA512:
		format = ssh.KeyAlgoRSASHA512
	default:
		return "", "", fmt.Errorf("signature flags %#x for a key of type %.80q: %w", m.Flags, kind, key.ErrUnsupported)
	}
	login = format
	if certified {
		login += certificateMark
	}
	return login, format, nil
}

// sign has the upstream sign.
func (l *relay) sign(ctx context.Context, c *sshConn, m signRequest, format string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limits.UpstreamSign)
	defer cancel()
	answer, err := l.ask(ctx, c, ssh.Marshal(struct {
		Key   []byte `sshtype:"13"`
		Data  []byte
		Flags uint32
	}(m)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", key.ErrNoDevice, err)
	}
	defer answer.release()
	if answer.kind == agentFailure {
		return nil, fmt.Errorf("agent %s: %w", l.Path, errOtherAgent)
	}
	signature, err := parseSignature(answer, format)
	if err != nil {
		l.close()
		return nil, fmt.Errorf("agent %s: %w", l.Path, err)
	}
	return signature, nil
}

// parseSignature reads the signature in an answer, which must be called as it should,
// but for what the names of OpenSSH's own have around them (PROTOCOL.u2f).
func parseSignature(answer frame, format string) ([]byte, error) {
	if answer.kind != agentSignResponse {
		return nil, fmt.Errorf("message %d in place of a signature", answer.kind)
	}
	var signature, got []byte
	rest, err := takeStrings(answer.body, &signature)
	if err == nil {
		_, err = takeStrings(signature, &got)
	}
	bare := func(name string) string {
		return strings.TrimSuffix(strings.TrimPrefix(name, "webauthn-"), "@openssh.com")
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("signature: %w", err)
	case len(rest) > 0 || len(signature) > limits.UpstreamSignature:
		return nil, fmt.Errorf("signature of %d bytes, and %d behind it", len(signature), len(rest))
	case bare(string(got)) != bare(format):
		return nil, fmt.Errorf("signature of the format %.80q, not %s", got, format)
	}
	return bytes.Clone(signature), nil
}
