package agent

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/secret"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/key"
)

// SoftwarePolicy says what becomes of private keys that clients add.
type SoftwarePolicy string

// The policies; the empty one is SoftwareAllow.
const (
	SoftwareAllow   SoftwarePolicy = "allow"   // they are used as the client demands
	SoftwareConfirm SoftwarePolicy = "confirm" // and a person is asked at each use
	SoftwareDeny    SoftwarePolicy = "deny"    // they are refused
)

// softwareBackend is the backend in the reference of a software key: what marks it
// in prompts, logs and the audit log. No reference that people write has it.
const softwareBackend = "software"

// softwareKey is an identity that a client added: a private key, or its
// certificate. It does not change.
type softwareKey struct {
	info        key.Info
	public      ssh.PublicKey // the key, or its certificate
	blob        []byte        // of public
	private     *secret.Buffer
	constraints constraints
	size        int // what it takes besides its private key

	// What it is called among uses and prompts: the key itself may be in a
	// device too, or certified.
	use key.ID
	// When it goes: by the timer, or, as that sleeps with the machine, by the
	// wall clock. Zero: never.
	expires time.Time
	timer   *time.Timer
}

// newSoftwareKey moves a key into locked memory, once it has proved that it signs.
// The caller wipes it.
func newSoftwareKey(a *addedKey, size int) (*softwareKey, error) {
	id, err := key.NewID(a.private.Public())
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(a.private)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	k := &softwareKey{
		info: key.Info{
			ID: id, Ref: key.Ref{Backend: softwareBackend, Name: id.Short()},
			Usage: key.SSH, Comment: a.comment, Public: a.private.Public(),
		},
		public: a.public, blob: a.public.Marshal(), constraints: a.constraints, size: size,
	}
	k.use = key.ID(sshwire.Fingerprint(k.blob))
	if k.private, err = secret.New(len(der)); err != nil {
		return nil, err
	}
	if err := k.fill(der); err != nil {
		k.private.Wipe()
		return nil, err
	}
	return k, nil
}

// fill stores the private key and tries it.
func (k *softwareKey) fill(der []byte) error {
	if err := k.private.Use(func(b []byte) error { copy(b, der); return nil }); err != nil {
		return err
	}
	// A key that signs wrongly may tell its secret by that.
	algorithm := plainKey(k.public).Type()
	if algorithm == ssh.KeyAlgoRSA {
		algorithm = ssh.KeyAlgoRSASHA256
	}
	test := []byte("sealsmith: a key that was added")
	s, err := k.sign(test, algorithm)
	if err == nil {
		err = plainKey(k.public).Verify(test, s)
	}
	if err != nil {
		return fmt.Errorf("the key does not sign: %w", err)
	}
	return nil
}

// plainKey is the key itself of a key or a certificate.
func plainKey(k ssh.PublicKey) ssh.PublicKey {
	if c, ok := k.(*ssh.Certificate); ok {
		return c.Key
	}
	return k
}

// sign signs data. The private key is on the heap for that long; what the standard
// library copies of it there, until it is collected.
func (k *softwareKey) sign(data []byte, algorithm string) (s *ssh.Signature, err error) {
	err = k.private.Use(func(der []byte) error {
		parsed, err := x509.ParsePKCS8PrivateKey(der)
		if err != nil {
			return err
		}
		private, ok := parsed.(crypto.Signer)
		if !ok {
			return fmt.Errorf("key of type %T does not sign", parsed)
		}
		defer forgetPrivate(private)
		signer, err := ssh.NewSignerFromSigner(private)
		if err != nil {
			return err
		}
		s, err = signer.(ssh.AlgorithmSigner).SignWithAlgorithm(rand.Reader, data, algorithm)
		return err
	})
	return s, err
}

// expired says whether the key's time is over.
func (k *softwareKey) expired(now time.Time) bool {
	return !k.expires.IsZero() && !now.Round(0).Before(k.expires)
}

// softwareKeys are the keys that clients added. It is safe for concurrent use.
type softwareKeys struct {
	gone   func(*softwareKey) // is told of each key that is removed
	adding sync.Mutex         // is held while a key is added; it comes before mu

	mu     sync.Mutex
	keys   []*softwareKey // in the order of adding
	size   int            // of all
	closed bool
}

var errCrammed = errors.New("the agent holds too many software keys")

// add keeps a key, in the place of one with the same blob, which judge may refuse to
// have replaced; it gets nil if there is none. A key that is not kept is the
// caller's to wipe. Nobody sees the key before judge has agreed, which may take long:
// meanwhile other keys can be listed, used and removed.
func (s *softwareKeys) add(k *softwareKey, judge func(old *softwareKey) error) error {
	s.adding.Lock()
	defer s.adding.Unlock()
	old, err := s.placeFor(k)
	if err != nil {
		return err
	}
	if err := judge(old); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errStopping
	}
	s.size += k.size
	if i := s.index(k.blob); i >= 0 {
		s.size -= s.keys[i].size
		s.end(s.keys[i])
		s.keys[i] = k
	} else {
		s.keys = append(s.keys, k)
	}
	if life := k.constraints.lifetime; life > 0 {
		k.expires = time.Now().Round(0).Add(life)
		k.timer = time.AfterFunc(life, func() { s.remove(func(one *softwareKey) bool { return one == k }) })
	}
	return nil
}

// placeFor says whether there is room for a key, and which one it will replace. The
// others can only become fewer until it is added.
func (s *softwareKeys) placeFor(k *softwareKey) (old *softwareKey, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errStopping
	}
	size, count := s.size+k.size, len(s.keys)+1
	if i := s.index(k.blob); i >= 0 {
		old = s.keys[i]
		size, count = size-old.size, count-1
	}
	if count > limits.SoftwareKeys || size > limits.SoftwareSize {
		return nil, errCrammed
	}
	return old, nil
}

// index finds a blob; -1: there is none. The mutex is held.
func (s *softwareKeys) index(blob []byte) int {
	return slices.IndexFunc(s.keys, func(k *softwareKey) bool { return bytes.Equal(k.blob, blob) })
}

// end ends the uses of a key that was taken out. The mutex is held.
func (s *softwareKeys) end(k *softwareKey) {
	if k.timer != nil {
		k.timer.Stop()
	}
	s.gone(k)
	k.private.Wipe() // waits for a signature that is being made
}

// list returns the keys, but those whose time is over.
func (s *softwareKeys) list() []*softwareKey {
	now := time.Now()
	s.remove(func(k *softwareKey) bool { return k.expired(now) })
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.keys)
}

// find returns the key with the blob, or nil.
func (s *softwareKeys) find(blob []byte) *softwareKey {
	all := s.list()
	i := slices.IndexFunc(all, func(k *softwareKey) bool { return bytes.Equal(k.blob, blob) })
	if i < 0 {
		return nil
	}
	return all[i]
}

// remove removes the keys that are meant and returns how many these were.
func (s *softwareKeys) remove(meant func(*softwareKey) bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = slices.DeleteFunc(s.keys, func(k *softwareKey) bool {
		if !meant(k) {
			return false
		}
		n++
		s.size -= k.size
		s.end(k)
		return true
	})
	return n
}

// close removes every key and takes no more.
func (s *softwareKeys) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.remove(func(*softwareKey) bool { return true })
}
