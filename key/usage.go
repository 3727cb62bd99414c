package key

import (
	"crypto/sha256"
	"fmt"

	"github.com/sealsmith/sealsmith/internal/hint"
)

// Usage says what a key is for. A key has exactly one, recorded in the key
// itself (see [Usage.Label]) and enforced by the agent: docs/architecture.md
// has the table of what each usage signs.
type Usage string

// The usages that keys can be made for.
const (
	SSH      Usage = "ssh"      // log in, sign git commits and files
	SSHCA    Usage = "ssh-ca"   // sign OpenSSH certificates
	SSHHost  Usage = "ssh-host" // prove to clients which host this is
	Artifact Usage = "artifact" // sign releases: SSHSIG, DSSE, whole messages
	Digest   Usage = "digest"   // sign any digest: opt-in, "signs anything"
)

// Usages lists the known usages.
var Usages = []Usage{SSH, SSHCA, SSHHost, Artifact, Digest}

// ParseUsage accepts exactly the texts of [Usages]. Its error wraps [ErrUsage].
func ParseUsage(s string) (Usage, error) {
	for _, u := range Usages {
		if s == string(u) {
			return u, nil
		}
	}
	return "", hint.Wrap(fmt.Errorf("unknown usage %.40q: %w", s, ErrUsage), "choose one of "+join(Usages))
}

// Label is the usage as it stands in a key: SHA-256 of "sealsmith key usage
// v1", a zero byte and the usage. A TPM key carries it as its authPolicy, a
// policy that nothing can satisfy, so that it is part of the key's Name and of
// every attestation.
func (u Usage) Label() [sha256.Size]byte {
	return sha256.Sum256([]byte("sealsmith key usage v1\x00" + string(u)))
}

// UsageOfLabel is the inverse of [Usage.Label]; ok is false for anything else.
func UsageOfLabel(label []byte) (u Usage, ok bool) {
	for _, u := range Usages {
		if l := u.Label(); string(l[:]) == string(label) {
			return u, true
		}
	}
	return "", false
}

// Supervised says whether a key of this usage is confirmed by a person at each
// use, and its PIN never remembered, unless it was created unattended.
func (u Usage) Supervised() bool { return u != SSH && u != SSHHost }
