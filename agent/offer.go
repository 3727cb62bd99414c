package agent

import (
	"slices"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/key"
)

// Offered names a key of a device or of an upstream, by either field.
type Offered struct {
	Ref key.Ref
	// Fingerprint is the SHA-256 fingerprint, as ssh-add shows it.
	Fingerprint string
}

// Offer is the keys of devices and upstreams that can be used on the SSH socket, in
// the order in which they are listed; empty: all. Software keys are listed in any case,
// behind the others unless the offer has a place for them: who adds one offers it.
type Offer []Offered

// place says where a key is listed, if at all.
func (o Offer) place(in key.Info, blob []byte) (place int, ok bool) {
	if len(o) == 0 {
		return 0, true
	}
	fingerprint := fingerprintOf(blob)
	place = slices.IndexFunc(o, func(one Offered) bool {
		if one.Fingerprint != "" {
			return one.Fingerprint == fingerprint
		}
		return one.Ref.Matches(in)
	})
	return place, place >= 0
}

// placeAdded says where a key that a client added is listed.
func (o Offer) placeAdded(in key.Info, blob []byte) int {
	if place, ok := o.place(in, blob); ok {
		return place
	}
	return len(o)
}

// offers says whether a device's key can be used on the SSH socket.
func (s *Server) offers(in key.Info) error {
	blob, err := sshwire.Blob(in.Public)
	if err != nil {
		return err
	}
	if _, ok := s.settings.Load().Offer.place(in, blob); !ok {
		return hint.Wrap(refuse("the key is not offered"), "config.yaml lists under offer: which keys are")
	}
	return nil
}
