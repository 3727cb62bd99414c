package agent

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/peercred"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/provenance"
)

// Peer is the process at the other end of a connection. The user is certain; the
// process is for logs and prompts only.
type Peer struct {
	UID int
	PID int // 0: not known

	conn  net.Conn // nil: not known
	since time.Time
}

// Process tells the process from a later one of the same number: by a descriptor of
// it (pidfd_open(2)), which the caller closes, or nil if there is none, and by how long
// it has been connected.
func (p Peer) Process() (descriptor *os.File, connected time.Duration) {
	if p.conn == nil {
		return nil, 0
	}
	descriptor, err := peercred.ProcessOf(p.conn)
	if err != nil {
		descriptor = nil // an older system, or the connection has ended
	}
	return descriptor, time.Since(p.since)
}

// Socket is one of the agent's two sockets.
type Socket string

// The sockets.
const (
	SocketSSH     Socket = "ssh"
	SocketControl Socket = "control"
)

// Form is what is to be signed.
type Form string

// The forms. The table in authorize.go says which key signs which.
const (
	FormUserAuth     Form = "user-auth"      // a login (RFC 4252, section 7)
	FormSSHSIG       Form = "sshsig"         // a file signature (OpenSSH PROTOCOL.sshsig)
	FormCertificate  Form = "certificate"    // an OpenSSH certificate (PROTOCOL.certkeys)
	FormExchangeHash Form = "exchange-hash"  // a server's part in a key exchange (RFC 4253, section 8)
	FormHostKeyProof Form = "host-key-proof" // a server's proof of a key for later (OpenSSH PROTOCOL, section 2.5)
	FormDSSE         Form = "dsse"           // a payload of a known type
	FormBlob         Form = "blob"           // a whole message
	FormDigest       Form = "digest"         // a digest of something unknown
	FormUnrecognised Form = "unrecognised"

	formAttest Form = "attest" // no signature: the device vouches for the key
	formUnlock Form = "unlock" // no signature: the PIN is to be remembered
)

// Request is a request to sign, as far as it is known: what the agent computed,
// and in Subject what the client says.
type Request struct {
	Peer   Peer
	Socket Socket
	Key    key.Info
	Form   Form

	User    string // of a login
	Host    string // of a login: what the client called the server when it restricted the key to it
	HostKey string // of a login: the fingerprint of the server's key, if known

	Certificate *ssh.Certificate // to be signed

	Namespace   string // of an SSHSIG
	PayloadType string // of a DSSE payload
	// Statement is the payload if that is an in-toto statement.
	Statement *provenance.Statement

	// Digest is what a person or a log can compare, such as "sha256:HEX": of
	// the signed file (sshsig), certified public key (certificate), payload
	// (dsse), message (blob), of what nobody knows (digest), or of the very
	// data.
	Digest string

	// Subject is the client's own word for what it wants signed.
	Subject string
}

type requestKey struct{}

// FromContext returns the request that a signature is made for. A driver passes
// its context on to [key.AuthFunc], so that the prompt can say what it is for.
func FromContext(ctx context.Context) (Request, bool) {
	r, ok := ctx.Value(requestKey{}).(*Request)
	if !ok {
		return Request{}, false
	}
	return *r, true
}

// newContext passes a request on, which must not change any more.
func newContext(ctx context.Context, r *Request) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}

// Question is what a person is asked.
type Question struct {
	Title string
	// Error says what was wrong with the last answer; empty the first time.
	Error string
	// Facts were computed by the agent, but for the values of quoted ones.
	Facts []Fact
	// Claims are the client's own words.
	Claims []Fact
	// Peer is who asks.
	Peer Peer
}

// Fact is a labelled value of a [Question].
type Fact struct {
	Label, Value string
	// Quoted marks a value that the client chose: it must be shown as a
	// quotation, and only such values may be cut. What must not be cut is
	// quoted in the value itself.
	Quoted bool
}

func (q *Question) add(label, value string) { q.addFact(Fact{Label: label, Value: value}) }

func (q *Question) quote(label, value string) {
	q.addFact(Fact{Label: label, Value: value, Quoted: true})
}

func (q *Question) addFact(f Fact) {
	if f.Value != "" {
		q.Facts = append(q.Facts, f)
	}
}

// question describes a request under a title.
func (r Request) question(title string) Question {
	q := Question{Title: title, Peer: r.Peer}
	about := string(r.Key.Usage)
	switch {
	case r.Key.Ref.Backend == softwareBackend:
		about = "software, in this agent's memory"
	case r.Key.Ref.Backend == upstreamBackend:
		about = "of another agent"
	case r.Key.Imported:
		about += ", imported"
	}
	q.add("Key", fmt.Sprintf("%s (%s)", r.Key.Ref, about))
	if r.Key.Ref.Backend == softwareBackend {
		// What ssh-add shows of it. Nothing else has its ID.
		if blob, err := sshwire.Blob(r.Key.Public); err == nil {
			q.add("Fingerprint", sshwire.Fingerprint(blob))
		}
		q.quote("Key comment", r.Key.Comment)
	} else {
		q.add("Key id", r.Key.ID.Short())
	}
	switch r.Form {
	case FormUserAuth:
		q.add("Host key", r.HostKey)
		q.quote("Host", r.Host)
		q.quote("Log in as", r.User)
	case FormSSHSIG:
		q.add("File signature for", r.Namespace)
		q.add("File digest", r.Digest)
	case FormCertificate:
		q.addCertificate(r.Certificate)
	case FormExchangeHash:
		q.add("Host key for", "a key exchange")
	case FormHostKeyProof:
		q.add("Host key for", "a proof to a client")
	case FormDSSE:
		q.add("Payload digest", r.Digest)
		q.addStatement(r.Statement)
	case FormBlob:
		q.add("Message digest", r.Digest)
	case formAttest:
		q.add("To prove", "that the key is in this device")
	case formUnlock:
		q.add("To remember it for", "later uses")
	case FormDigest:
		q.add("Digest of something unknown", r.Digest)
	case FormUnrecognised:
		q.add("Data of an unknown kind", r.Digest)
	}
	if r.Subject != "" {
		q.Claims = []Fact{{Label: "Subject", Value: r.Subject, Quoted: true}}
	}
	return q
}

// addStatement says what a statement is about: each digest, then what the
// statement calls the thing.
func (q *Question) addStatement(s *provenance.Statement) {
	q.quote("Statement", s.PredicateType)
	shown := 0
	for i, subject := range s.Subject {
		label := fmt.Sprintf("Subject %d", i+1)
		for _, algorithm := range slices.Sorted(maps.Keys(subject.Digest)) {
			if shown == limits.ShownDigests {
				q.add("Besides", fmt.Sprintf("%d more digests", digests(s)-shown))
				return
			}
			shown++
			q.addFact(Fact{label, algorithm + ":" + subject.Digest[algorithm], !provenance.KnownDigest(algorithm)})
		}
		q.quote(label+" is called", cmp.Or(subject.Name, subject.URI))
	}
}

// digests is how many digests the subjects of a statement have together.
func digests(s *provenance.Statement) (n int) {
	for _, subject := range s.Subject {
		n += len(subject.Digest)
	}
	return n
}
