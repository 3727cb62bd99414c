package agent

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/key"
)

// addKey serves a request to hold a private key.
func (c *sshConn) addKey(ctx context.Context, body []byte, constrained bool) error {
	if c.settings.Load().SoftwareKeys == SoftwareDeny {
		return c.refuseAdd(hint.Wrap(refuse("software keys are not taken"), "config.yaml has software_keys: deny"))
	}
	sent, err := parseAdded(body, constrained)
	if err != nil {
		return c.refuseAdd(fmt.Errorf("%w: %w", err, key.ErrUsage))
	}
	defer forgetPrivate(sent.private)
	if sent.constraints.lifetime == 0 {
		sent.constraints.lifetime = c.config.DefaultLifetime
	}
	k, err := newSoftwareKey(sent, len(body))
	if err != nil {
		return c.refuseAdd(fmt.Errorf("%w: %w", err, key.ErrUsage))
	}
	r := c.softwareRecord("add", k)
	if err = c.notInDevice(ctx, k.info.ID); err == nil {
		err = c.software.add(k, func(old *softwareKey) error {
			if old != nil && !c.sees(old) {
				return refuse("the key is restricted to other destinations")
			}
			return c.written(r, nil)
		})
		if err == nil {
			return nil
		}
	}
	k.private.Wipe()
	return c.written(r, err)
}

// notInDevice refuses a key that a device lists: to add it would be a way around what
// the device and its rules demand. A key that cannot be read is not in the way of others.
func (c *sshConn) notInDevice(ctx context.Context, id key.ID) error {
	infos, err := c.config.Keys.List(ctx)
	if slices.ContainsFunc(infos, func(in key.Info) bool { return in.ID == id }) {
		return hint.Wrap(refuse("a device holds this key"), "it is listed without being added")
	}
	if err != nil {
		c.config.Log.Warn("some keys cannot be listed", logx.Err, err)
	}
	return nil
}

// refuseAdd records that a key is not added of which nothing is known.
func (c *sshConn) refuseAdd(err error) error {
	r := newRecord("add", SocketSSH, c.conn.peer)
	r.Ref = softwareBackend
	return c.written(r, err)
}

func (c *sshConn) softwareRecord(action string, k *softwareKey) record {
	r := newRecord(action, SocketSSH, c.conn.peer)
	r.Key, r.Ref = k.info.ID, k.info.Ref.String()
	return r
}

// sees says whether the connection may know that the key is there.
func (c *sshConn) sees(k *softwareKey) bool {
	_, ok := k.constraints.destinations.permits(c.session, nil)
	return ok
}

// removeKey serves a request to forget a software key. The keys of devices are not
// the agent's to forget.
func (c *sshConn) removeKey(body []byte) error {
	var blob []byte
	rest, err := takeStrings(body, &blob)
	if err != nil || len(rest) > 0 {
		return fmt.Errorf("malformed request to remove a key: %w", key.ErrUsage)
	}
	k := c.software.find(blob)
	if k == nil || !c.sees(k) {
		return fmt.Errorf("no software key %s: %w", sshwire.Fingerprint(blob), key.ErrNotFound)
	}
	c.software.remove(func(one *softwareKey) bool { return one == k })
	c.tell(c.softwareRecord("remove", k))
	return nil
}

// removeKeys serves a request to forget all keys.
func (c *sshConn) removeKeys() {
	c.RemoveSoftwareKeys()
	r := newRecord("remove-all", SocketSSH, c.conn.peer)
	r.Ref = softwareBackend
	c.tell(r)
}

// tell records what was done. It is not undone if the record is lost: nothing more
// is signed for it, as each signature needs its own.
func (c *sshConn) tell(r record) {
	if err := c.written(r, nil); err != nil {
		c.config.Log.Error("no record", "action", r.Action, logx.Err, err)
	}
}

// RemoveSoftwareKeys removes every key that clients added. The keys of devices are
// there still.
func (s *Server) RemoveSoftwareKeys() {
	n := s.software.remove(func(*softwareKey) bool { return true })
	s.config.Log.Info("software keys removed", "count", n)
}

// endSoftware ends what still waits to use a key that is removed.
func (s *Server) endSoftware(k *softwareKey) {
	s.uses.end(k.use)
	s.config.PINs.forget(k.use)
}

// signSoftware serves a request to sign with a software key: what OpenSSH's agent
// signs, but nothing with SHA-1.
func (c *sshConn) signSoftware(ctx context.Context, k *softwareKey, m signRequest) ([]byte, error) {
	ctx, done := c.uses.begin(ctx, k.use)
	defer done()
	j := &signing{Request: Request{Peer: c.conn.peer, Socket: SocketSSH, Key: k.info, Form: FormUnrecognised}}
	j.sum, j.Digest = sha256Of(m.Data)
	algorithm, err := softwareAlgorithm(k.public, m.Flags)
	if err == nil {
		err = c.authorizeSoftware(ctx, &j.Request, k, m, algorithm)
	}
	if err == nil && k.expired(time.Now()) {
		err = errDeleted // while a person was asked, and the machine slept
	}
	var s *ssh.Signature
	if err == nil {
		s, err = k.sign(m.Data, algorithm)
	}
	if err := c.settle(j, c.unlessEnded(ctx, err)); err != nil {
		return nil, err
	}
	return ssh.Marshal(s), nil
}

// authorizeSoftware decides whether a software key signs, asking a person if need
// be, and says what it is about to sign.
func (c *sshConn) authorizeSoftware(ctx context.Context, r *Request, k *softwareKey, m signRequest, algorithm string) error {
	if err := c.locked(); err != nil {
		return err
	}
	if _, certified := k.public.(*ssh.Certificate); certified {
		algorithm += certificateMark
	}
	what, err := sshwire.Classify(m.Data, m.Key, algorithm)
	if err == nil {
		r.describe(what, c.binds)
	}
	if r.Host, err = k.constraints.destinations.permitsLogin(c.session, what.UserAuth); err != nil {
		return err
	}
	set := c.settings.Load()
	if !k.constraints.confirm && set.SoftwareKeys != SoftwareConfirm && !set.Rules[k.info.ID].Confirm {
		return nil
	}
	return c.config.PINs.confirm(ctx, k.use, r.question(fmt.Sprintf("Sign with the key %s?", k.info.Ref)))
}

// softwareAlgorithm is algorithmFor for software keys, which may be of kinds that no
// device has.
func softwareAlgorithm(k ssh.PublicKey, flags uint32) (string, error) {
	plain := plainKey(k)
	if plain.Type() == ssh.KeyAlgoED25519 && flags == 0 {
		return plain.Type(), nil
	}
	name, _, err := algorithmFor(plain.(ssh.CryptoPublicKey).CryptoPublicKey(), flags)
	return name, err
}

// softwareIdentities lists the software keys that the connection may see, but those
// with a blob that is listed.
func (c *sshConn) softwareIdentities(listed []identity) (all []identity) {
	offer := c.settings.Load().Offer
	for _, k := range c.software.list() {
		same := func(i identity) bool { return bytes.Equal(i.Blob, k.blob) }
		if c.sees(k) && !slices.ContainsFunc(listed, same) {
			all = append(all, identity{k.blob, k.info.Comment, offer.placeAdded(k.info, k.blob)})
		}
	}
	return all
}
