package tpm

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

// Slots is room in the TPM.
type Slots struct {
	Total uint64 `json:"total"` // at least
	Free  uint64 `json:"free"`  // of them, whoever uses the others
}

// Passwords says which hierarchies of the TPM have one (TPMA_PERMANENT; part 2,
// section 8.6).
type Passwords struct {
	Owner       bool `json:"owner"`
	Endorsement bool `json:"endorsement"`
	Lockout     bool `json:"lockout"`
	// ClearDisabled: the lockout password cannot clear the TPM.
	ClearDisabled bool `json:"clear_disabled"`
	// OwnSeed: the TPM made its endorsement seed itself, not its maker.
	OwnSeed bool `json:"own_seed"`
}

// Bits of TPMA_PERMANENT.
const (
	ownerAuthSet       = 1 << 0
	endorsementAuthSet = 1 << 1
	lockoutAuthSet     = 1 << 2
	disableClear       = 1 << 8
	inLockout          = 1 << 9
	tpmGeneratedEPS    = 1 << 10
)

func newPasswords(permanent uint32) Passwords {
	return Passwords{
		Owner:         permanent&ownerAuthSet != 0,
		Endorsement:   permanent&endorsementAuthSet != 0,
		Lockout:       permanent&lockoutAuthSet != 0,
		ClearDisabled: permanent&disableClear != 0,
		OwnSeed:       permanent&tpmGeneratedEPS != 0,
	}
}

// newPersistent: a TPM says how many it keeps, and estimates how many more.
func newPersistent(p map[tpm2.TPMPT]uint32) Slots {
	free := uint64(p[tpm2.TPMPTHRPersistentAvail])
	return Slots{uint64(p[tpm2.TPMPTHRPersistent]) + free, free}
}

// EKIndex says that a certificate of an endorsement key is in the TPM. The
// certificate itself identifies the machine; see [Device.EndorsementKeys].
type EKIndex struct {
	Template  string        `json:"template"` // in the TCG EK Credential Profile, such as "L-1"
	Algorithm key.Algorithm `json:"algorithm"`
	Index     uint32        `json:"nv_index"`
}

// Works is what sealsmith can do with a TPM as it is now.
type Works struct {
	Keys        Ability `json:"keys"`        // make and use them
	PINs        Ability `json:"pins"`        // use keys that have one
	Attestation Ability `json:"attestation"` // prove that a key is in this TPM
}

// Ability is yes, or no with the reason.
type Ability struct {
	Works bool   `json:"works"`
	Why   string `json:"why,omitempty"` // not
}

func yes() Ability { return Ability{Works: true} }

func no(format string, args ...any) Ability { return Ability{Why: fmt.Sprintf(format, args...)} }

// named are the values of a list of the TPM that mean something to people.
type named[T comparable] []struct {
	value T
	name  string
}

// in are the names of the values that are in a list, in our order.
func (n named[T]) in(list []T) []string {
	found := []string{}
	for _, known := range n {
		if slices.Contains(list, known.value) {
			found = append(found, known.name)
		}
	}
	return found
}

var (
	hashNames = named[tpm2.TPMAlgID]{
		{tpm2.TPMAlgSHA1, "sha1"}, {tpm2.TPMAlgSHA256, "sha256"}, {tpm2.TPMAlgSHA384, "sha384"}, {tpm2.TPMAlgSHA512, "sha512"},
		{tpm2.TPMAlgSM3256, "sm3-256"},
		{tpm2.TPMAlgSHA3256, "sha3-256"}, {tpm2.TPMAlgSHA3384, "sha3-384"}, {tpm2.TPMAlgSHA3512, "sha3-512"},
	}
	schemeNames = named[tpm2.TPMAlgID]{
		{tpm2.TPMAlgECDSA, "ecdsa"}, {tpm2.TPMAlgRSASSA, "rsa-pkcs1"}, {tpm2.TPMAlgRSAPSS, "rsa-pss"},
	}
	curveNames = named[tpm2.TPMECCCurve]{
		{tpm2.TPMECCNistP192, "p192"}, {tpm2.TPMECCNistP224, "p224"}, {tpm2.TPMECCNistP256, "p256"},
		{tpm2.TPMECCNistP384, "p384"}, {tpm2.TPMECCNistP521, "p521"},
		{tpm2.TPMECCBNP256, "bn-p256"}, {tpm2.TPMECCBNP638, "bn-p638"}, {tpm2.TPMECCSM2P256, "sm2-p256"},
		{tpm2.TPMECCBrainpoolP256R1, "brainpool-p256r1"}, {tpm2.TPMECCBrainpoolP384R1, "brainpool-p384r1"},
		{tpm2.TPMECCBrainpoolP512R1, "brainpool-p512r1"},
		{tpm2.TPMECCCurve25519, "curve25519"}, {tpm2.TPMECCCurve448, "curve448"},
	}
)

// abilities fills in what the TPM can compute.
func (c *chip) abilities(s *Status) error {
	algorithms, err := c.algorithms()
	if err != nil {
		return err
	}
	curves, err := readList(c, tpm2.TPMCapECCCurves, func(u *tpm2.TPMUCapabilities) ([]tpm2.TPMECCCurve, error) {
		l, err := u.ECCCurves()
		if err != nil {
			return nil, err
		}
		return l.ECCCurves, nil
	})
	if err != nil {
		return fmt.Errorf("list the TPM's curves: %w", err)
	}
	s.Hashes, s.Schemes, s.Curves = hashNames.in(algorithms), schemeNames.in(algorithms), curveNames.in(curves)
	s.Algorithms = []key.Algorithm{}
	for _, alg := range key.Algorithms {
		ok, err := c.supports(alg)
		if err != nil {
			return err
		}
		if ok {
			s.Algorithms = append(s.Algorithms, alg)
		}
	}
	return nil
}

// algorithms lists everything that the TPM can compute.
func (c *chip) algorithms() ([]tpm2.TPMAlgID, error) {
	ids, err := readList(c, tpm2.TPMCapAlgs, func(u *tpm2.TPMUCapabilities) ([]tpm2.TPMAlgID, error) {
		l, err := u.Algorithms()
		if err != nil {
			return nil, err
		}
		var ids []tpm2.TPMAlgID
		for _, p := range l.AlgProperties {
			ids = append(ids, p.Alg)
		}
		return ids, nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the TPM's algorithms: %w", err)
	}
	return ids, nil
}

// readList reads a capability that is a list. One that the TPM does not have is empty.
func readList[T any](c *chip, what tpm2.TPMCap, values func(*tpm2.TPMUCapabilities) ([]T, error)) ([]T, error) {
	rsp, err := execute(c, tpm2.GetCapability{Capability: what, PropertyCount: limits.TPMList})
	var code tpm2.TPMRC
	if errors.As(err, &code) && !code.IsWarning() && !errors.Is(err, tpm2.TPMRCFailure) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return values(&rsp.CapabilityData.Data)
}

// ekIndexes says which certificates of endorsement keys the TPM has.
func (c *chip) ekIndexes() ([]EKIndex, error) {
	indexes, err := c.handles(firstEKIndex)
	if err != nil {
		return nil, err
	}
	found := []EKIndex{}
	for _, t := range ekTemplates {
		if slices.Contains(indexes, t.index) {
			found = append(found, EKIndex{t.name, t.algorithm, uint32(t.index)})
		}
	}
	return found, nil
}

// works draws the conclusions.
func (c *chip) works(s Status) (Works, error) {
	w := Works{Keys: yes(), PINs: yes(), Attestation: yes()}
	switch l := s.Lockout; {
	case l.TriesLeft == 0 && l.WaitSeconds > 0:
		w.PINs = no("too many wrong PINs; one more is taken in about %s", minutes(time.Duration(l.WaitSeconds)*time.Second))
	case l.TriesLeft == 0:
		w.PINs = no("too many wrong PINs; only the lockout password helps")
	}
	switch {
	case len(s.EndorsementKeys) == 0:
		w.Attestation = no("it has no certificate of an endorsement key")
	case s.Passwords.Endorsement:
		w.Attestation = no("its endorsement hierarchy has a password, which sealsmith does not ask for")
	}
	switch kept, err := c.keepsParent(s.Passwords.Owner); {
	case err != nil:
		return w, err
	case len(s.Algorithms) == 0:
		w.Keys = no("it makes no key of a kind that sealsmith knows")
	case !kept:
		w.Keys = no("its owner hierarchy has a password, and the storage key that was used before is not kept at %#x", uint32(persistentSRK))
	}
	if !w.Keys.Works {
		w.PINs, w.Attestation = w.Keys, w.Keys
	}
	return w, nil
}

// keepsParent says whether the storage primary can be had: without the owner's
// password that is the one kept in the TPM, if it is the one that was pinned.
func (c *chip) keepsParent(password bool) (bool, error) {
	if !password {
		return true, nil
	}
	pinned, _, err := c.pins.read()
	if err != nil {
		return false, err
	}
	rsp, err := execute(c, tpm2.ReadPublic{ObjectHandle: persistentSRK})
	if err != nil {
		if c.link == nil || c.ended() != nil {
			return false, err
		}
		return false, nil
	}
	p, err := newParent(persistentSRK, rsp.OutPublic)
	return err == nil && bytes.Equal(p.name.Buffer, pinned), nil
}
