package agent

import (
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/key"
)

// identity is what a client is told of a key or a certificate.
type identity struct {
	Blob    []byte
	Comment string
}

// identities lists what can do something on this socket, for this connection. Who
// logs in comes first: clients try all, and servers lose patience.
func (c *sshConn) identities(ctx context.Context) []byte {
	var logins, others []identity
	if c.locked() == nil {
		logins, others = c.deviceIdentities(ctx)
		logins = append(logins, c.softwareIdentities(slices.Concat(logins, others))...)
	}
	answer := ssh.Marshal(struct {
		Count uint32 `sshtype:"12"`
	}{uint32(len(logins) + len(others))})
	for _, i := range slices.Concat(logins, others) {
		answer = append(answer, ssh.Marshal(i)...)
	}
	return answer
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
	for _, in := range infos {
		blob, err := sshwire.Blob(in.Public)
		if err != nil || len(allowed[SocketSSH][in.Usage]) == 0 {
			continue
		}
		comment := in.Comment
		if in.Imported {
			comment += " (imported)"
		}
		list := withCertificate(in, identity{blob, comment}, time.Now())
		if in.Usage == key.SSH {
			logins = append(logins, list...)
		} else {
			others = append(others, list...)
		}
	}
	return logins, others
}
