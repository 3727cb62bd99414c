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
	// Whatever becomes of the request, its secret is used up.
	defer func() {
		if left := s.secrets.take(body.Secret, peer.UID); left != nil {
			left.Wipe()
		}
	}()
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
	if (b.Secret != "") != (b.PIN == pinSecret) {
		return spec, fmt.Errorf("field secret and pin %.80q do not fit: %w", b.PIN, key.ErrUsage)
	}
	switch b.PIN {
	case pinNone:
	case pinSecret:
		spec.PIN = s.secrets.lend(b.Secret, p.UID)
	case pinPrompt:
		q := Request{Peer: p, Key: key.Info{Ref: key.Ref{Name: b.Name}, Usage: spec.Usage}}.question("Choose a PIN for the new key " + b.Name + ".")
		spec.PIN = func(ctx context.Context, use func([]byte) error) error { return s.config.PINs.newPIN(ctx, q, use) }
	default:
		return spec, fmt.Errorf("pin %.80q is none of none, prompt, secret: %w", b.PIN, key.ErrUsage)
	}
	return spec, nil
}

func (s *Server) deleteKey(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	ref, err := refToDelete(r)
	if err != nil {
		return 0, nil, err
	}
	signer, err := s.config.Keys.Resolve(r.Context(), ref)
	if err != nil {
		return 0, nil, err
	}
	in := signer.Info()
	if string(in.ID) != r.PathValue("id") {
		return 0, nil, fmt.Errorf("key %q with the id %.80q: %w", ref, r.PathValue("id"), key.ErrNotFound)
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
		lost = fmt.Errorf("the key %s was %sd, but its record is not complete: %w", end.Ref, end.Action, lost)
	}
	return errors.Join(err, lost)
}
