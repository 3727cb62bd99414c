package agent

import (
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/key"
)

// identity is what a client is told of a key or a certificate.
type identity struct {
	Blob    []byte
	Comment string
	place   int // in the offer
}

// identities lists what can do something on this socket, for this connection. Who
// logs in comes first, unless the configuration says otherwise: clients try all, and
// servers lose patience.
func (c *sshConn) identities(ctx context.Context) []byte {
	var all []identity
	if c.locked() == nil {
		logins, others := c.deviceIdentities(ctx)
		logins = append(logins, c.softwareIdentities(slices.Concat(logins, others))...)
		logins = append(logins, c.upstreamIdentities(ctx, slices.Concat(logins, others))...)
		all = append(logins, others...)
	}
	slices.SortStableFunc(all, func(a, b identity) int { return cmp.Compare(a.place, b.place) })
	return c.identitiesAnswer(all)
}

// identitiesAnswer is the message that lists them, as far as clients take it: one that
// added keys with huge certificates must not keep others from logging in.
func (c *sshConn) identitiesAnswer(all []identity) []byte {
	var entries []byte
	count := 0 // of those in it
	for _, i := range all {
		entry := i.wire()
		if listHead+len(entries)+len(entry) > limits.AgentFrame {
			continue
		}
		entries = append(entries, entry...)
		count++
	}
	if left := len(all) - count; left > 0 {
		c.config.Log.Warn("some keys are not listed: no client takes such a long answer", "keys", left)
	}
	return ssh.Marshal(struct {
		Count   uint32 `sshtype:"12"`
		Entries []byte `ssh:"rest"`
	}{uint32(count), entries})
}

// listHead is the size of the type of such a message and its count.
const listHead = 1 + 4

// wire is the identity in such a message.
func (i identity) wire() []byte {
	return ssh.Marshal(struct {
		Blob    []byte
		Comment string
	}{i.Blob, i.Comment})
}

// deviceIdentities lists the keys of devices and their certificates: those for
// logins, and those of authorities and hosts.
func (c *sshConn) deviceIdentities(ctx context.Context) (logins, others []identity) {
	infos, err := c.config.Keys.List(ctx)
	if err != nil {
		c.config.Log.Warn("some keys cannot be listed", logx.Err, err)
	}
	slices.SortStableFunc(infos, func(a, b key.Info) int {
		return cmp.Compare(slices.Index(key.Usages, a.Usage), slices.Index(key.Usages, b.Usage))
	})
	offer := c.settings.Load().Offer
	for _, in := range infos {
		blob, err := sshwire.Blob(in.Public)
		if err != nil || len(allowed[SocketSSH][in.Usage]) == 0 {
			continue
		}
		place, offered := offer.place(in, blob)
		if !offered {
			continue
		}
		comment := in.Comment
		if in.Imported {
			comment += " (imported)"
		}
		list := withCertificate(in, identity{blob, comment, place}, time.Now())
		if in.Usage == key.SSH {
			logins = append(logins, list...)
		} else {
			others = append(others, list...)
		}
	}
	return logins, others
}
