package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/key"
)

// upstreamBackend is the backend in the reference of an upstream's key, with its
// fingerprint for a name: what marks it in prompts, logs and the audit log. No
// reference that people write has it.
const upstreamBackend = "agent"

// upstreamIdentities lists the keys of upstreams, but those with a blob that is listed
// or that only some may see.
func (c *sshConn) upstreamIdentities(ctx context.Context, listed []identity) (all []identity) {
	if len(c.relays) == 0 {
		return nil
	}
	known := map[string]bool{}
	for _, i := range listed {
		known[string(i.Blob)] = true
	}
	for _, k := range c.software.list() {
		known[string(k.blob)] = true
	}
	offer := c.settings.Load().Offer
	room := limits.UpstreamListing
	for _, list := range c.askLists(ctx, false) {
		for _, i := range list {
			place, ok := offer.place(upstreamKey(i.Blob), i.Blob)
			size := len(i.Blob) + len(i.Comment)
			if !ok || known[string(i.Blob)] || size > room {
				continue
			}
			known[string(i.Blob)] = true
			room -= size
			i.place = place
			all = append(all, i)
		}
	}
	return all
}

// askLists asks all upstreams of one sort at once, so that the slowest of them decides
// how long it takes. The lists are in the order of c.relays.
func (c *sshConn) askLists(ctx context.Context, devices bool) [][]identity {
	ctx, cancel := context.WithTimeout(ctx, limits.UpstreamTime)
	defer cancel()
	lists := make([][]identity, len(c.relays))
	var wg sync.WaitGroup
	for i, l := range c.relays {
		if l.Devices == devices && !l.resting() {
			wg.Go(func() { lists[i] = l.list(ctx, c) })
		}
	}
	wg.Wait()
	return lists
}

// list asks for the keys that may be used.
func (l *relay) list(ctx context.Context, c *sshConn) []identity {
	answer, err := l.ask(ctx, c, []byte{agentRequestIdentities})
	var all []identity
	if err == nil {
		all, err = parseIdentities(answer)
		answer.release()
		if err != nil {
			l.close()
		}
	}
	if context.Cause(ctx) != context.Canceled && !errors.Is(err, errLoop) {
		l.report(err) // else it is the client that went away, or has its own keys
	}
	return slices.DeleteFunc(all, func(i identity) bool {
		return len(l.Keys) > 0 && !slices.Contains(l.Keys, fingerprintOf(i.Blob))
	})
}

// parseIdentities reads the list of an agent that is not to be trusted.
func parseIdentities(answer frame) ([]identity, error) {
	if answer.kind != agentIdentitiesAnswer {
		return nil, fmt.Errorf("message %d in place of a list", answer.kind)
	}
	var m struct {
		Count uint32
		Keys  []byte `ssh:"rest"`
	}
	if err := ssh.Unmarshal(answer.body, &m); err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	if m.Count > limits.UpstreamKeys {
		return nil, fmt.Errorf("list of %d keys, at most %d", m.Count, limits.UpstreamKeys)
	}
	all := make([]identity, 0, m.Count)
	for range m.Count {
		var blob, comment, kind []byte
		rest, err := takeStrings(m.Keys, &blob, &comment)
		if err == nil {
			_, err = takeStrings(blob, &kind)
		}
		if err != nil {
			return nil, fmt.Errorf("list: key %d: %w", len(all)+1, err)
		}
		all = append(all, identity{Blob: bytes.Clone(blob), Comment: plainComment(comment)})
		m.Keys = rest
	}
	if len(m.Keys) > 0 {
		return nil, fmt.Errorf("list: %d bytes behind the last key", len(m.Keys))
	}
	return all, nil
}

// plainComment is what is passed on of a comment: nothing that acts on a terminal.
func plainComment(comment []byte) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) && r != unicode.ReplacementChar {
			return r
		}
		return '?'
	}, string(comment[:min(len(comment), limits.UpstreamComment)]))
}

// fingerprintOf is the fingerprint of a key, or of the key in a certificate, as
// ssh-add shows it.
func fingerprintOf(blob []byte) string {
	if cert := certificateOf(blob); cert != nil {
		blob = cert.Key.Marshal()
	}
	return sshwire.Fingerprint(blob)
}

// upstreamKey is what is known of an upstream's key. It has an ID if its kind is known.
func upstreamKey(blob []byte) key.Info {
	in := key.Info{Ref: key.Ref{Backend: upstreamBackend, Name: fingerprintOf(blob)}, Usage: key.SSH}
	k, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return in
	}
	if k, ok := plainKey(k).(ssh.CryptoPublicKey); ok {
		in.ID, _ = key.NewID(k.CryptoPublicKey()) // empty if it is of another kind
	}
	return in
}
