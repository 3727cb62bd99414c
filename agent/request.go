package agent

import (
	"context"
	"fmt"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

// Peer is the process at the other end of a connection. The user is certain; the
// process is for logs and prompts only.
type Peer struct {
	UID int
	PID int // 0: not known
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
	FormUserAuth     Form = "user-auth" // a login (RFC 4252, section 7)
	FormSSHSIG       Form = "sshsig"    // a file signature (OpenSSH PROTOCOL.sshsig)
	FormDSSE         Form = "dsse"      // a payload of a known type
	FormBlob         Form = "blob"      // a whole message
	FormDigest       Form = "digest"    // a digest of something unknown
	FormUnrecognised Form = "unrecognised"
)

// Request is a request to sign, as far as it is known: what the agent computed,
// and in Subject what the client says.
type Request struct {
	Peer   Peer
	Socket Socket
	Key    key.Info
	Form   Form

	User    string // of a login
	HostKey string // of a login: the fingerprint of the server's key, if known

	Namespace   string   // of an SSHSIG
	PayloadType string   // of a DSSE payload
	Predicate   string   // of an in-toto statement: its predicate type
	Subjects    []string // of an in-toto statement: a line for each digest

	// Digest is what a person or a log can compare, such as "sha256:HEX": of
	// the signed file (sshsig), payload (dsse), message (blob), login, or of
	// what nobody knows (digest).
	Digest string

	// Subject is the client's own word for what it wants signed.
	Subject string
}

type requestKey struct{}

// FromContext returns the request that a signature is made for. A driver passes
// its context on to [key.AuthFunc], so that the prompt can say what it is for.
func FromContext(ctx context.Context) (Request, bool) {
	r, ok := ctx.Value(requestKey{}).(Request)
	return r, ok
}

func newContext(ctx context.Context, r Request) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}

// Question is what a person is asked.
type Question struct {
	Title string
	// Error says what was wrong with the last answer; empty the first time.
	Error string
	// Facts were computed by the agent; values may hold hostile text.
	Facts []Fact
	// Claims are the client's own words.
	Claims []Fact
}

// Fact is a labelled value of a [Question].
type Fact struct{ Label, Value string }

// question describes a request under a title.
func (r Request) question(title string) Question {
	q := Question{Title: title}
	add := func(label, value string) {
		if value != "" {
			q.Facts = append(q.Facts, Fact{label, value})
		}
	}
	add("Key", fmt.Sprintf("%s (%s)", r.Key.Ref, r.Key.Usage))
	add("Key id", r.Key.ID.Short())
	switch r.Form {
	case FormUserAuth:
		add("Log in as", r.User)
		add("Host key", r.HostKey)
	case FormSSHSIG:
		add("File signature for", r.Namespace)
		add("File digest", r.Digest)
	case FormDSSE:
		add("Statement", r.Predicate)
		for i, subject := range r.Subjects {
			if i == limits.ShownSubjects {
				add("Subject", fmt.Sprintf("and %d more", len(r.Subjects)-i))
				break
			}
			add("Subject", subject)
		}
		add("Payload digest", r.Digest)
	case FormBlob:
		add("Message digest", r.Digest)
	case FormDigest:
		add("Digest of something unknown", r.Digest)
	}
	if r.Peer.PID != 0 {
		add("Asked by", fmt.Sprintf("process %d (not verified)", r.Peer.PID))
	}
	if r.Subject != "" {
		q.Claims = []Fact{{"Subject", r.Subject}}
	}
	return q
}
