package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/sealsmith/sealsmith/key"
)

func (s *Server) createKey(w http.ResponseWriter, r *http.Request) (int, any, error) {
	var body createRequest
	release, err := s.readJSON(w, r, &body)
	if err != nil {
		return 0, nil, err
	}
	defer release()
	peer := connOf(r.Context()).peer
	defer s.useUp(peer, body.Secret)
	spec, err := s.specOf(body, peer)
	if err != nil {
		return 0, nil, err
	}
	begun := newRecord("create", SocketControl, peer)
	begun.Ref = spec.Name
	var created key.Info
	err = s.recorded(begun, func(end *record) error {
		signer, err := s.config.Keys.Create(r.Context(), spec)
		if err != nil {
			return err
		}
		created = signer.Info()
		end.Key, end.Ref = created.ID, created.Ref.String()
		return nil
	})
	if err != nil {
		return 0, nil, err
	}
	answer, err := newKeyAnswer(created)
	return http.StatusCreated, answer, err
}

// specOf checks a request for a new key and says where its PIN comes from.
func (s *Server) specOf(b createRequest, p Peer) (key.Spec, error) {
	spec := key.Spec{
		Name: b.Name, Usage: key.Usage(b.Usage), Algorithm: key.Algorithm(b.Algorithm),
		Comment: b.Comment, Unattended: b.Unattended,
	}
	if err := spec.Validate(); err != nil {
		return spec, err
	}
	q := Request{Peer: p, Key: key.Info{Ref: key.Ref{Name: b.Name}, Usage: spec.Usage}}.question("Choose a PIN for the new key " + b.Name + ".")
	var err error
	spec.PIN, err = s.lend(b.PIN, b.Secret, p, func(ctx context.Context, use func([]byte) error) error {
		return s.config.PINs.newPIN(ctx, q, use)
	})
	return spec, err
}

// lend says where a PIN comes from: nowhere, a person whom prompt asks, or a secret
// that was handed over.
func (s *Server) lend(from pinSource, secret string, p Peer, prompt key.LendFunc) (key.LendFunc, error) {
	if (secret != "") != (from == pinSecret) {
		return nil, fmt.Errorf("the secret and pin %.80q do not fit: %w", from, key.ErrUsage)
	}
	switch from {
	case pinNone:
		return nil, nil
	case pinSecret:
		return s.secrets.lend(secret, p.UID), nil
	case pinPrompt:
		return prompt, nil
	}
	return nil, fmt.Errorf("pin %.80q is none of none, prompt, secret: %w", from, key.ErrUsage)
}

// useUp wipes the secrets of a request that ends, whatever became of it.
func (s *Server) useUp(p Peer, names ...string) {
	for _, name := range names {
		if left := s.secrets.take(name, p.UID); left != nil {
			left.Wipe()
		}
	}
}

// named finds the key of a reference, which must have the ID in the path.
func (s *Server) named(r *http.Request, ref key.Ref) (key.Info, error) {
	signer, err := s.config.Keys.Resolve(r.Context(), ref)
	if err != nil {
		return key.Info{}, err
	}
	if in := signer.Info(); string(in.ID) == r.PathValue("id") {
		return in, nil
	}
	return key.Info{}, fmt.Errorf("key %q with the id %.80q: %w", ref, r.PathValue("id"), key.ErrNotFound)
}

func (s *Server) deleteKey(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	ref, err := refToDelete(r)
	if err != nil {
		return 0, nil, err
	}
	in, err := s.named(r, ref)
	if err != nil {
		return 0, nil, err
	}
	begun := newRecord("delete", SocketControl, connOf(r.Context()).peer)
	begun.Key, begun.Ref = in.ID, in.Ref.String()
	err = s.recorded(begun, func(*record) error {
		if err := s.config.Keys.Delete(r.Context(), ref); err != nil {
			return err
		}
		s.uses.end(in.ID)
		s.config.PINs.forget(in.ID)
		return nil
	})
	return http.StatusOK, struct{}{}, err
}

// refToDelete is the reference in the query if there is one, as two files may hold
// the same key, and else the id in the path.
func refToDelete(r *http.Request) (key.Ref, error) {
	byID, err := key.ParseRef("id:" + r.PathValue("id"))
	if err != nil || r.URL.RawQuery == "" {
		return byID, err
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(query) != 1 || len(query["ref"]) != 1 {
		return key.Ref{}, fmt.Errorf("query %.200q is not one ref: %w", r.URL.RawQuery, key.ErrUsage)
	}
	return key.ParseRef(query.Get("ref"))
}

// recorded acts, unless the audit log cannot say that it is about to: what is done
// for ever cannot be taken back when its record fails.
func (s *Server) recorded(begun record, act func(end *record) error) error {
	if err := s.config.Audit.write(begun); err != nil {
		return err
	}
	end := begun
	err := act(&end)
	end.end(err)
	lost := s.config.Audit.write(end)
	if lost != nil && err == nil {
		lost = fmt.Errorf("%s of the key %s is done, but its record is not complete: %w", end.Action, end.Ref, lost)
	}
	return errors.Join(err, lost)
}
