package agent

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/provenance"
)

// allowed is the whole policy of what a key signs where: an allow-list. Keys that
// have no form on a socket are not even listed there.
var allowed = map[Socket]map[key.Usage][]Form{
	SocketSSH: {
		key.SSH:     {FormUserAuth, FormSSHSIG},
		key.SSHCA:   {FormCertificate},
		key.SSHHost: {FormExchangeHash, FormHostKeyProof},
	},
	SocketControl: {
		key.SSH:      {FormSSHSIG},
		key.Artifact: {FormSSHSIG, FormDSSE, FormBlob},
		key.Digest:   {FormDigest},
	},
}

// namespaces are the SSHSIG namespaces that keys sign for without a rule.
var namespaces = map[key.Usage][]string{
	key.SSH:      {"git", "file"},
	key.Artifact: {"sealsmith-bundle", "file"},
}

// ownNamespace is NAME@DOMAIN, which artifact keys sign for too
// (OpenSSH PROTOCOL.sshsig asks for this form outside OpenSSH).
var ownNamespace = regexp.MustCompile(`^[a-zA-Z0-9._-]+@[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)*$`)

// Rule is what the configuration says about one key.
type Rule struct {
	// Confirm asks a person before each use.
	Confirm bool
	// Namespaces replaces the usual SSHSIG namespaces unless it is empty.
	Namespaces []string
	// AllowUnrecognizedUnsafe lets a login key sign on the ssh socket what the agent
	// cannot name: anything, for whoever reaches the socket.
	AllowUnrecognizedUnsafe bool
	// PINIdle is how long a PIN that is not used is remembered; 0: 15 minutes.
	PINIdle time.Duration
	// PINNever has the PIN asked for at each use.
	PINNever bool
}

// authorize decides whether a request is granted, asking a person if need be.
func (s *Server) authorize(ctx context.Context, r *Request) error {
	if err := s.locked(); err != nil {
		return err
	}
	rule := s.settings.Load().Rules[r.Key.ID]
	if !slices.Contains(allowed[r.Socket][r.Key.Usage], r.Form) && !rule.allowsUnrecognised(r) {
		err := refuse(fmt.Sprintf("%s keys do not sign the form %s on the %s socket", r.Key.Usage, r.Form, r.Socket))
		return hint.Wrap(err, fmt.Sprintf("%s keys sign there: %s", r.Key.Usage, formsOf(r.Socket, r.Key.Usage)))
	}
	if r.Form == FormSSHSIG && !namespaceAllowed(r.Key.Usage, rule, r.Namespace) {
		return hint.Wrap(refuse(fmt.Sprintf("namespace %.200q is not among those of the key", r.Namespace)),
			fmt.Sprintf("to allow it, list the key's namespaces in config.yaml under keys: %s: namespaces:", r.Key.ID))
	}
	// The one type whose subjects can be shown.
	if r.Form == FormDSSE && r.PayloadType != provenance.PayloadType {
		return refuse(fmt.Sprintf("payload type %.200q is not %s", r.PayloadType, provenance.PayloadType))
	}
	if r.Form == FormCertificate && len(r.Certificate.ValidPrincipals) == 0 {
		return hint.Wrap(refuse("the certificate names no principal, so it may be good for every one"),
			"name the users or hosts with: ssh-keygen -n")
	}
	if supervised(r.Key) || rule.Confirm {
		if err := r.showable(); err != nil {
			return err
		}
	}
	if !mustConfirm(r.Key, rule) {
		return nil
	}
	return s.config.PINs.confirm(ctx, r.Key.ID, r.question(fmt.Sprintf("Sign with the key %s?", r.Key.Ref)))
}

// allowsUnrecognised says whether a request is the one that only
// AllowUnrecognizedUnsafe grants.
func (rule Rule) allowsUnrecognised(r *Request) bool {
	return rule.AllowUnrecognizedUnsafe && r.Form == FormUnrecognised && r.Socket == SocketSSH && r.Key.Usage == key.SSH
}

func refuse(why string) error { return fmt.Errorf("%s: %w", why, key.ErrNotAllowed) }

func namespaceAllowed(u key.Usage, rule Rule, namespace string) bool {
	if len(rule.Namespaces) > 0 {
		return slices.Contains(rule.Namespaces, namespace)
	}
	return slices.Contains(namespaces[u], namespace) || u == key.Artifact && ownNamespace.MatchString(namespace)
}

// showable says whether a prompt can show all that the request is about. A person
// must not say yes to what they cannot see.
func (r Request) showable() error {
	switch r.Form {
	case FormDSSE:
		return showable(r.Statement)
	case FormCertificate:
		return showableCertificate(r.Certificate)
	}
	return nil
}

// showable says whether a prompt can show all that a statement is about.
func showable(s *provenance.Statement) error {
	for i, subject := range s.Subject {
		for algorithm := range subject.Digest {
			if !provenance.KnownDigest(algorithm) {
				return hint.Wrap(refuse(fmt.Sprintf("subject %d has a digest of the unknown algorithm %.200q, which nobody can be asked about", i+1, algorithm)),
					"name the subject by its sha256 or gitCommit digest alone")
			}
		}
	}
	if n := digests(s); n > limits.ShownDigests {
		return hint.Wrap(refuse(fmt.Sprintf("the statement has %d digests, and a prompt shows %d", n, limits.ShownDigests)),
			"sign several statements, or use a key created with --unattended")
	}
	return nil
}

// supervised says that a person sees every use of the key.
func supervised(in key.Info) bool { return in.Usage.Supervised() && !in.Policy.Unattended }

// mustConfirm says whether a person is asked for a yes. The PIN of a supervised
// key is never remembered, so asking for it is the confirmation.
func mustConfirm(in key.Info, rule Rule) bool {
	if supervised(in) {
		return !in.Policy.PIN
	}
	return rule.Confirm
}

// formsOf lists what keys of a usage sign on a socket.
func formsOf(s Socket, u key.Usage) string {
	names := []string{}
	for _, f := range allowed[s][u] {
		names = append(names, string(f))
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}
